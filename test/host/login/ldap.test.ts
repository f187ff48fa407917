/** An LDAP server as a way in, against Debian's slapd. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { defaultLayers } from '../../harness/host/host.ts'
import { said } from '../../harness/host/journal.ts'
import { caFile, ldapPassword, otherCaFile, searcher, slapdLayer, startSlapd } from '../../harness/peers/slapd.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { bootProduct, type Product } from '../../harness/product/product.ts'

const configFile = '/opt/tljh/config/config.yaml'
const template = 'bind_dn_template: "uid={username},ou=people,dc=example,dc=org"'
const lookup = `lookup_dn: true
    lookup_dn_search_user: ${searcher.dn}
    lookup_dn_search_password: ${searcher.password}
    user_search_base: dc=example,dc=org
    user_attribute: uid`
const trusted = `tls_kwargs: {ca_certs_file: ${caFile}}`
const everybody = 'allow_all: true'

let product: Product

before(async () => {
  product = await bootProduct({ layers: [...defaultLayers(), slapdLayer()] })
  await startSlapd(product.host)
})
after(() => product[Symbol.asyncDispose]())

/** Brings these options into force, for a hub that has not counted any failure yet. */
async function use(...options: string[]): Promise<void> {
  await useServer('localhost', ...options)
}

async function useServer(address: string, ...options: string[]): Promise<void> {
  const { host } = product
  const lines = [`server_address: ${address}`, ...options].map(line => `    ${line}\n`).join('')
  const users = 'users:\n  admin: [admin]\n  allowed: [ann, twin]\n  banned: [dan]\n'
  await host.writeFile(configFile, `${users}auth:\n  type: ldap\n  LDAPAuthenticator:\n${lines}`, {
    mode: 0o640,
    group: 'tljh-hub',
  })
  await host.run(['tljh-ts', 'config', 'validate'])
  await host.run(['systemctl', 'restart', 'tljh-hub'])
}

/** The status of a login, and who has logged in. */
async function logIn(name: string, password = ldapPassword): Promise<string> {
  const visitor: Visitor = visit(product.url)
  const { status, body } = await visitor.logIn(name, password)
  if (status !== 302)
    return `${status} ${/<strong>(.*?)<\/strong>/.exec(body)?.[1] ?? ''} ${body.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')}`
  const home = await visitor.request('/hub/home')
  assert.equal(home.status, 200)
  return /Logged in as <\/span>([^<\s]+)/.exec(home.body)?.[1] ?? ''
}

async function refused(name: string, password = ldapPassword): Promise<void> {
  assert.match(await logIn(name, password), /^403 .*user name or the password is not right/, `${name} with ${password}`)
}

test('by StartTLS with a CA of the class’s own, people log in by their bind templates', async () => {
  await use(template, trusted, everybody)
  assert.equal(await logIn('ann'), 'ann')
  assert.equal(await logIn(' Bob '), 'bob')
  await refused('ann', 'wrong')
  await refused('nobody')
  await refused('dan')
  await refused('gus')
  await use(
    'bind_dn_template: ["uid={username},ou=people,dc=example,dc=org", "uid={username},ou=guests,dc=example,dc=org"]',
    trusted,
    everybody,
  )
  assert.equal(await logIn('gus'), 'gus')
  assert.equal(await logIn('ann'), 'ann')
})

test('an empty password is never right, though LDAP takes it for a bind as nobody', async () => {
  await use(template, trusted, everybody)
  for (const password of ['', ' ', '\t']) await refused('ann', password)
})

test('what is typed stands for itself in names and filters', async () => {
  const anyName = 'valid_username_regex: "."'
  const attempts = [
    '*',
    'a*',
    'ann)(uid=*',
    'ann)(|(uid=*',
    'ann,ou=people',
    'ann,ou=people,dc=example,dc=org#',
    'ann\\',
    'ann+cn=ann',
    'ann\0',
    '{username}',
    'PLAIN',
  ]
  await use(template, trusted, everybody, anyName)
  for (const name of attempts) await refused(name)
  await use(lookup, trusted, everybody, anyName)
  for (const name of attempts) await refused(name)
  assert.equal(await logIn('ann'), 'ann')
})

