/** However a server ends, a student is told what happened, why, and what to do. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { describeEnd, type EndedUnit, signalName } from '../../../spawner/server/how-it-ended.ts'
import { unitName } from '../../../systemd/names.ts'

const name = unitName('tljh-user-ann.service')
const ended = (result: string, execMainStatus = 0, execMainCode: EndedUnit['execMainCode'] = 'exited') =>
  describeEnd({ name, result, execMainCode, execMainStatus })

test('a server that ran out of memory says so, whichever way systemd tells it', () => {
  assert.match(ended('oom-kill', 9, 'killed').what, /more memory than it may use/)
  assert.match(ended('signal', 9, 'killed').why, /more memory than it may use \(SIGKILL\)/)
})

test('signals have their names, and a crash is no stop', () => {
  assert.match(ended('core-dump', 11, 'dumped').why, /SIGSEGV/)
  assert.match(ended('signal', 6, 'killed').what, /crashed/)
  assert.match(ended('signal', 6, 'killed').why, /SIGABRT/)
  assert.match(ended('signal', 15, 'killed').what, /was stopped/)
  assert.equal(signalName(77), 'signal 77')
})

test('what systemd could not set up is named', () => {
  assert.match(ended('exit-code', 203).why, /EXEC/)
  assert.match(ended('exit-code', 217).why, /USER/)
  assert.match(ended('exit-code', 226).why, /NAMESPACE/)
  assert.match(ended('exit-code', 1).what, /exit status 1/)
})

test('a server that ended without an error before it was ready is not said to have had one', () => {
  const { what, why, fix } = ended('exit-code', 0)
  assert.equal(what, 'The server ended before it was ready')
  assert.match(why, /named no error.*setting of Jupyter/)
  assert.match(fix, /last lines/)
  assert.doesNotMatch(`${what} ${why} ${fix}`, /exit status/)
})

test('every end has all three parts, each a text without a full stop', () => {
  const results = ['success', 'protocol', 'timeout', 'exit-code', 'signal', 'core-dump', 'watchdog', 'start-limit-hit']
  const result = fc.constantFrom(...results, 'resources', 'oom-kill', 'exec-condition', 'new-in-260', '')
  fc.assert(
    fc.property(result, fc.nat(255), fc.constantFrom('exited', 'killed', 'dumped', undefined), (text, status, code) => {
      const { what, why, fix } = ended(text, status, code)
      for (const sentence of [what, fix]) assert.match(sentence, /^[A-Z].*[^.]$/)
      assert.match(why, /^[a-z].*[^.]$/)
      assert.doesNotMatch(`${why} ${fix}`, /sudo|journalctl|instructor/, 'it is for students')
    }),
  )
})
