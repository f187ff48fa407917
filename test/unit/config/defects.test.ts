/**
 * The defects of TLJH's configuration that were found by reading and running it, by their numbers in the list that this
 * project was given: each is right here. Those that need a hub are in test/host/config-*.test.ts.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import { parseConfig, readConfig } from '../../../config/meaning/config.ts'
import { limitsOf } from '../../../config/meaning/limits.ts'
import { ownWords, schema } from '../../../config/schema/schema.ts'
import { addItem, setKey } from '../../../config/text/edit.ts'
import { parseItem, parseKey, parseValue } from '../../../config/text/keys.ts'
import { parseUserName } from '../../../config/users/names.ts'

const ann = parseUserName('ann')

/** The errors that a text has, as `key: why`. */
const errors = (text: string) =>
  readConfig(text)
    .findings.filter(({ severity }) => severity === 'error')
    .map(({ key, why }) => `${key}: ${why}`)

const set = (text: string, key: string, value: string) => setKey(text, parseKey(key), parseValue(value, parseKey(key)))
const add = (text: string, key: string, item: string) => addItem(text, parseKey(key), parseItem(item, parseKey(key)))

test('1: a key that is not there is an error at every level', () => {
  for (const text of [
    'lmits: {memory: 1G}',
    'limits: {memroy: 1G}',
    'services: {cull: {tiemout: 1}}',
    'https: {tls: {crt: /x}}',
  ]) {
    assert.match(errors(text).join(), /there is no such key/, text)
  }
})

test('2: values are checked where they are written, not when the hub starts', () => {
  for (const text of [
    'limits: {memory: banana}',
    'auth: [github]',
    'auth: {tpye: github}',
    'services: {cul: {enabled: true}}',
    'services: {cull: {timeout: -1}}',
    'http: {port: 99999}',
    'http: {address: not-an-ip}',
    'https: {letsencrypt: {email: teacher at school}}',
    'https: {letsencrypt: {domains: ["https://hub.example.org/"]}}',
    'https: {enabled: true}',
    'base_url: class',
    'users: {extra_user_groups: {robots: ann}}',
  ]) {
    assert.equal(errors(text).length, 1, text)
  }
})

test('3: a memory limit may be a number of bytes, as the documentation says', () => {
  const text = set('', 'limits.memory', '1073741824')
  assert.equal(limitsOf(parseConfig(text), ann).memory, 1024 ** 3)
})

test('4: members of a group that are added one by one are a list', () => {
  const text = add(add('', 'users.extra_user_groups.robots', 'ann'), 'users.extra_user_groups.robots', 'bob')
  assert.deepEqual([...(parseConfig(text).unixGroups.get('robots') ?? [])], ['ann', 'bob'])
})

test('5: an empty file is a configuration, and can be added to', () => {
  assert.equal(parseConfig('').baseUrl, '/')
  assert.equal(set('', 'limits.memory', '1G'), 'limits:\n  memory: 1G\n')
})

test('6: what is not YAML is a sentence with a line, not a trace', () => {
  const [finding] = readConfig('users:\n  allowed: [ann\n').findings
  assert.equal(finding?.severity, 'error')
  assert.ok((finding?.line ?? 0) >= 2)
  assert.doesNotMatch(`${finding?.what} ${finding?.why} ${finding?.fix}`, /\n|at .*\(/)
})

test('7: an item that is there is not added again', () => {
  const text = 'users:\n  allowed: [ann]\n'
  assert.equal(add(text, 'users.allowed', 'ann'), text)
})

test('13: keys that can have no effect say so, and what there is instead', () => {
  const { config, findings } = readConfig('traefik_api: {ip: 127.0.0.1, port: 8099, username: x, password: y}')
  assert.ok(config, 'a configuration of TLJH stays valid')
  assert.deepEqual(
    findings.map(({ severity, key }) => `${severity} ${key}`),
    ['note traefik_api'],
  )
})

test('14: a name with a colon, and one of digits, is itself', () => {
  assert.deepEqual([...parseConfig(add('', 'users.admin', '007')).users.admin], ['007'])
  assert.match(errors('users: {admin: ["ann:secret"]}').join(), /cannot be a user name/)
})

test('a way in that lacks what it needs is refused, and so is one that is not there', () => {
  assert.match(errors('auth: {type: github}').join(), /client_id: the provider does not know this hub/)
  assert.match(errors('auth: {type: dummy}').join(), /DummyAuthenticator.password: without it, everybody could enter/)
  assert.match(errors('auth: {type: gihub}').join(), /there is no such way in/)
  assert.match(errors('auth: {type: []}').join(), /auth\.type/)
  assert.match(errors('auth: {GitHubOAuthenticator: {whitelist: [ann]}}').join(), /there is no such key/)
})

test('24: the defaults that the reference names are those that count', () => {
  const { cull } = schema.properties.services.properties
  assert.equal(cull.properties.timeout.default, 600)
  assert.equal(cull.properties.every.default, 60)
})

test('C11: the schema is a schema', () => {
  const ajv = new Ajv({ strict: false })
  for (const word of ownWords) ajv.addKeyword(word)
  assert.equal(ajv.validateSchema(schema), true)
})

test('D1 to D5: what the keys of TLJH mean', () => {
  const config = parseConfig(`
base_url: /custom-base/
limits: {memory: 42G, cpu: 2}
user_environment: {default_app: classic}
auth: {type: firstuseauthenticator.FirstUseAuthenticator, FirstUseAuthenticator: {create_users: true}}
users: {extra_user_groups: {g: [ann]}}
services: {cull: {enabled: true, timeout: 3600, every: 60, concurrency: 5, users: false, max_age: 0}}
https: {enabled: false, letsencrypt: {email: a@example.org, domains: [hub.example.org]}}
`)
  assert.equal(config.baseUrl, '/custom-base/')
  assert.equal(config.limits.memory, 42 * 1024 ** 3)
  assert.equal(config.limits.cpu, 2)
  assert.equal(config.defaultUrl, '/tree')
  assert.equal(config.auth.isOpen, true)
  assert.deepEqual([...(config.unixGroups.get('g') ?? [])], ['ann'])
  assert.equal(parseConfig('').limits.memory, null)
  assert.equal(parseConfig('').defaultUrl, '/lab')
  assert.equal(parseConfig('').auth.isOpen, false)
})
