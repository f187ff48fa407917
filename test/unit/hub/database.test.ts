import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { parseConfig } from '../../../config/meaning/config.ts'
import { parseUserName } from '../../../config/users/names.ts'
import { createSessions } from '../../../hub/access/sessions.ts'
import { createXsrf } from '../../../hub/access/xsrf.ts'
import { createOneTimeCodes } from '../../../hub/credentials/one-time-codes.ts'
import { createPasswords } from '../../../hub/credentials/passwords.ts'
import { leaveFullDisk, openState, settleState } from '../../../hub/state/database.ts'
import { keepReserve } from '../../../hub/state/reserve.ts'

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

test('a file that is as it should be is opened without a write', t => {
  const { open } = stateFile(t)
  const db = open()
  const versionSeen = () => db.prepare('PRAGMA data_version').get()?.data_version
  createXsrf(db)
  const before = versionSeen()
  createXsrf(open())
  assert.equal(versionSeen(), before)
})

test('the room for the database is on the disk beforehand: two thousand sessions take no more, and it stays when the hub ends', t => {
  const { file, open } = stateFile(t)
  const db = open()
  const told: string[] = []
  keepReserve(db, file, line => told.push(line))
  const blocks = () => [file, `${file}-wal`].map(name => statSync(name).blocks)
  const before = blocks()
  assert.ok((before[1] ?? 0) * 512 >= 6 * 1024 ** 2, 'not a sparse file')

  const sessions = createSessions(db)
  for (let count = 0; count < 2_000; count++) sessions.start(ann, 'first-use', false)
  settleState(db)

  assert.deepEqual(blocks(), before)
  assert.deepEqual(told, [])
})

test('a database that was opened for one process on a full disk is open to others again when there is room', t => {
  const { file } = stateFile(t)
  const db = new DatabaseSync(file)
  db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; CREATE TABLE things (name TEXT)')
  const add = db.prepare('INSERT INTO things VALUES (?)')
  add.run('before')
  const other = new DatabaseSync(file)
  const count = () => other.prepare('SELECT count(*) AS count FROM things').get()?.count
  assert.throws(count, /locked/)

  leaveFullDisk(db)

  assert.equal(count(), 1)
  add.run('after')
  assert.equal(count(), 2)
})

test('of what is to happen at once nothing stays when a part of it fails, and the reason is told', t => {
  const db = stateFile(t).open()
  const passwords = createPasswords(db, () => parseConfig(''))
  const codes = createOneTimeCodes(db)
  const code = codes.issue(ann, 60_000)
  // As SQLite ends a transaction by itself when the disk is full.
  const fail = () => {
    passwords.put(ann, 'a hash')
    db.exec('ROLLBACK')
    throw new Error('database or disk is full')
  }
  assert.throws(() => codes.use(ann, code, fail), /disk is full/)
  assert.equal(passwords.has(ann), false)
  assert.equal(
    codes.use(ann, code, () => passwords.put(ann, 'a hash')),
    true,
  )
})