test('somebody is looked up by a search account, whatever the entry is called', async () => {
  await use(lookup, trusted, everybody)
  assert.equal(await logIn('ann'), 'ann')
  assert.equal(await logIn('aenne'), 'aenne', 'whose entry has a comma, umlauts, a star and brackets in its name')
  await refused('aenne', 'wrong')
  await refused('nobody')
  await refused('twin')
  await said(product.host, 'tljh-hub', /more than one entry for "twin"/)
  await use(
    lookup,
    trusted,
    everybody,
    'lookup_dn_user_dn_attribute: sn',
    'use_lookup_dn_username: true',
    'lookup_dn_search_filter: "(|({login_attr}={login})(employeeType={login}))"',
  )
  assert.equal(await logIn('guest'), 'eve', 'the name is that of the entry')
  await use(lookup.replace(searcher.password, 'wrong'), trusted, everybody)
  assert.match(await logIn('ann'), /^503 .*search account.*lookup_dn_search_password/)
})

test('with a search filter, only who matches it may enter', async () => {
  await use(lookup, trusted, everybody, 'search_filter: "(&({userattr}={username})(employeeType=student))"')
  assert.equal(await logIn('ann'), 'ann')
  await refused('eve')
})

test('groups of all three kinds let their members in, beside those whom the file names', async () => {
  const groups = ['members', 'unique', 'posix', 'missing'].map(cn => `"cn=${cn},ou=groups,dc=example,dc=org"`)
  await use(lookup, trusted, `allowed_groups: [${groups}]`)
  for (const name of ['ann', 'aenne', 'bob', 'cat']) assert.equal(await logIn(name), name)
  await refused('eve')
  await use(lookup, trusted, 'allowed_groups: ["cn=unique,ou=groups,dc=example,dc=org"]')
  assert.equal(await logIn('ann'), 'ann', 'named in the file')
  assert.equal(await logIn('bob'), 'bob')
  await refused('cat')
  await refused('aenne')
  await use(lookup, trusted)
  assert.equal(await logIn('ann'), 'ann')
  await refused('bob')
})

test('by LDAPS, and by no encryption where the file says so', async () => {
  await use(template, trusted, 'tls_strategy: on_connect')
  assert.equal(await logIn('ann'), 'ann')
  await refused('ann', 'wrong')
  await use(template, 'tls_strategy: insecure')
  assert.equal(await logIn('ann'), 'ann')
})

test('a server whose certificate is not trusted gets no password, and it is said how to trust it', async () => {
  const wrong = `tls_kwargs: {ca_certs_file: ${otherCaFile}}`
  for (const strategy of ['before_bind', 'on_connect']) {
    await use(template, `tls_strategy: ${strategy}`)
    assert.match(await logIn('ann'), /^503 .*certificate is not trusted.*ca_certs_file/, strategy)
    await use(template, `tls_strategy: ${strategy}`, wrong)
    assert.match(await logIn('ann'), /^503 .*certificate is not trusted.*ca_certs_file/, strategy)
    await useServer('127.0.0.1', template, `tls_strategy: ${strategy}`, trusted)
    assert.match(await logIn('ann'), /^503 .*certificate is for another name.*server_address/, strategy)
  }
  await use(template, 'tls_kwargs: {ca_certs_file: /etc/ldap/test/missing.pem}')
  assert.match(await logIn('ann'), /^503 .*cannot read \/etc\/ldap\/test\/missing\.pem/)
})

test('a server that is down, or says nothing, is named with what to check', async () => {
  await use(template, trusted, 'server_port: 3890')
  assert.match(await logIn('ann'), /^503 .*localhost, port 3890.*ECONNREFUSED.*server_port/)
  const code =
    'import socket; s = socket.create_server(("127.0.0.1", 3890)); print("up", flush=True); c = [s.accept() for _ in range(99)]'
  await using silent = await product.host.start(['python3', '-c', code])
  for await (const _ of silent.stdout) break
  for (const strategy of ['before_bind', 'on_connect', 'insecure']) {
    await use(template, trusted, 'server_port: 3890', `tls_strategy: ${strategy}`)
    assert.match(await logIn('ann'), /^503 .*did not answer within 10 seconds/, strategy)
  }
})
