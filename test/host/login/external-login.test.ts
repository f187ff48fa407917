/** Logging in at another site, on a host: the ways through, and the ways in which that is attacked. */
import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import type { HostProcess } from '../../harness/host/host.ts'
import { type Behaviour, clientId, clientSecret } from '../../harness/peers/identity-provider.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { bootProduct, checkoutProgram, type Product } from '../../harness/product/product.ts'

const port = 9400
const issuer = `http://127.0.0.1:${port}`

const config = `
users: {allowed: [ann, bob, dora, fay, kim], banned: [mallory]}
auth:
  type: [generic-oauth, github, firstuse]
  GenericOAuthenticator:
    client_id: ${clientId}
    client_secret: ${clientSecret}
    issuer: ${issuer}
    login_service: My School
    allowed_groups: [course]
  GitHubOAuthenticator:
    client_id: ${clientId}
    client_secret: ${clientSecret}
    github_url: ${issuer}
    allowed_organizations: [my-school]
`

let product: Product
let provider: HostProcess
let answers: AsyncIterator<string>

before(async () => {
  product = await bootProduct({ config })
  provider = await product.host.start([...checkoutProgram('test/harness/peers/identity-provider.ts'), String(port)])
  answers = createInterface({ input: provider.stdout })[Symbol.asyncIterator]()
  assert.equal((await answers.next()).value, 'ready')
})

after(() => product[Symbol.asyncDispose]())

async function behave(behaviour: Behaviour): Promise<void> {
  provider.stdin.write(`${JSON.stringify(behaviour)}\n`)
  assert.equal((await answers.next()).value, 'done')
}

const person = (sub: string, preferred_username: string, more: object = {}): Behaviour => ({
  claims: { sub, preferred_username, ...more },
})

/** Goes to the provider and back as a browser does: the path at the hub where the provider leads to. */
async function away(visitor: Visitor, way = 'oidc', next = ''): Promise<string> {
  const { status, location, body } = await visitor.request(`/hub/oauth_login?provider=${way}&next=${next}`)
  assert.equal(status, 302, body)
  // What is loopback to the host is at the host's address to this process.
  const there = location.replace('http://127.0.0.1:', `${product.url}:`)
  const { headers } = await fetch(there, { redirect: 'manual' })
  const back = new URL(headers.get('location') ?? '')
  assert.equal(back.origin, product.url)
  return `${back.pathname}${back.search}`
}

async function logIn(visitor: Visitor, behaviour: Behaviour, way = 'oidc', next = '') {
  await behave(behaviour)
  return visitor.request(await away(visitor, way, next))
}

async function whoIs(visitor: Visitor): Promise<string> {
  const { body } = await visitor.request('/hub/home')
  return /class="user"[^>]*>([^<]*)</.exec(body)?.[1] ?? (body.includes('Your server') ? 'somebody' : 'nobody')
}

const isIn = async (visitor: Visitor) => (await visitor.request('/hub/home')).status === 200

test('somebody comes in by the provider, and lands where the way led', async () => {
  const ann = visit(product.url)
  const { body } = await ann.request('/hub/login')
  assert.match(body, /Log in with My School/)
  assert.match(body, /Log in with GitHub/)
  const { status, location, headers } = await logIn(ann, person('7', 'Ann'), 'oidc', '/hub/home')
  assert.equal(status, 302)
  assert.equal(location, '/hub/home')
  assert.equal(await isIn(ann), true)
  assert.notEqual(await whoIs(ann), 'nobody')
  assert.match(String(headers['set-cookie']), /tljh-session=[^;]+;.*HttpOnly/)
  assert.equal(
    [...ann.cookies.keys()].some(name => name.startsWith('tljh-away-')),
    false,
    'what was kept is gone',
  )
})

test('what is kept meanwhile is for the hub alone', async () => {
  const { headers } = await visit(product.url).request('/hub/oauth_login?provider=oidc')
  const kept = [headers['set-cookie']].flat().find(text => text?.startsWith('tljh-away-')) ?? ''
  assert.match(kept, /; Max-Age=600; Path=\/hub\/; HttpOnly; SameSite=Lax/)
  assert.doesNotMatch(Buffer.from(kept.split(/[=;]/)[1] ?? '', 'base64url').toString(), /verifier|oidc/)
})

