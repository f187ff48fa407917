import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parseUserName } from '../../config/names.ts'
import { createSessions } from '../../hub/sessions.ts'
import { openState } from '../../hub/state.ts'
import { createXsrf } from '../../hub/xsrf.ts'

const ann = parseUserName('ann')
const bob = parseUserName('bob')

/** A state file that is closed, and gone, after the test. */
function stateFile(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-state-'))
  const file = join(folder, 'hub.sqlite')
  const open = () => openState(file)
  t.after(() => rmSync(folder, { recursive: true }))
  return { file, open }
}

test('sessions outlive a hub that was killed, and end when they are ended', t => {
  const { open } = stateFile(t)
  const token = createSessions(open()).start(ann, 'first-use', false)
  // No `close` in between: as after kill -9.
  const sessions = createSessions(open())
  const session = sessions.find(token, false)
  assert.equal(session?.user, 'ann')
  assert.equal(sessions.find(`${token}x`, false), undefined)
  assert.equal(sessions.find('', false), undefined)
  if (session) sessions.end(session)
  assert.equal(sessions.find(token, false), undefined)
})

test('a session counts on connections of the kind that it began on: a token that was seen without TLS opens nothing with it', t => {
  const { open } = stateFile(t)
  const sessions = createSessions(open())
  const [plain, secure] = [sessions.start(ann, 'first-use', false), sessions.start(bob, 'first-use', true)]
  assert.equal(sessions.find(plain, false)?.user, 'ann')
  assert.equal(sessions.find(plain, true), undefined)
  assert.equal(sessions.find(secure, true)?.user, 'bob')
  assert.equal(sessions.find(secure, false), undefined)

  const session = sessions.find(plain, false)
  sessions.endPlain()
  assert.equal(session && sessions.isOpen(session), false, 'nor by a pass that was made of it')
  assert.equal(sessions.find(secure, true)?.user, 'bob')
})

test('a session of a version that did not know of TLS counts as a plain one', t => {
  const { open } = stateFile(t)
  const db = open()
  const token = createSessions(db).start(ann, 'first-use', true)
  db.exec('ALTER TABLE sessions DROP COLUMN is_secure; PRAGMA user_version = 2')
  db.close()
  const sessions = createSessions(open())
  assert.equal(sessions.find(token, true), undefined)
  assert.equal(sessions.find(token, false)?.user, 'ann')
})

test('a stolen state file opens no session', t => {
  const db = stateFile(t).open()
  const token = createSessions(db).start(ann, 'first-use', false)
  const row = db.prepare('SELECT id FROM sessions').get()
  assert.doesNotMatch(Buffer.from(row?.id as Uint8Array).toString('latin1'), new RegExp(token))
})

test('a form’s token belongs to one session, and to the browser that has its cookie', t => {
  const db = stateFile(t).open()
  const sessions = createSessions(db)
  const [anns, bobs] = [
    sessions.find(sessions.start(ann, 'first-use', false), false),
    sessions.find(sessions.start(bob, 'first-use', false), false),
  ]
  const xsrf = createXsrf(db)
  const { token, isNew } = xsrf.tokenFor(anns, undefined)
  const cookie = `_xsrf=${token}`
  assert.equal(isNew, true)
  assert.deepEqual(xsrf.tokenFor(anns, cookie), { token, isNew: false }, 'a form in another tab stays good')
  assert.equal(xsrf.isRight(token, anns, cookie), true)
  assert.equal(createXsrf(db).isRight(token, anns, cookie), true, 'after a restart, too')
  assert.equal(xsrf.isRight(token, anns, undefined), false)
  assert.equal(xsrf.isRight(token, bobs, cookie), false)
  assert.equal(xsrf.isRight(token, undefined, cookie), false)
  assert.equal(xsrf.isRight('', anns, '_xsrf='), false)
  assert.equal(xsrf.isRight('x', anns, '_xsrf=x'), false, 'a pair that somebody made up')
})

test('a state file that cannot be used is named, with the reason', t => {
  const { file, open } = stateFile(t)
  writeFileSync(file, 'this is not a database, it only has its name and is long enough to look like one\n'.repeat(20))
  assert.throws(open, { code: 'STATE_UNUSABLE' })
})

test('a state file of a newer version is left alone', t => {
  const { open } = stateFile(t)
  const db = open()
  db.exec('PRAGMA user_version = 999')
  assert.throws(open, { code: 'STATE_UNUSABLE', message: /newer version/ })
})
