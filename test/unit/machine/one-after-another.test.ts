import assert from 'node:assert/strict'
import { test } from 'node:test'
import { oneAfterAnother } from '../../../machine/one-after-another.ts'

test('what fails is told to who asked for it, and keeps nobody else from their turn', async () => {
  const inTurn = oneAfterAnother()
  const done: number[] = []
  const failing = inTurn(async () => {
    done.push(1)
    throw new Error('the disk is full')
  })
  const next = inTurn(async () => done.push(2))
  await assert.rejects(failing, /the disk is full/)
  await next
  assert.deepEqual(done, [1, 2])
})
