/** What the options of the ways that lead to another site mean, and what is wrong with them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isSafeAddress } from '../../../config/meaning/auth-oauth.ts'
import { parseConfig, readConfig } from '../../../config/meaning/config.ts'
import { authenticatorKinds } from '../../../config/schema/auth.ts'
import { type Claims, type OpenIdKind, providerOf } from '../../../hub/authenticators/oauth-providers.ts'
import { mergedClaims } from '../../../hub/authenticators/openid-connect.ts'

const client = 'client_id: us, client_secret: known to both'

function findings(type: string, section: string, options: string) {
  const { findings, config } = readConfig(`auth: {type: ${type}, ${section}: {${options}}}`)
  return {
    config,
    errors: findings.filter(({ severity }) => severity === 'error').map(({ key }) => key.split('.').slice(2).join('.')),
    findings,
  }
}

function provider(kind: OpenIdKind, section: string, options: string) {
  const [name = ''] = authenticatorKinds[kind].names
  const { auth } = parseConfig(`auth: {type: ${name}, ${section}: {${client}, ${options}}}`)
  return providerOf(kind, auth.options)
}

/** Who somebody with these claims is, or why nobody. */
function read(read: (claims: Claims) => object, claims: Claims) {
  try {
    return read(claims)
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('a way in that lacks what it needs is an error, not a way that is open', () => {
  const lacking: [string, string, string, string[]][] = [
    ['generic-oauth', 'GenericOAuthenticator', '', ['client_id', 'issuer']],
    ['generic-oauth', 'GenericOAuthenticator', `${client}, issuer: "http://login.example.org"`, ['issuer']],
    ['generic-oauth', 'GenericOAuthenticator', `${client}, issuer: "https://a:b@login.example.org"`, ['issuer']],
    ['github', 'GitHubOAuthenticator', 'client_id: us', ['client_secret']],
    ['github', 'GitHubOAuthenticator', `${client}, github_url: "http://github.example.org"`, ['github_url']],
    [
      'google',
      'GoogleOAuthenticator',
      `${client}, oauth_callback_url: "https://hub.example.org/oauth_callback"`,
      ['oauth_callback_url'],
    ],
    ['azuread', 'AzureAdOAuthenticator', client, ['tenant_id']],
    ['azuread', 'AzureAdOAuthenticator', `${client}, tenant_id: Common`, ['tenant_id']],
    ['azuread', 'AzureAdOAuthenticator', `${client}, tenant_id: a/../common`, ['tenant_id']],
    ['auth0', 'Auth0OAuthenticator', client, ['auth0_domain']],
    ['cilogon', 'CILogonOAuthenticator', client, ['allowed_idps']],
    ['cilogon', 'CILogonOAuthenticator', `${client}, allowed_idps: {"https://idp.edu": {}}`, ['allowed_idps']],
    ['gitlab', 'GitLabOAuthenticator', `${client}, gitlab_url: "ftp://gitlab.example.org"`, ['gitlab_url']],
  ]
  for (const [type, section, options, errors] of lacking) {
    assert.deepEqual(findings(type, section, options).errors, errors, `${section} ${options}`)
  }
  assert.deepEqual(
    findings('firstuse', 'GenericOAuthenticator', '').errors,
    [],
    'nothing is wanted of a way that is not one',
  )
})

test('an option that could keep strangers away is never read past', () => {
  for (const option of [
    'whitelist: [ann]',
    'blocked_users: [eve]',
    'allowed_google_groups: {a: [b]}',
    'username_pattern: x',
    'enable_pkce: false',
    'validate_server_cert: false',
  ]) {
    const { config } = findings('google', 'GoogleOAuthenticator', `${client}, ${option}`)
    assert.equal(config, undefined, option)
  }
  const { findings: notes, config } = findings(
    'github',
    'GitHubOAuthenticator',
    `${client}, allowed_users: [ann], admin_users: [tea]`,
  )
  assert.deepEqual(
    notes.map(({ severity, why }) => `${severity}: ${/users\.(allowed|admin)/.test(why)}`),
    ['note: true', 'note: true'],
  )
  assert.equal(config?.auth.isOpen, false)
})

test('nobody whom the file does not name comes by a way that does not say so', () => {
  const isOpen = (type: string, section: string, options: string) =>
    parseConfig(`auth: {type: ${type}, ${section}: {${client}, ${options}}}`).auth.isOpen
  assert.equal(isOpen('google', 'GoogleOAuthenticator', ''), false)
  assert.equal(isOpen('google', 'GoogleOAuthenticator', 'hosted_domain: [my-school.edu]'), false)
  assert.equal(isOpen('google', 'GoogleOAuthenticator', 'allow_all: true'), true)
  assert.equal(isOpen('github', 'GitHubOAuthenticator', 'allowed_organizations: []'), false)
  assert.equal(isOpen('github', 'GitHubOAuthenticator', 'allowed_organizations: [my-school]'), true)
  assert.equal(isOpen('gitlab', 'GitLabOAuthenticator', 'allowed_gitlab_groups: [course]'), true)
  assert.equal(isOpen('azuread', 'AzureAdOAuthenticator', 'tenant_id: my-school.edu, allowed_groups: [course]'), true)
  const idp = '"https://idp.edu": {username_derivation: {username_claim: eppn}'
  assert.equal(isOpen('cilogon', 'CILogonOAuthenticator', `allowed_idps: {${idp}}}`), false)
  assert.equal(isOpen('cilogon', 'CILogonOAuthenticator', `allowed_idps: {${idp}, allow_all: true}}`), true)
})

test('a provider is asked over https, or on this machine itself', () => {
  for (const address of [
    'https://login.example.org/x',
    'http://127.0.0.1:9000',
    'http://127.1.2.3',
    'http://[::1]:80/',
    'http://localhost/',
    'http://idp.localhost',
  ]) {
    assert.equal(isSafeAddress(address), true, address)
  }
  for (const address of [
    'http://login.example.org',
    'http://127.0.0.1.example.org',
    'http://localhost.example.org',
    'http://10.0.0.1',
    'http://128.0.0.1',
    'https://a@b.example',
    'file:///etc/passwd',
    'javascript:1',
    '',
  ]) {
    assert.equal(isSafeAddress(address), false, address)
  }
})

test('Google: the organization is what Google says it is, not what the address looks like', () => {
  const google = provider('google', 'GoogleOAuthenticator', 'hosted_domain: [my-school.edu], allow_all: true')
  const email = 'Ann@my-school.edu'
  assert.deepEqual(read(google.read, { email, email_verified: true, hd: 'My-School.edu' }), {
    name: 'ann',
    claim: 'email',
    isWelcome: true,
  })
  assert.equal(read(google.read, { email, email_verified: true }), 'AUTH_NOT_ALLOWED')
  assert.equal(read(google.read, { email, email_verified: true, hd: 'evil.example' }), 'AUTH_NOT_ALLOWED')
  assert.equal(read(google.read, { email, email_verified: true, hd: ['my-school.edu'] }), 'AUTH_NOT_ALLOWED')
  assert.equal(read(google.read, { email, hd: 'my-school.edu' }), 'AUTH_EMAIL_UNVERIFIED')
  assert.equal(google.parameters.hd, 'my-school.edu')
  const two = provider('google', 'GoogleOAuthenticator', 'hosted_domain: [my-school.edu, other.edu]')
  assert.deepEqual(read(two.read, { email, email_verified: true, hd: 'other.edu' }), {
    name: 'ann@my-school.edu',
    claim: 'email',
    isWelcome: false,
  })
})

test('CILogon: an institution that is not named lets in nobody, and those that are, only their own', () => {
  const one =
    '"https://one.edu/idp": {username_derivation: {username_claim: eppn, action: strip_idp_domain, domain: one.edu}, allow_all: true}'
  const two =
    '"https://two.edu/idp": {username_derivation: {username_claim: email, action: prefix, prefix: two}, allowed_domains: [two.edu]}'
  const cilogon = provider('cilogon', 'CILogonOAuthenticator', `allow_all: true, allowed_idps: {${one}, ${two}}`)
  assert.equal(read(cilogon.read, { idp: 'https://evil.example/idp', eppn: 'ann@one.edu' }), 'AUTH_NOT_ALLOWED')
  assert.equal(read(cilogon.read, { eppn: 'ann@one.edu' }), 'AUTH_NOT_ALLOWED')
  assert.equal(read(cilogon.read, { idp: 'constructor', eppn: 'ann@one.edu' }), 'AUTH_NOT_ALLOWED')
  assert.equal(
    Reflect.get(Object(read(cilogon.read, { idp: 'https://one.edu/idp', eppn: 'Ann@one.edu' })), 'name'),
    'ann',
  )
  assert.equal(
    Reflect.get(Object(read(cilogon.read, { idp: 'https://one.edu/idp', eppn: 'ann@two.edu' })), 'name'),
    'ann@two.edu',
    'another domain stays',
  )
  assert.equal(
    Reflect.get(Object(read(cilogon.read, { idp: 'https://two.edu/idp', email: 'ann@two.edu' })), 'name'),
    'two-ann@two.edu',
  )
  assert.equal(
    read(cilogon.read, { idp: 'https://two.edu/idp', email: 'ann@one.edu' }),
    'AUTH_EMAIL_UNVERIFIED',
    'it does not speak for that domain',
  )
})

test('each provider is asked at its own address, for the claim that is its own', () => {
  const issuer = 'issuer: "https://login.example.org/realms/x"'
  const rows = [
    provider('oidc', 'GenericOAuthenticator', issuer),
    provider('microsoft', 'AzureAdOAuthenticator', 'tenant_id: my-school.edu'),
    provider('auth0', 'Auth0OAuthenticator', 'auth0_subdomain: my-school.eu'),
    provider('gitlab', 'GitLabOAuthenticator', 'allowed_gitlab_groups: [a]'),
    provider('cognito', 'AWSCognitoAuthenticator', `${issuer}, allowed_groups: [a]`),
  ].map(({ issuer, subjectClaim, claims }) => `${issuer.href} ${subjectClaim} ${claims}`)
  assert.deepEqual(rows, [
    'https://login.example.org/realms/x sub preferred_username',
    'https://login.microsoftonline.com/my-school.edu/v2.0 oid preferred_username',
    'https://my-school.eu.auth0.com/ sub email,email_verified',
    'https://gitlab.com/ sub preferred_username,groups',
    'https://login.example.org/realms/x sub cognito:username,cognito:groups',
  ])
})

test('membership of a group at GitLab is what counts, by its whole path', () => {
  const gitlab = provider('gitlab', 'GitLabOAuthenticator', 'allowed_gitlab_groups: [my-school/course]')
  const welcome = (groups: unknown) =>
    Reflect.get(Object(read(gitlab.read, { preferred_username: 'ann', groups })), 'isWelcome')
  assert.equal(welcome(['my-school', 'my-school/course']), true)
  assert.equal(welcome(['my-school', 'course', 'my-school/course/b']), false)
})

test('an address and its being verified come of one piece', () => {
  const eve = { email: 'eve@evil.example', email_verified: true }
  assert.equal(mergedClaims({ email: 'ann@my-school.edu' }, eve).email_verified, undefined)
  assert.deepEqual(mergedClaims({ email_verified: true }, { email: 'ann@my-school.edu' }), {
    email: 'ann@my-school.edu',
    email_verified: undefined,
  })
  assert.deepEqual(mergedClaims({ email: eve.email }, eve), eve)
})
