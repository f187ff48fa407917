import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { UserName } from '../../../../config/users/names.ts'
import { createSessions, sessionAgeSeconds } from '../../../../hub/access/sessions.ts'
import { openState } from '../../../../hub/state/database.ts'
import { momentMs } from '../../../../hub/web/brief-memo.ts'

const ann = 'ann' as UserName
const bob = 'bob' as UserName

function openHub(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-sessions-'))
  const file = join(folder, 'hub.sqlite')
  const db = openState(file)
  const other = new DatabaseSync(file)
  t.after(() => {
    db.close()
    other.close()
    rmSync(folder, { recursive: true })
  })
  return { db, other, sessions: createSessions(db) }
}

test('a session that another process has ended counts no more, and the others go on', async t => {
  const { other, sessions } = openHub(t)
  const [of, and] = [sessions.start(ann, 'first-use', false), sessions.start(bob, 'first-use', false)]
  assert.equal(sessions.find(of, false)?.user, ann)
  assert.equal(sessions.find(and, false)?.user, bob)

  other.exec("DELETE FROM sessions WHERE user = 'ann'")
  await delay(2 * momentMs)

  assert.equal(sessions.find(of, false), undefined)
  assert.equal(sessions.find(and, false)?.user, bob)
})

test('what this process does to the table by any other way counts, too', async t => {
  const { db, sessions } = openHub(t)
  const token = sessions.start(ann, 'first-use', false)
  assert.equal(sessions.find(token, false)?.user, ann)
  db.exec('DELETE FROM sessions')
  await delay(2 * momentMs)
  assert.equal(sessions.find(token, false), undefined)
})

test('a session that is ended here counts no more, at once', t => {
  const { sessions } = openHub(t)
  const token = sessions.start(ann, 'first-use', false)
  const session = sessions.find(token, false)
  assert.ok(session)
  sessions.end(session)
  assert.equal(sessions.find(token, false), undefined)
})

test('what another process has begun to do and taken back changes nothing', async t => {
  const { other, sessions } = openHub(t)
  const token = sessions.start(ann, 'first-use', false)
  other.exec('BEGIN IMMEDIATE; DELETE FROM sessions')
  await delay(2 * momentMs)
  assert.equal(sessions.find(token, false)?.user, ann)
  other.exec('ROLLBACK')
  await delay(2 * momentMs)
  assert.equal(sessions.find(token, false)?.user, ann)
})

test('a session that nobody ends comes to its end, however often it is asked for', async t => {
  const { sessions } = openHub(t)
  const begin = Date.now()
  const now = t.mock.method(Date, 'now', () => begin)
  const token = sessions.start(ann, 'first-use', false)
  for (const [seconds, user] of [
    [0, ann],
    [sessionAgeSeconds - 1, ann],
    [sessionAgeSeconds, undefined],
  ] as const) {
    now.mock.mockImplementation(() => begin + seconds * 1000)
    assert.equal(sessions.find(token, false)?.user, user, `after ${seconds} s`)
    await delay(2 * momentMs)
  }
})

test('a clock that jumps ahead and back loses no session, though others log in meanwhile', async t => {
  const { sessions } = openHub(t)
  const begin = Date.now()
  const now = t.mock.method(Date, 'now', () => begin)
  const token = sessions.start(ann, 'first-use', false)
  now.mock.mockImplementation(() => begin + 30 * sessionAgeSeconds * 1000)
  assert.equal(sessions.find(token, false), undefined, 'by that clock it is too old')
  sessions.start(bob, 'first-use', false)
  sessions.start(ann, 'first-use', false)
  now.mock.mockImplementation(() => begin)
  await delay(2 * momentMs)
  assert.equal(sessions.find(token, false)?.user, ann)
})

test('a user who logs in again and again has the last hundred sessions, and nobody else has fewer', t => {
  const { db, sessions } = openHub(t)
  const other = sessions.start(bob, 'first-use', false)
  let ends = 0
  sessions.onEnd(() => ends++)
  const begin = Date.now()
  const now = t.mock.method(Date, 'now', () => begin)
  const tokens = Array.from({ length: 130 }, (_, index) => {
    now.mock.mockImplementation(() => begin + index)
    return sessions.start(ann, 'first-use', false)
  })
  assert.equal(db.prepare("SELECT count(*) AS count FROM sessions WHERE user = 'ann'").get()?.count, 100)
  assert.deepEqual(
    tokens.map(token => sessions.find(token, false) !== undefined),
    tokens.map((_, index) => index >= 30),
  )
  assert.equal(ends, 30, 'what they had open ends')
  assert.equal(sessions.find(other, false)?.user, bob)
})

test('a token counts on connections of its own kind alone, whichever was asked first', t => {
  const { sessions } = openHub(t)
  const token = sessions.start(ann, 'first-use', true)
  assert.equal(sessions.find(token, false), undefined)
  assert.equal(sessions.find(token, true)?.user, ann)
  assert.equal(sessions.find(token, false), undefined)
})

test('a token that nobody has is none, and becomes none by being asked for', async t => {
  const { sessions } = openHub(t)
  for (let count = 0; count < 20_000; count++) assert.equal(sessions.find(`guess ${count}`, false), undefined)
  const token = sessions.start(ann, 'first-use', false)
  await delay(2 * momentMs)
  assert.equal(sessions.find(token, false)?.user, ann)
})
