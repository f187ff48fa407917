import assert from 'node:assert/strict'
import { test } from 'node:test'
import { briefMemo, momentMs } from '../../../hub/web/brief-memo.ts'

test('in a moment it is asked once; after it, or when it is to be forgotten, again', t => {
  let now = 1000
  t.mock.method(performance, 'now', () => now)
  let asked = 0
  const answer = briefMemo(() => ++asked)
  assert.deepEqual([answer.get(), answer.get()], [1, 1])
  now += momentMs - 1
  assert.equal(answer.get(), 1)
  now += 1
  assert.deepEqual([answer.get(), answer.get()], [2, 2])
  answer.forget()
  assert.deepEqual([answer.get(), answer.get()], [3, 3])
})

test('what is thrown is not kept', () => {
  let asked = 0
  const answer = briefMemo(() => {
    if (++asked === 1) throw new Error('not yet')
    return asked
  })
  assert.throws(() => answer.get(), /not yet/)
  assert.equal(answer.get(), 2)
})
