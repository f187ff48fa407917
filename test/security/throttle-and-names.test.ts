/** What guessing, and asking for accounts, can do to others who are honest. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { TOTP } from 'otpauth'
import { visit } from '../harness/people/visitor.ts'
import { bootProduct, choosePassword, type Product, TLJH_TS } from '../harness/product/product.ts'

let product: Product
const password = 'correct horse battery'
before(async () => {
  product = await bootProduct({
    config: `
users: {allowed: [ann, bob, carl]}
auth:
  type: [firstuse, native, tmp]
  FirstUseAuthenticator: {create_users: true}
`,
  })
  for (const name of ['ann', 'bob', 'carl']) {
    const { stdout } = await product.host.run([...TLJH_TS, 'user', 'invite', '--json', name])
    await choosePassword(product.url, name, JSON.parse(stdout)[0].code, password)
  }
})
after(() => product?.[Symbol.asyncDispose]())
const knock = (name: string, word = 'a guess of mine') => visit(product.url).logIn(name, word)

test('the account of a temporary visitor cannot be claimed by whoever knows its name', async () => {
  const visitor = visit(product.url)
  await visitor.request('/hub/login')
  assert.ok((await visitor.post('/hub/temporary')).status < 400)
  const home = await visitor.request('/hub/home')
  const name = /tmp-[a-z0-9]{8}/.exec(home.body)?.[0] ?? ''
  assert.ok(name, home.body)
  assert.equal((await knock(name, 'password of a thief')).status, 403)
})

test('a name of the temporary kind cannot be taken by hand', async () => {
  assert.equal((await knock('tmp-abcd2345', 'password of a thief')).status, 403)
})

test('whoever types another’s name and “second factor” as a user name does not keep the owner from the second step', async () => {
  const carl = visit(product.url)
  assert.equal((await carl.logIn('carl', password)).status, 302)
  const page = await carl.post('/hub/account/second-factor/new', { password })
  const secret = /name="secret" value="([A-Z2-7]{32})"/.exec(page.body)?.[1] ?? ''
  const device = new TOTP({ secret })
  assert.equal((await carl.post('/hub/account/second-factor', { secret, code: device.generate() })).status, 200)
  for (let n = 0; n < 6; n++) await knock('carl second factor')
  const again = visit(product.url)
  assert.equal((await again.logIn('carl', password)).status, 303)
  await again.request('/hub/second-factor')
  const { status } = await again.post('/hub/second-factor', {
    code: device.generate({ timestamp: Date.now() + 30_000 }),
  })
  assert.notEqual(status, 429)
})

test('a class at one address can sign up, and open temporary accounts', async () => {
  for (let n = 0; n < 20; n++) {
    const visitor = visit(product.url)
    await visitor.request('/hub/login')
    const { status } = await visitor.post('/hub/temporary')
    assert.ok(status < 400, `${n}: ${status}`)
  }
})

test('a class that comes for the first time gets in from the address of somebody who guesses all the time', async () => {
  const { host, url } = product
  const add = async (...args: string[]) => {
    const { stdout } = await host.run([...TLJH_TS, 'user', 'add', '--json', ...args], { timeoutMs: 120_000 })
    return JSON.parse(stdout) as { user: string; code: string; password: string }[]
  }
  const names = (kind: string) => Array.from({ length: 15 }, (_, index) => `${kind}${index}`)
  const withCode = await add(...names('new'))
  const withPassword = await add('--password', ...names('given'))
  const pupil = visit(url)
  await pupil.request('/hub/login')
  // Wrong codes count like wrong passwords, and cost no time.
  for (let count = 0; count < 200; count++) {
    const fields = { username: `ghost${count}`, code: 'no-code', password, repeated: password }
    await pupil.post('/hub/welcome', fields)
  }
  const statuses = new Set<number>()
  const refused = Promise.withResolvers<void>()
  let [guesses, isOver] = [0, false]
  const guesser = Array.from({ length: 16 }, async () => {
    while (!isOver) {
      const fields = { username: `nobody${guesses++}`, password: 'a guess of mine' }
      const { status } = await pupil.post('/hub/login', fields)
      statuses.add(status)
      if (status === 429) refused.resolve()
    }
  })
  try {
    await refused.promise
    await Promise.all([
      ...withCode.map(({ user, code }) => choosePassword(url, user, code, password)),
      ...withPassword.map(async ({ user, password: given }) =>
        assert.equal((await knock(user, given)).status, 302, user),
      ),
    ])
  } finally {
    isOver = true
    await Promise.all(guesser)
  }
  assert.ok(statuses.has(429))
})

test('one who guesses cannot keep a whole class at the same address out', async () => {
  assert.equal((await knock('bob', password)).status, 302, 'bob has been here before')
  for (let n = 0; n < 201; n++) await knock(`nobody${n}`, 'short')
  assert.equal((await knock('bob', password)).status, 302, 'bob is known at this address')
})
