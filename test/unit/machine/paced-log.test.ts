/** What a service writes when somebody makes it write without end. */
import assert from 'node:assert/strict'
import { mock, type TestContext, test } from 'node:test'
import { createPacedLog } from '../../../machine/paced-log.ts'

function begin(t: TestContext) {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const lines: string[] = []
  return { lines, log: createPacedLog(line => lines.push(line)) }
}

test('lines about one person are joined beyond some, and others’ are written', t => {
  const { lines, log } = begin(t)
  for (let count = 0; count < 1_254; count++) log(`bob ${count}`, 'bob')
  log('ann starts a server', 'ann')
  assert.equal(lines.length, 21)
  assert.equal(lines.at(-1), 'ann starts a server')
  mock.timers.tick(60_000)
  assert.deepEqual(lines.slice(21), ['and 1234 more such lines about bob in the last minute'])
  log('bob again', 'bob')
  assert.equal(lines.at(-1), 'bob again')
  mock.timers.tick(120_000)
  assert.equal(lines.at(-1), 'bob again')
})

test('however many they are about, there is an end', t => {
  const { lines, log } = begin(t)
  for (let count = 0; count < 100_000; count++) log('a line', `name-${count}`)
  for (let count = 0; count < 100_000; count++) log('about nobody')
  assert.ok(lines.length < 1_300, `${lines.length} lines`)
  mock.timers.tick(60_000)
  assert.match(lines.at(-1) ?? '', /^and 198\d{3} more such lines in the last minute$/)
})
