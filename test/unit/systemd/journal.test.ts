/** What journalctl prints is read into lines for people. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseLines } from '../../../systemd/journal.ts'

const entry = (fields: object) =>
  `${JSON.stringify({ __REALTIME_TIMESTAMP: '1700000000123456', PRIORITY: '6', ...fields })}\n`

test('a line has its time, its text and its priority', () => {
  assert.deepEqual(parseLines(entry({ MESSAGE: 'hello', PRIORITY: '3' }), 'a'), [
    { timestampMs: 1_700_000_000_123, text: 'hello', priority: 3 },
  ])
  assert.deepEqual(parseLines('', 'a'), [])
})

test('lines of another run are left out, lines of no known run are not', () => {
  const lines = ['a', 'b', undefined].map(id => entry({ MESSAGE: `of ${id}`, _SYSTEMD_INVOCATION_ID: id })).join('')
  assert.deepEqual(
    parseLines(lines, 'a').map(line => line.text),
    ['of a', 'of undefined'],
  )
})

test('bytes, several values and no value at all are read', () => {
  const read = (MESSAGE: unknown) => parseLines(entry({ MESSAGE }), 'a')[0]?.text
  assert.equal(read([99, 97, 102, 233]), 'caf\ufffd')
  assert.equal(read([27, 91, 51, 49, 109, 114, 27, 91, 48, 109]), 'r')
  assert.equal(read(['first', 'second']), 'first')
  assert.equal(read([[104, 105], 'x']), 'hi')
  assert.equal(read(null), '')
  assert.equal(read('x'.repeat(3000)), `${'x'.repeat(2000)}…`)
})