test('an answer counts once', async () => {
  const ann = visit(product.url)
  await behave(person('7', 'ann'))
  const back = await away(ann)
  const cookies = new Map(ann.cookies)
  assert.equal((await ann.request(back)).status, 302)
  const thief = visit(product.url)
  for (const [name, value] of cookies) thief.cookies.set(name, value)
  const { status, body } = await thief.request(back)
  assert.equal(status, 400)
  assert.match(body, /used before/)
  assert.equal(await isIn(thief), false)
})

test('an answer without a state, with another browser’s, or with another login’s cookie is nobody’s', async () => {
  await behave(person('7', 'ann'))
  const ann = visit(product.url)
  const back = await away(ann)
  const eve = visit(product.url)
  const backOfEve = await away(eve)
  const state = (path: string) => new URLSearchParams(path.split('?')[1]).get('state') ?? ''

  for (const path of [
    '/hub/oauth_callback',
    '/hub/oauth_callback?code=x',
    '/hub/oauth_callback?code=x&state=',
    `${back}&state=x`,
  ]) {
    const { status } = await ann.request(path)
    assert.equal(status, 400, path)
  }
  assert.equal((await eve.request(back)).status, 400, 'login CSRF: an answer for somebody else’s browser')
  const [name = '', value = ''] = [...eve.cookies].find(([name]) => name.startsWith('tljh-away-')) ?? []
  const [annsName = ''] = [...ann.cookies].find(([name]) => name.startsWith('tljh-away-')) ?? []
  ann.cookies.set(annsName, value)
  assert.equal((await ann.request(back)).status, 400, 'a cookie under another name')
  ann.cookies.set(name, `${value.slice(0, -4)}AAAA`)
  assert.equal((await ann.request(backOfEve)).status, 400, 'a cookie that was changed')
  const swapped = back.replace(state(back), state(backOfEve))
  assert.equal((await eve.request(swapped)).status, 403, 'the code of another login')
  for (const visitor of [ann, eve]) assert.equal(await isIn(visitor), false)
})

test('logins in two tabs at once both arrive', async () => {
  await behave(person('7', 'ann'))
  const ann = visit(product.url)
  const [one, other] = [await away(ann, 'oidc', '/hub/home'), await away(ann, 'oidc', '/hub/account')]
  assert.equal((await ann.request(other)).location, '/hub/account')
  assert.equal((await ann.request(one)).location, '/hub/home')
})

test('after a login one is at the hub, whatever was asked for', async () => {
  for (const next of [
    'https://evil.example',
    '//evil.example',
    '/%5Cevil.example',
    '%2F%2Fevil.example',
    'javascript:alert(1)',
  ]) {
    const { location } = await logIn(visit(product.url), person('7', 'ann'), 'oidc', next)
    assert.match(location, /^\/(hub\/)?$|^\/%5Cevil/, next)
  }
})

test('whoever does not agree, or is not let in, is told so, and who that is', async () => {
  const denied = await logIn(visit(product.url), { ...person('1', 'ann'), defect: 'denies' })
  assert.equal(denied.status, 403)
  assert.match(denied.body, /did not agree/)

  const stranger = await logIn(visit(product.url), person('2', 'zoe'))
  assert.equal(stranger.status, 403)
  assert.match(stranger.body, /You are &quot;zoe&quot; at My School/)

  const banned = await logIn(visit(product.url), person('3', 'mallory', { groups: ['course'] }))
  assert.equal(banned.status, 403, 'banned is stronger than a group')

  const nobody = await logIn(visit(product.url), person('4', 'Änn <b>'))
  assert.equal(nobody.status, 403)
  assert.match(nobody.body, /preferred_username/)
  assert.doesNotMatch(nobody.body, /<b>/)

  const kelvin = await logIn(visit(product.url), person('5', '\u212aim'))
  assert.equal(kelvin.status, 403, 'the sign for Kelvin is no k')
})

test('a group at the provider, and an organization at GitHub, lets strangers in, each by its own way alone', async () => {
  const gus = visit(product.url)
  assert.equal((await logIn(gus, person('20', 'gus', { groups: ['course'] }))).status, 302)
  assert.equal(await isIn(gus), true)
  assert.equal((await logIn(visit(product.url), { github: { id: 21, login: 'hal' } }, 'github')).status, 403)
  const member = { github: { id: 21, login: 'hal', organizations: ['my-school'] } }
  assert.equal((await logIn(visit(product.url), member, 'github')).status, 302)
})

