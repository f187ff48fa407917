/** Logins by OpenID Connect and GitHub against a provider on loopback that is honest in some tests and lies in others. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Config, parseConfig } from '../../../../config/meaning/config.ts'
import type { ExternalFlow } from '../../../../hub/authenticators/authenticator.ts'
import { github } from '../../../../hub/authenticators/github.ts'
import { createProviderClients } from '../../../../hub/authenticators/oauth-client.ts'
import { openIdConnect } from '../../../../hub/authenticators/openid-connect.ts'
import { execute } from '../../../harness/host/run-program.ts'
import {
  type Behaviour,
  clientId,
  clientSecret,
  type Defect,
  startIdentityProvider,
} from '../../../harness/peers/identity-provider.ts'

const callback = new URL('http://hub.example.org/class/hub/oauth_callback')
const client = `client_id: ${clientId}, client_secret: ${clientSecret}`
const ann = { claims: { sub: '7', preferred_username: 'Ann' } }

interface Options {
  /** Below the section of the way; `ISSUER` stands for the provider's address. */
  options?: string
  kind?: 'oidc' | 'github'
}

async function setUp(t: TestContext, { options = '', kind = 'oidc' }: Options = {}) {
  const provider = await startIdentityProvider()
  t.after(() => provider[Symbol.asyncDispose]())
  const section = kind === 'oidc' ? 'GenericOAuthenticator' : 'GitHubOAuthenticator'
  const address = kind === 'oidc' ? 'issuer: ISSUER' : 'github_url: ISSUER'
  const text = `auth: {type: ${kind === 'oidc' ? 'generic-oauth' : 'github'}, ${section}: {${client}, ${address}, ${options}}}`
  let inForce: Config = parseConfig(text.replaceAll('ISSUER', provider.issuer))
  const config = () => inForce
  const way =
    kind === 'github' ? github({ config }) : openIdConnect('oidc', { config, clients: createProviderClients() })
  return {
    provider,
    way,
    change: (next: string) => {
      inForce = parseConfig(next)
    },
    /** Who comes back, or why nobody does. */
    async logIn(behaviour: Behaviour) {
      provider.behave(behaviour)
      return outcome(way)
    },
  }
}

