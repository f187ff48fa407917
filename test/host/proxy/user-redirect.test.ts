/** Links for a whole class (`hub/user-redirect/…`): from every way in to the same path on one's own server, byte for byte. */
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, before, test } from 'node:test'
import { TOTP } from 'otpauth'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { bootProduct, choosePassword, type Product, TLJH_TS } from '../../harness/product/product.ts'

/** As nbgitpuller's link generator makes them, with what could be written in another way. */
const query =
  '?repo=https%3A%2F%2Fx.example%2Fy%3Fa%3D1%26b%3D2&urlpath=lab%2Ftree%2Fa%20b+c.ipynb&n=%271%27&empty=&%C3%A4'
const link = `/class/hub/user-redirect/git-pull${query}`
const password = 'correct horse battery'

let product: Product
before(async () => {
  product = await bootProduct({
    config: `
base_url: /class/
users: {allowed: [ann, bob, carl]}
auth:
  type: [firstuse, native, tmp]
  NativeAuthenticator: {open_signup: true}
`,
  })
})
after(() => product?.[Symbol.asyncDispose]())

async function codeFor(name: string): Promise<string> {
  const { stdout } = await product.host.run([...TLJH_TS, 'user', 'invite', '--json', name])
  return (JSON.parse(stdout) as { code: string }[])[0]?.code ?? ''
}

/** What a page's hidden field says where to go afterwards, as a browser reads it. */
function nextIn(body: string): string {
  const written = /name="next" value="([^"]*)"/.exec(body)?.[1] ?? ''
  return written.replaceAll('&#39;', "'").replaceAll('&quot;', '"').replaceAll('&amp;', '&')
}

/** A stranger who has opened the link, and sees the login page. */
async function stranger(): Promise<{ visitor: Visitor; next: string }> {
  const visitor = visit(product.url)
  const { status, location } = await visitor.request(link)
  assert.equal(status, 302)
  assert.match(location, /^\/class\/hub\/login\?next=/)
  return { visitor, next: nextIn((await visitor.request(location)).body) }
}

/** Follows to where the link leads somebody who is logged in now. */
async function arrivesAt(visitor: Visitor, location: string, user: string): Promise<void> {
  assert.equal(location, link)
  const led = await visitor.request(location)
  assert.equal(led.status, 302, led.body)
  assert.equal(led.location, `/class/user/${user}/git-pull${query}`)
}

test('a link opens through the first password and the second factor', async () => {
  const { visitor, next } = await stranger()
  const code = await codeFor('ann')
  const page = await visitor.post('/class/hub/login', { username: 'ann', password: code, next })
  const chosen = { username: 'ann', code, password, repeated: password, next: nextIn(page.body) }
  const { location } = await visitor.post('/class/hub/welcome', chosen)
  await arrivesAt(visitor, location, 'ann')

  await visitor.request('/class/hub/account')
  const proposal = await visitor.post('/class/hub/account/second-factor/new', { password })
  const secret = /name="secret" value="([A-Z2-7]{32})"/.exec(proposal.body)?.[1] ?? ''
  const device = new TOTP({ secret })
  const on = await visitor.post('/class/hub/account/second-factor', { secret, code: device.generate() })
  assert.equal(on.status, 200)
  const again = await stranger()
  const step = await again.visitor.post('/class/hub/login', { username: 'ann', password, next: again.next })
  assert.equal(step.location, '/class/hub/second-factor')
  await again.visitor.request(step.location)
  const later = device.generate({ timestamp: Date.now() + 30_000 })
  await arrivesAt(
    again.visitor,
    (await again.visitor.post('/class/hub/second-factor', { code: later })).location,
    'ann',
  )
})

test('a link opens through the sign-up, and through a temporary account', async () => {
  const { visitor, next } = await stranger()
  const page = await visitor.request(`/class/hub/signup?next=${encodeURIComponent(next)}`)
  const fields = { username: 'dora', email: '', password, repeated: password, next: nextIn(page.body) }
  await arrivesAt(visitor, (await visitor.post('/class/hub/signup', fields)).location, 'dora')

  const other = await stranger()
  const { location } = await other.visitor.post('/class/hub/temporary', { next: other.next })
  const led = await other.visitor.request(location)
  assert.match(led.location, /^\/class\/user\/tmp-[a-z0-9]{8}\/git-pull\?/)
  assert.ok(led.location.endsWith(`/git-pull${query}`))
})

test('a link starts the server on the way from the login, and the page of the start leads on to it', async () => {
  await choosePassword(`${product.url}/class`, 'bob', await codeFor('bob'), password)
  const { visitor, next } = await stranger()
  const { location } = await visitor.post('/class/hub/login', { username: 'bob', password, next })
  await arrivesAt(visitor, location, 'bob')
  const target = `/class/user/bob/git-pull${query}`
  const starting = await visitor.request(target)
  assert.equal(starting.status, 302, 'bob’s server starts')
  assert.equal(starting.location, `/class/hub/spawn-pending/bob?next=${encodeURIComponent(target)}`)
  const pending = await visitor.request(starting.location)
  assert.ok(nextIn(pending.body) === target || pending.location === target, pending.body)
  const inHub = visit(`${product.url}/class`)
  await inHub.logIn('bob', password)
  await inHub.startServer()
  assert.equal((await visitor.request(starting.location)).location, target)
  const answer = await visitor.request(target)
  assert.equal(answer.status, 200, 'nbgitpuller answers')
  assert.match(answer.body, /git-?pull/i)
})

test('a page of another site starts nothing with a link, and is led to the button', async () => {
  await choosePassword(`${product.url}/class`, 'carl', await codeFor('carl'), password)
  const carl = visit(product.url)
  const { next } = await stranger()
  await carl.request('/class/hub/login')
  await carl.post('/class/hub/login', { username: 'carl', password, next })
  const image = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }
  assert.equal((await carl.request(link, { headers: image })).status, 302)
  const { status, body } = await carl.request(`/class/user/carl/git-pull${query}`)
  assert.equal(status, 424)
  assert.equal(nextIn(body), `/class/user/carl/git-pull${query}`)
})

test('a link leads to one’s own server and nowhere else', async () => {
  const carl = visit(product.url)
  await carl.request('/class/hub/login')
  await carl.post('/class/hub/login', { username: 'carl', password })
  const raw = (path: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      const { hostname } = new URL(product.url)
      const call = request({ hostname, path, headers: carl.headersFor(path), agent: false }, response => {
        response.resume().on('end', () => resolve(response.statusCode))
      })
      call.on('error', reject).end()
    })
  for (const rest of ['../bob/lab', '%2e%2e/bob/lab', './../bob', 'lab/.%2E/..', 'a\\..\\b', '%ff', '..', '.']) {
    assert.equal(await raw(`/class/hub/user-redirect/${rest}`), 400, rest)
  }
  for (const rest of ['', '/evil.example', 'user/bob/lab', '?a=b', 'http://evil.example/']) {
    const { location } = await carl.request(`/class/hub/user-redirect/${rest}`, { headers: { accept: '*/*' } })
    assert.equal(location, `/class/user/carl/${rest}`)
  }
})