test('an account is one user for ever, and a user one account', async () => {
  const bob = visit(product.url)
  assert.equal((await logIn(bob, person('30', 'bob'))).status, 302)
  const renamed = visit(product.url)
  assert.equal((await logIn(renamed, person('30', 'dora'))).status, 302)
  assert.match((await renamed.request('/hub/home')).body, /\bbob\b/, 'still bob, whatever the provider calls him now')

  const other = visit(product.url)
  const { status, body } = await logIn(other, person('31', 'bob'))
  assert.equal(status, 403)
  assert.match(body, /user unlink bob/)
  assert.equal(await isIn(other), false)
  assert.equal((await logIn(visit(product.url), { github: { id: 30, login: 'bob' } }, 'github')).status, 403)
})

test('whoever is called as somebody who has a password here is not that one, until the password was given', async () => {
  const { admin, adminPassword, url } = product
  const thief = visit(url)
  const refusal = await logIn(thief, { github: { id: 666, login: admin } }, 'github')
  assert.equal(refusal.status, 403)
  assert.match(refusal.body, /another way/)
  assert.equal(await isIn(thief), false)

  const honest = visit(url)
  assert.equal((await honest.logIn(admin, adminPassword)).status, 302)
  assert.equal((await logIn(honest, { github: { id: 1, login: admin } }, 'github')).status, 302)
  assert.equal(
    (await logIn(visit(url), { github: { id: 1, login: admin } }, 'github')).status,
    302,
    'from then on by itself',
  )
})

test('somebody who has a one-time code, or came by a way that is gone, is not whoever is called so elsewhere', async t => {
  const { host, url } = product
  await host.run(['tljh-ts', 'user', 'add', 'carl'])
  const stranger = visit(url)
  assert.equal((await logIn(stranger, { github: { id: 700, login: 'carl' } }, 'github')).status, 403)
  assert.equal(await isIn(stranger), false)

  const before = await host.readFile('/opt/tljh/config/config.yaml')
  t.after(() => host.run(['tljh-ts', 'config', 'apply', '-', '--yes'], { input: before, check: false }))
  await host.run(['tljh-ts', 'config', 'set', 'auth.type', 'github'])
  const again = visit(url)
  const refusal = await logIn(again, { github: { id: 700, login: 'carl' } }, 'github')
  assert.equal(refusal.status, 403)
  assert.match(refusal.body, /user unlink carl/)
  await host.run(['tljh-ts', 'user', 'unlink', 'carl'])
  assert.equal((await logIn(again, { github: { id: 700, login: 'carl' } }, 'github')).status, 302)
})

test('a provider that lies or is out of order lets nobody in, and the hub stays up', async () => {
  const statuses = {
    'wrong-audience': 403,
    'alg-none': 403,
    expired: 403,
    'wrong-nonce': 403,
    'wrong-signature': 403,
  } as const
  for (const [defect, status] of Object.entries(statuses)) {
    const visitor = visit(product.url)
    const answer = await logIn(visitor, { ...person('7', 'ann'), defect: defect as keyof typeof statuses })
    assert.equal(answer.status, status, defect)
    assert.equal(await isIn(visitor), false, defect)
  }
  await behave(person('7', 'ann'))
  const ann = visit(product.url)
  const back = await away(ann)
  provider.kill()
  await provider.ended
  const { status, body } = await ann.request(back)
  assert.equal(status, 503)
  assert.match(body, /My School could not be asked who you are/)
  assert.equal((await ann.request('/hub/login')).status, 200)
  // Entries are written beside the answers.
  const audit = ['sh', '-c', 'until tljh-ts audit | grep AUTH_UNREACHABLE; do sleep 0.1; done; tljh-ts audit']
  const { stdout: entries } = await product.host.run(audit)
  assert.match(entries, /login refused \(AUTH_NOT_ALLOWED\).*zoe/)
  const { stdout } = await product.host.run(['journalctl', '--no-pager', '--output=cat'])
  assert.doesNotMatch(stdout, new RegExp(clientSecret))
  assert.doesNotMatch(stdout, /oauth_callback\?/, 'nor what opens a session')
})
