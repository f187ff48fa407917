import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parseConfig } from '../../config/config.ts'
import { parseUserName } from '../../config/names.ts'
import { logIn } from '../../hub/login.ts'
import { createPasswords } from '../../hub/passwords.ts'
import { createSessions } from '../../hub/sessions.ts'
import { openState } from '../../hub/state.ts'
import { createXsrf } from '../../hub/xsrf.ts'

const ann = parseUserName('ann')
const bob = parseUserName('bob')
const config = parseConfig('users:\n  allowed: [ann, bob]\n  admin: [root-of-all]\n')

/** A state file that is closed, and gone, after the test. */
function stateFile(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-state-'))
  const file = join(folder, 'hub.sqlite')
  const open = () => openState(file)
  t.after(() => rmSync(folder, { recursive: true }))
  return { file, open }
}

test('the first password that somebody logs in with is theirs from then on', async t => {
  const passwords = createPasswords(stateFile(t).open())
  assert.equal(await logIn(config, passwords, { username: ' Ann ', password: 'first password' }), 'ann')
  assert.equal(await logIn(config, passwords, { username: 'ann', password: 'first password' }), 'ann')
  await assert.rejects(logIn(config, passwords, { username: 'ann', password: 'second password' }), {
    code: 'LOGIN_REFUSED',
  })
})

test('of two first logins at once, one wins', async t => {
  const passwords = createPasswords(stateFile(t).open())
  const tries = await Promise.allSettled(
    ['one password', 'another password'].map(password => logIn(config, passwords, { username: 'ann', password })),
  )
  assert.deepEqual(tries.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
})

test('an administrator’s password is never chosen by whoever comes first', async t => {
  const passwords = createPasswords(stateFile(t).open())
  const typed = { username: 'root-of-all', password: 'a thief was here' }
  await assert.rejects(logIn(config, passwords, typed), { code: 'LOGIN_REFUSED' })
  await passwords.set(parseUserName('root-of-all'), 'from the installer')
  assert.equal(await logIn(config, passwords, { ...typed, password: 'from the installer' }), 'root-of-all')
})

test('a refusal reads the same whether the name exists or not', async t => {
  const passwords = createPasswords(stateFile(t).open())
  await passwords.set(ann, 'right password')
  const refusals = await Promise.all(
    ['ann', 'nobody', 'root-of-all', '../x', ''].map(username =>
      logIn(config, passwords, { username, password: 'wrong password' }).then(
        () => 'let in',
        (error: Error) => error.message,
      ),
    ),
  )
  assert.equal(new Set(refusals).size, 1)
  assert.notEqual(refusals[0], 'let in')
})

test('a password that is too short is refused in words, and nothing is stored', async t => {
  const passwords = createPasswords(stateFile(t).open())
  await assert.rejects(logIn(config, passwords, { username: 'ann', password: 'short' }), { code: 'PASSWORD_SHORT' })
  assert.equal(await passwords.check(ann, 'short'), 'unset')
  const says = (username: string) =>
    logIn(config, passwords, { username, password: 'short' }).catch((error: Error) => error.message)
  assert.equal(await says('ann'), await says('nobody'), 'and that tells nobody which names there are')
  assert.equal(await says('ann'), await says('root-of-all'))
})

test('sessions outlive a hub that was killed, and end when they are ended', t => {
  const { open } = stateFile(t)
  const token = createSessions(open()).start(ann)
  // No `close` in between: as after kill -9.
  const sessions = createSessions(open())
  const session = sessions.find(token)
  assert.equal(session?.user, 'ann')
  assert.equal(sessions.find(`${token}x`), undefined)
  assert.equal(sessions.find(''), undefined)
  if (session) sessions.end(session)
  assert.equal(sessions.find(token), undefined)
})

test('a stolen state file opens no session', t => {
  const db = stateFile(t).open()
  const token = createSessions(db).start(ann)
  const row = db.prepare('SELECT id FROM sessions').get()
  assert.doesNotMatch(Buffer.from(row?.id as Uint8Array).toString('latin1'), new RegExp(token))
})

test('a form’s token belongs to one session, and to the browser that has its cookie', t => {
  const db = stateFile(t).open()
  const sessions = createSessions(db)
  const [anns, bobs] = [sessions.find(sessions.start(ann)), sessions.find(sessions.start(bob))]
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
