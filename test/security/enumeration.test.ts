/**
 * Whether a name has an account cannot be told from how long an answer takes. Time itself is not measured here, since it says as much of the
 * machine as of us; counted is what takes it: hashes that are computed and looked up, for each kind of name and each setting.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { parseConfig } from '../../config/meaning/config.ts'
import { parseUserName } from '../../config/users/names.ts'
import { createAuthenticators } from '../../hub/authenticators/authenticators.ts'
import { createLogins } from '../../hub/credentials/last-logins.ts'
import { createOneTimeCodes } from '../../hub/credentials/one-time-codes.ts'
import { createPasswords } from '../../hub/credentials/passwords.ts'
import { createLoginDesk } from '../../hub/login/password-login.ts'
import { createThrottle } from '../../hub/login/throttle.ts'
import { openState } from '../../hub/state/database.ts'

const users = 'users: {allowed: [ann, new, coded], banned: [eve], admin: [tea, tim]}\n'

/** A desk that tells what each attempt has cost. `ann`, `tea` and `eve` have passwords, `coded` has a code. */
async function openDesk(t: TestContext, auth: string) {
  const db = openState(':memory:')
  t.after(() => db.close())
  const inForce = parseConfig(`${users}${auth}`)
  const config = { current: () => inForce, problem: () => undefined }
  const real = createPasswords(db, config.current)
  for (const name of ['ann', 'tea', 'eve']) await real.set(parseUserName(name), `password of ${name}`)
  const codes = createOneTimeCodes(db)
  codes.issue(parseUserName('coded'), 3600_000)
  let work: string[] = []
  const passwords: typeof real = {
    ...real,
    check: (user, password) => {
      work.push('check')
      return real.check(user, password)
    },
    prepare: (...given) => {
      work.push('prepare')
      return real.prepare(...given)
    },
    setFirst: (...given) => {
      work.push('set')
      return real.setFirst(...given)
    },
  }
  const authenticators = createAuthenticators({
    config: config.current,
    passwords,
    pamSocket: '/nonexistent/pam.sock',
    log: () => undefined,
  })
  const desk = createLoginDesk({
    config,
    authenticators,
    passwords,
    codes,
    logins: createLogins(db),
    throttle: createThrottle(),
  })
  let address = 0
  const attempt = async (act: (from: string) => Promise<unknown>): Promise<string> => {
    work = []
    const end = await act(`192.0.2.${address++}`).then(
      () => 'in',
      (error: { code: string; message: string }) => `${error.code} ${error.message}`,
    )
    return `${work.join(' ')}: ${end}`
  }
  return {
    logIn: (username: string) => attempt(from => desk.logIn({ username, password: 'a wrong password' }, from)),
    useCode: (username: string) =>
      attempt(from => desk.choosePassword({ username, code: 'aaaa-bbbb-cccc', password: 'long enough' }, from)),
  }
}

const names = ['ann', 'new', 'coded', 'eve', 'tea', 'tim', 'nobody', 'root', '../x', '', 'ａnn', 'x'.repeat(250)]

for (const [what, auth] of [
  ['first use', ''],
  ['sign-up', 'auth: {type: native}\n'],
  ['first use and sign-up', 'auth: {type: [firstuse, native]}\n'],
  ['a shared password', 'auth: {type: dummy, DummyAuthenticator: {password: workshop-2026}}\n'],
  [
    'a shared password and first use',
    'auth: {type: [dummy, firstuse], DummyAuthenticator: {password: workshop-2026}}\n',
  ],
] as const) {
  test(`with ${what}, a wrong password costs the same and is refused in the same words, whoever is meant`, async t => {
    const { logIn } = await openDesk(t, auth)
    const answers = new Set<string>()
    for (const name of names) answers.add(await logIn(name))
    assert.equal(answers.size, 1, [...answers].join('\n'))
    assert.match([...answers].join(), /^check.*: LOGIN_REFUSED /)
  })

  test(`with ${what}, a wrong code does, too`, async t => {
    const { useCode } = await openDesk(t, auth)
    const answers = new Set<string>()
    for (const name of names) answers.add(await useCode(name))
    assert.equal(answers.size, 1, [...answers].join('\n'))
    assert.match([...answers].join(), /^: CODE_VOID /)
  })
}
