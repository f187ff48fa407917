import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { parseConfig } from '../../../../config/meaning/config.ts'
import { parseUserName } from '../../../../config/users/names.ts'
import { createAuthenticators } from '../../../../hub/authenticators/authenticators.ts'
import { createLogins } from '../../../../hub/credentials/last-logins.ts'
import { createOneTimeCodes } from '../../../../hub/credentials/one-time-codes.ts'
import { createPasswords } from '../../../../hub/credentials/passwords.ts'
import { createLoginDesk } from '../../../../hub/login/password-login.ts'
import { createThrottle } from '../../../../hub/login/throttle.ts'
import { openState } from '../../../../hub/state/database.ts'

const ann = parseUserName('ann')
const users = 'users:\n  allowed: [ann, bob]\n  admin: [root-of-all]\n'
const claiming = `${users}auth: {FirstUseAuthenticator: {claim_named_users: true}}\n`
const home = '192.0.2.1'

/** A desk where people log in by this configuration, which may change. */
function openDesk(t: TestContext, text: string, crowdPatience: () => Promise<unknown> = () => delay(50)) {
  const db = openState(':memory:')
  t.after(() => db.close())
  let inForce = parseConfig(text)
  const config = { current: () => inForce, problem: () => undefined }
  const passwords = createPasswords(db, config.current)
  const codes = createOneTimeCodes(db)
  const authenticators = createAuthenticators({ config: config.current, passwords })
  const clock = { now: 0 }
  const throttle = createThrottle(() => clock.now)
  const desk = createLoginDesk({
    ...{ config, authenticators, passwords, codes, logins: createLogins(db) },
    throttle,
    crowdPatience,
  })
  return {
    passwords,
    codes,
    desk,
    clock,
    /** As many guesses as make an address crowded, without the work of looking at each. */
    crowd: () => {
      for (let guess = 0; guess < 200; guess++) throttle.begin('password', `ghost${guess}`, home, false)
    },
    change: (next: string) => {
      inForce = parseConfig(next)
    },
    /** Who gets in with that, or why nobody does. */
    logIn: (username: string, password: string, address = home) =>
      desk.logIn({ username, password }, address).then(
        login => (login.kind === 'user' ? login.user : `${login.user} with a code`),
        (error: { code: string }) => error.code,
      ),
  }
}

test('nobody claims an account that the file names by being first', async t => {
  const { logIn, passwords } = openDesk(t, users)
  assert.equal(await logIn('ann', 'a thief was here'), 'LOGIN_REFUSED')
  assert.equal(await logIn('root-of-all', 'a thief was here'), 'LOGIN_REFUSED')
  assert.equal(passwords.has(ann), false)
})

test('where the file says so, the first password that somebody logs in with is theirs from then on', async t => {
  const { logIn } = openDesk(t, claiming)
  assert.equal(await logIn(' Ann ', 'first password'), 'ann')
  assert.equal(await logIn('ANN', 'first password'), 'ann')
  assert.equal(await logIn('ann', 'second password'), 'LOGIN_REFUSED')
  assert.equal(await logIn('root-of-all', 'first password'), 'LOGIN_REFUSED', 'an administrator’s never is')
})

test('of two first logins at once, one wins', async t => {
  const { logIn } = openDesk(t, claiming)
  const results = await Promise.all([logIn('ann', 'one password'), logIn('ann', 'another password')])
  assert.deepEqual(results.toSorted(), ['LOGIN_REFUSED', 'ann'])
})

test('with create_users, somebody whom the file does not name chooses a password, and still nobody claims one that it names', async t => {
  const { logIn } = openDesk(
    t,
    `${users}groups: {tutors: {members: [tess]}}\nauth: {FirstUseAuthenticator: {create_users: true}}\n`,
  )
  assert.equal(await logIn('zoe', 'some password'), 'zoe')
  assert.equal(await logIn('ann', 'some password'), 'LOGIN_REFUSED')
  assert.equal(await logIn('tess', 'some password'), 'LOGIN_REFUSED')
  assert.equal(await logIn('root-of-all', 'some password'), 'LOGIN_REFUSED')
})