async function outcome(way: ExternalFlow) {
  try {
    const { address, kept } = await way.begin(callback, { isFresh: false })
    return await way.complete(await comeBack(address), kept)
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

/** What the browser does at the provider: the address that it is led back to. */
async function comeBack(address: URL): Promise<URL> {
  const { headers } = await fetch(address, { redirect: 'manual' })
  return new URL(headers.get('location') ?? '')
}

test('somebody comes back with the name and the subject that the provider tells', async t => {
  const { logIn, provider } = await setUp(t)
  const expected = {
    provider: provider.issuer,
    subject: '7',
    name: 'ann',
    claim: 'preferred_username',
    isWelcome: false,
  }
  assert.deepEqual(await logIn(ann), expected)
})

test('a login has a state, a nonce and a key of its own', async t => {
  const { way, provider } = await setUp(t, { options: 'scope: [profile], extra_authorize_params: {audience: us}' })
  provider.behave(ann)
  const first = (await way.begin(callback, { isFresh: false })).address.searchParams
  const second = (await way.begin(callback, { isFresh: true })).address.searchParams
  for (const name of ['state', 'nonce', 'code_challenge']) {
    assert.ok((first.get(name)?.length ?? 0) >= 43, name)
    assert.notEqual(first.get(name), second.get(name), name)
  }
  assert.equal(first.get('code_challenge_method'), 'S256')
  assert.equal(first.get('scope'), 'openid profile')
  assert.equal(first.get('redirect_uri'), callback.href)
  assert.equal(first.get('audience'), 'us')
  assert.deepEqual([first.get('prompt'), second.get('prompt')], [null, 'login'])
})

const lies: Partial<Record<Defect, string>> = {
  'alg-none': 'AUTH_NOT_TRUSTED',
  hmac: 'AUTH_NOT_TRUSTED',
  'wrong-signature': 'AUTH_NOT_TRUSTED',
  'wrong-audience': 'AUTH_NOT_TRUSTED',
  'wrong-issuer': 'AUTH_NOT_TRUSTED',
  'wrong-nonce': 'AUTH_NOT_TRUSTED',
  'no-nonce': 'AUTH_NOT_TRUSTED',
  expired: 'AUTH_NOT_TRUSTED',
  'no-token': 'AUTH_NOT_TRUSTED',
  denies: 'AUTH_DENIED',
}

for (const [defect, code] of Object.entries(lies)) {
  test(`nobody comes back from a provider with the defect ‘${defect}’`, async t => {
    const { logIn } = await setUp(t)
    assert.equal(await logIn({ ...ann, defect: defect as Defect }), code)
    assert.equal(typeof (await logIn(ann)), 'object', 'and the next login is not disturbed')
  })
}

for (const defect of ['garbage', 'redirects', 'describes-another', 'plain-login-page', 'endless'] as const) {
  test(`a provider with the defect ‘${defect}’ cannot be used, and is tried again`, async t => {
    const { logIn } = await setUp(t)
    assert.match(String(await logIn({ ...ann, defect })), /^AUTH_(PROVIDER|UNREACHABLE)$/)
    assert.equal(typeof (await logIn(ann)), 'object')
  })
}

test('a provider that describes itself well and then talks nonsense cannot be used', async t => {
  const { way, provider } = await setUp(t)
  provider.behave(ann)
  const { address, kept } = await way.begin(callback, { isFresh: false })
  const returned = await comeBack(address)
  provider.behave({ ...ann, defect: 'garbage' })
  await assert.rejects(way.complete(returned, kept), { code: 'AUTH_PROVIDER' })
})

test('a provider that is down or silent is said to be, and not waited for', async t => {
  const { way, provider } = await setUp(t)
  provider.behave({ defect: 'silent' })
  await assert.rejects(way.begin(callback, { isFresh: false }), { code: 'AUTH_UNREACHABLE', why: /within 10 seconds/ })
  await provider[Symbol.asyncDispose]()
  await assert.rejects(way.begin(callback, { isFresh: false }), { code: 'AUTH_UNREACHABLE', why: /ECONNREFUSED/ })
})

test('a provider whose certificate nobody has vouched for is not asked', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
  await execute([
    'openssl',
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    ...subject,
    '-keyout',
    key,
    '-out',
    cert,
  ])
  const asked: string[] = []
  const options = { key: readFileSync(key), cert: readFileSync(cert) }
  const server = createServer(options, request => void asked.push(request.url ?? ''))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { way, change } = await setUp(t)
  const issuer = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  change(`auth: {type: generic-oauth, GenericOAuthenticator: {${client}, issuer: "${issuer}"}}`)
  await assert.rejects(way.begin(callback, { isFresh: false }), {
    code: 'AUTH_UNREACHABLE',
    why: /self-signed certificate/,
  })
  assert.deepEqual(asked, [])
})

test('a provider is asked to describe itself once for many logins', async t => {
  const { way, provider } = await setUp(t)
  provider.behave(ann)
  await Promise.all(Array.from({ length: 5 }, () => way.begin(callback, { isFresh: false })))
  assert.equal(provider.asked.filter(path => path.includes('well-known')).length, 1)
})

test('a code counts once, for its own login, with its own state', async t => {
  const { way, provider } = await setUp(t)
  provider.behave(ann)
  const one = await way.begin(callback, { isFresh: false })
  const other = await way.begin(callback, { isFresh: false })
  const returned = await comeBack(one.address)
  await assert.rejects(way.complete(returned, other.kept), { code: 'AUTH_NOT_TRUSTED' }, 'another state')
  const injected = await comeBack(other.address)
  injected.searchParams.set('code', returned.searchParams.get('code') ?? '')
  await assert.rejects(way.complete(injected, other.kept), { code: 'AUTH_CODE' }, 'a code of another login')
  const third = await way.begin(callback, { isFresh: false })
  const good = await comeBack(third.address)
  assert.equal((await way.complete(good, third.kept)).subject, '7')
  await assert.rejects(way.complete(good, third.kept), { code: 'AUTH_CODE' }, 'a second time')
})

test('a hub that the provider does not know is told so', async t => {
  const { way, provider, change } = await setUp(t)
  provider.behave(ann)
  const options = `client_id: ${clientId}, client_secret: wrong, issuer: "${provider.issuer}"`
  change(`auth: {type: generic-oauth, GenericOAuthenticator: {${options}}}`)
  assert.equal(await outcome(way), 'AUTH_PROVIDER')
})

test('what the token does not have is asked for, of the same person alone', async t => {
  const { logIn } = await setUp(t)
  const claims = { sub: '7' }
  assert.deepEqual(Reflect.get(Object(await logIn({ claims, userinfo: { preferred_username: 'ann' } })), 'name'), 'ann')
  assert.equal(await logIn({ claims, userinfo: { sub: '8', preferred_username: 'ann' } }), 'AUTH_NOT_TRUSTED')
  assert.equal(await logIn({ claims }), 'AUTH_NAME')
})

test('an address counts as a name where it is verified', async t => {
  const { logIn } = await setUp(t, { options: 'username_claim: email' })
  const email = 'Ann@my-school.edu'
  for (const claims of [{ email }, { email, email_verified: false }, { email, email_verified: 'yes' }]) {
    assert.equal(await logIn({ claims: { sub: '7', ...claims } }), 'AUTH_EMAIL_UNVERIFIED')
  }
  const verified = { sub: '7', email, email_verified: true }
  assert.equal(Reflect.get(Object(await logIn({ claims: verified })), 'name'), 'ann@my-school.edu')
  const mixed = { claims: { sub: '7', email }, userinfo: { email: 'eve@evil.example', email_verified: true } }
  assert.equal(await logIn(mixed), 'AUTH_EMAIL_UNVERIFIED', 'another address is verified, not this one')
})

test('a group at the provider lets people in', async t => {
  const options = 'allowed_groups: [class], auth_state_groups_key: oauth_user.realm_access.roles'
  const { logIn } = await setUp(t, { options })
  const welcome = async (more: object) =>
    Reflect.get(Object(await logIn({ claims: { ...ann.claims, ...more } })), 'isWelcome')
  assert.equal(await welcome({ realm_access: { roles: ['other', 'class'] } }), true)
  assert.equal(await welcome({ realm_access: { roles: ['classes'] } }), false)
  assert.equal(await welcome({ realm_access: { roles: 'class' } }), false)
  assert.equal(await welcome({ groups: ['class'] }), false)
  assert.equal(await welcome({}), false)
})

test('at GitHub, somebody is a number, and is called by the login', async t => {
  const { logIn, provider } = await setUp(t, { kind: 'github' })
  const account = { provider: `${provider.issuer}/login/oauth`, subject: '583231' }
  const expected = { ...account, name: 'octo-cat', claim: 'login', isWelcome: false }
  assert.deepEqual(await logIn({ github: { id: 583231, login: 'Octo-Cat' } }), expected)
  assert.equal(await logIn({ github: { id: 'seven', login: 'ann' } }), 'AUTH_PROVIDER')
  assert.equal(await logIn({ github: { id: 7, login: null } }), 'AUTH_PROVIDER')
  assert.equal(await logIn({ github: { id: 7, login: 'ann', status: 500 } }), 'AUTH_PROVIDER')
  assert.equal(await logIn({ defect: 'denies' }), 'AUTH_DENIED')
})

test('at GitHub, a code that was used is refused though the answer has status 200', async t => {
  const { way, provider } = await setUp(t, { kind: 'github' })
  provider.behave({ github: { id: 7, login: 'ann' } })
  const { address, kept } = await way.begin(callback, { isFresh: false })
  assert.equal(address.searchParams.get('code_challenge_method'), 'S256')
  assert.equal(address.searchParams.get('scope'), null, 'nothing is asked for that is not needed')
  const returned = await comeBack(address)
  await way.complete(returned, kept)
  await assert.rejects(way.complete(returned, kept), { code: 'AUTH_CODE' })
})

test('members of organizations and teams at GitHub are let in, on whatever page they stand', async t => {
  const { logIn, way } = await setUp(t, { kind: 'github', options: 'allowed_organizations: [My-School, other:tutors]' })
  const welcome = async (more: object) =>
    Reflect.get(Object(await logIn({ github: { id: 7, login: 'ann', ...more } })), 'isWelcome')
  const many = Array.from({ length: 150 }, (_, number) => `club-${number}`)
  assert.equal(await welcome({ organizations: [...many, 'my-school'] }), true)
  assert.equal(await welcome({ teams: ['other:tutors'] }), true)
  assert.equal(
    await welcome({ organizations: ['other', 'my-school-2'], teams: ['my-school:students', 'others:tutors'] }),
    false,
  )
  assert.equal(await welcome({}), false)
  assert.equal((await way.begin(callback, { isFresh: false })).address.searchParams.get('scope'), 'read:org')
})