test('a one-time code opens the choice of a password, once', async t => {
  const { logIn, codes, desk } = openDesk(t, users)
  const code = codes.issue(ann, 3600_000)
  assert.equal(
    await logIn('ann', code.toUpperCase().replaceAll('-', ' ')),
    'ann with a code',
    'as people type it from paper',
  )
  assert.equal(await logIn('bob', code), 'LOGIN_REFUSED')
  const choose = (password: string) => desk.choosePassword({ username: 'Ann', code, password }, home)
  await assert.rejects(choose('short'), { code: 'PASSWORD_SHORT' })
  const results = await Promise.allSettled([choose('one password'), choose('another password')])
  assert.deepEqual(results.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
  assert.equal(await logIn('ann', code), 'LOGIN_REFUSED')
  const one = await logIn('ann', 'one password')
  assert.equal(one === 'ann' ? 'LOGIN_REFUSED' : 'ann', await logIn('ann', 'another password'))
})

test('a code that has run out, or was replaced, is void', async t => {
  const { logIn, codes } = openDesk(t, users)
  const first = codes.issue(ann, 3600_000)
  const second = codes.issue(ann, 3600_000)
  assert.equal(await logIn('ann', first), 'LOGIN_REFUSED')
  assert.equal(await logIn('ann', second), 'ann with a code')
  assert.equal(await logIn('ann', codes.issue(ann, -1)), 'LOGIN_REFUSED')
})

test('a refusal reads the same whether the name exists or not', async t => {
  const { desk, passwords } = openDesk(t, users)
  await passwords.set(ann, 'right password')
  const refusals = await Promise.all(
    ['ann', 'bob', 'nobody', 'root-of-all', '../x', ''].map(username =>
      desk.logIn({ username, password: 'wrong password' }, home).then(
        () => 'let in',
        (error: Error) => error.message,
      ),
    ),
  )
  assert.equal(new Set(refusals).size, 1)
  assert.notEqual(refusals[0], 'let in')
})

test('a password that is too short is refused in words, to everybody alike, and nothing is stored', async t => {
  const { logIn, passwords } = openDesk(t, claiming)
  for (const name of ['ann', 'nobody', 'root-of-all']) assert.equal(await logIn(name, 'short'), 'PASSWORD_SHORT', name)
  assert.equal(passwords.has(ann), false)
})

test('raising the least length of passwords locks nobody out', async t => {
  const { logIn, passwords, change } = openDesk(t, users)
  await passwords.set(ann, 'se7en-7')
  change(`${users}auth: {FirstUseAuthenticator: {min_password_length: 20}}\n`)
  assert.equal(await logIn('ann', 'se7en-7'), 'ann')
  await assert.rejects(passwords.set(ann, 'eight888'), { code: 'PASSWORD_SHORT' })
})

test('a shared password lets in under every name but an administrator’s', async t => {
  const { logIn, passwords } = openDesk(
    t,
    'users: {admin: [tea], banned: [eve]}\nauth: {type: dummy, DummyAuthenticator: {password: workshop-2026}}\n',
  )
  assert.equal(await logIn('ann', 'workshop-2026'), 'ann')
  assert.equal(await logIn('anybody.else', 'workshop-2026'), 'anybody.else')
  assert.equal(await logIn('eve', 'workshop-2026'), 'LOGIN_REFUSED')
  assert.equal(await logIn('tea', 'workshop-2026'), 'LOGIN_REFUSED')
  assert.equal(await logIn('ann', ''), 'LOGIN_REFUSED')
  await passwords.set(parseUserName('tea'), 'her own password')
  assert.equal(await logIn('tea', 'her own password'), 'tea')
})

test('a shared password can be kept to those whom the file names, and administrators can have one as well', async t => {
  const section = 'allow_all: false, user_password: workshop-2026, admin_password: only-for-teachers'
  const { logIn } = openDesk(t, `${users}auth: {type: shared-password, SharedPasswordAuthenticator: {${section}}}\n`)
  assert.equal(await logIn('ann', 'workshop-2026'), 'ann')
  assert.equal(await logIn('zoe', 'workshop-2026'), 'LOGIN_REFUSED')
  assert.equal(await logIn('root-of-all', 'only-for-teachers'), 'root-of-all')
  assert.equal(await logIn('ann', 'only-for-teachers'), 'LOGIN_REFUSED')
})

test('a way that is open to strangers opens no other way to them', async t => {
  const { logIn, passwords } = openDesk(t, `${users}auth: {type: [firstuse, tmp]}\n`)
  await passwords.set(parseUserName('gone'), 'the old password')
  assert.equal(await logIn('gone', 'the old password'), 'LOGIN_REFUSED')
})

test('whoever guesses is slowed down, and the owner gets in all the same', async t => {
  const { logIn, passwords } = openDesk(t, users)
  await passwords.set(ann, 'right password')
  assert.equal(await logIn('ann', 'right password', home), 'ann')
  for (let guess = 0; guess < 5; guess++) await logIn('ann', `guess ${guess}`, '198.51.100.7')
  assert.equal(await logIn('ann', 'right password', '198.51.100.7'), 'LOGIN_TOO_OFTEN', 'even with the right one')
  assert.equal(await logIn('nobody', 'guess', '198.51.100.7'), 'LOGIN_REFUSED', 'another name is another count')
  // From very many addresses, five guesses each.
  for (let guess = 0; guess < 30; guess++) await logIn('ann', 'guess', `198.51.100.${100 + guess}`)
  assert.equal(await logIn('ann', 'guess', '203.0.113.9'), 'LOGIN_TOO_OFTEN')
  assert.equal(await logIn('ann', 'right password', home), 'ann', 'where she was before')
})

test('of fifty guesses at once, no more are looked at than of fifty in a row', async t => {
  const { logIn } = openDesk(t, users)
  const answers = await Promise.all(Array.from({ length: 50 }, (_, guess) => logIn('ann', `guess ${guess}`)))
  assert.equal(answers.filter(answer => answer === 'LOGIN_REFUSED').length, 5)
})

test('names that nobody has are slowed down like others', async t => {
  const { logIn } = openDesk(t, users)
  const answers = async (name: string) => {
    const all: string[] = []
    for (let guess = 0; guess < 7; guess++) all.push(await logIn(name, 'guess', '2001:db8::7'))
    return all
  }
  assert.deepEqual(await answers('ann'), await answers('nobody'))
  assert.equal(await logIn('ann', 'guess', '2001:db8::ffff:1'), 'LOGIN_TOO_OFTEN', 'a /64 is one customer')
})

test('thirty who come for the first time get in from the address of somebody who guesses all the time', async t => {
  const codes = Array.from({ length: 20 }, (_, index) => parseUserName(`code${index}`))
  const chosen = Array.from({ length: 10 }, (_, index) => parseUserName(`chosen${index}`))
  // The guesser waits for each refusal for as long as the class needs to get in.
  const isIn = Promise.withResolvers<void>()
  const desk = openDesk(t, `users: {allowed: [${[...codes, ...chosen]}]}\n`, () => isIn.promise)
  const code = new Map(codes.map(user => [user, desk.codes.issue(user, 3600_000)]))
  for (const user of chosen) await desk.passwords.set(user, 'a password of one’s own')
  const end = new AbortController()
  let guesses = 0
  const guess = async () => desk.logIn(`nobody${guesses++}`, 'a guess of mine')
  desk.crowd()
  const pupil = Array.from({ length: 16 }, async () => {
    while (!end.signal.aborted) await guess()
  })

  const answers = await Promise.all([
    ...codes.map(user => desk.logIn(user, code.get(user) ?? '')),
    ...chosen.map(user => desk.logIn(user, 'a password of one’s own')),
  ])
  const own = await Promise.all(
    codes.map(username =>
      desk.desk.choosePassword({ username, code: code.get(username) ?? '', password: 'now of my own' }, home),
    ),
  )
  const again = await Promise.all(codes.map(user => desk.logIn(user, 'now of my own')))
  end.abort()
  isIn.resolve()
  await Promise.all(pupil)

  assert.deepEqual(answers, [...codes.map(user => `${user} with a code`), ...chosen])
  assert.deepEqual(
    own.map(({ user }) => user),
    codes,
  )
  assert.deepEqual(again, codes)
})

test('where very many guesses come from, every refusal is the same and comes at the same time', async t => {
  const end = Promise.withResolvers<void>()
  const { logIn, passwords, crowd } = openDesk(t, users, () => end.promise)
  await passwords.set(ann, 'right password')
  crowd()
  const answered: string[] = []
  const names = ['ann', 'bob', 'root-of-all', 'nobody', '../x', '']
  const looking = names.map(async name => {
    answered.push(await logIn(name, 'a guess of mine'))
  })
  // More than one name may be tried from an address in so short a time.
  const more = Array.from({ length: 8 }, async () => answered.push(await logIn('ann', 'another guess')))
  assert.equal(await logIn('bob', 'a guess of mine', '203.0.113.5'), 'LOGIN_REFUSED', 'elsewhere nobody waits')
  assert.deepEqual(answered, [], 'nothing is said before the time')
  end.resolve()
  await Promise.all([...looking, ...more])
  assert.deepEqual([...new Set(answered)], ['LOGIN_CROWDED'])
})

test('what is tried where very many guesses come from leaves no trace that tells names of people from others', async t => {
  const { logIn, clock, crowd } = openDesk(t, users)
  crowd()
  for (let guess = 0; guess < 5; guess++) {
    assert.deepEqual(await Promise.all([logIn('ann', 'guess'), logIn('nobody', 'guess')]), [
      'LOGIN_CROWDED',
      'LOGIN_CROWDED',
    ])
  }
  clock.now += 6_000
  assert.deepEqual(await Promise.all([logIn('ann', 'guess'), logIn('nobody', 'guess')]), [
    'LOGIN_TOO_OFTEN',
    'LOGIN_TOO_OFTEN',
  ])
})

test('somebody who guesses at a name from one address keeps its owner out nowhere else', async t => {
  const { logIn, passwords, clock } = openDesk(t, users)
  await passwords.set(ann, 'right password')
  let looks = 0
  for (let second = 0; second < 900; second += 10) {
    clock.now = second * 1000
    if ((await logIn('ann', 'guess', '198.51.100.7')) === 'LOGIN_REFUSED') looks++
  }
  assert.equal(looks, 5 + 900 / 30 - 1)
  assert.equal(await logIn('ann', 'right password', '203.0.113.9'), 'ann')
})

test('a right one-time code counts whatever was guessed at that name, from wherever', async t => {
  const { logIn, codes, desk } = openDesk(t, users)
  const code = codes.issue(ann, 3600_000)
  for (let guess = 0; guess < 40; guess++) await logIn('ann', 'guess', `198.51.100.${guess}`)
  assert.equal(await logIn('ann', 'guess', home), 'LOGIN_TOO_OFTEN')
  assert.equal(await logIn('ann', code, home), 'ann with a code')
  await assert.rejects(desk.choosePassword({ username: 'ann', code, password: 'ann.ann.ann' }, home), {
    code: 'PASSWORD_NAME',
  })
  await desk.choosePassword({ username: 'ann', code, password: 'now of my own' }, home)
  assert.equal(await logIn('ann', 'now of my own', home), 'ann', 'the address is known as hers from then on')
})

test('an administrator’s password has ten characters, wherever it comes from', async t => {
  const { codes, desk, passwords } = openDesk(t, users)
  const admin = parseUserName('root-of-all')
  const code = codes.issue(admin, 3600_000)
  const choose = (password: string) => desk.choosePassword({ username: admin, code, password }, home)
  const needsTen = { code: 'PASSWORD_SHORT', message: /at least 10/ }
  await assert.rejects(choose('nine tall'), needsTen)
  await assert.rejects(passwords.set(admin, 'nine tall'), needsTen)
  await assert.rejects(passwords.setFirst(admin, 'nine tall', { isCertain: true }), needsTen)
  await assert.rejects(choose('root-of-all-2026'), { code: 'PASSWORD_NAME' })
  await choose('ten is tall')
  await passwords.set(ann, 'nine tall')
})
