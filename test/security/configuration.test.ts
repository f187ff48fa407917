/**
 * A configuration that somebody has made to do harm to whoever reads it: hub, spawner and command line all do. The administrator may write
 * it, but it may come from elsewhere, and a hub that was taken over can propose one.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readConfig } from '../../config/meaning/config.ts'
import { mayEnter } from '../../config/meaning/who-may-enter.ts'
import { parseUserName } from '../../config/users/names.ts'

/** Ten times ten times … a thousand million words, if they were all made. */
const laughs = Array.from({ length: 10 }, (_, level) =>
  level === 0
    ? 'a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]'
    : `a${level}: &a${level} [${Array.from({ length: 10 }, () => `*a${level - 1}`).join(', ')}]`,
).join('\n')

// G1
for (const [what, text] of [
  ['anchors that multiply', `${laughs}\nusers: {allowed: *a9}\n`],
  ['an anchor that holds itself', 'users: &a {allowed: [*a]}\n'],
  ['nesting without end', `users: ${'['.repeat(100_000)}`],
  ['maps without end', `users: ${'{a: '.repeat(20_000)}`],
  ['a tag of a language', 'users: !!js/function "function () { process.exit() }"\n'],
  ['a tag of Python', 'users: !!python/object/apply:os.system ["id"]\n'],
  ['the same key twice', 'users: {admin: [ann]}\nusers: {admin: [eve]}\n'],
  ['a number beyond all numbers', `limits: {memory: ${'9'.repeat(400)}}\n`],
  ['a number that is none', 'limits: {memory: .nan}\n'],
  ['a number below nothing', 'limits: {cpu: -1}\n'],
  ['the prototype of all objects', '__proto__: {isAdmin: true}\n'],
  ['the maker of all objects', 'constructor: {prototype: {isAdmin: true}}\n'],
  ['a key that is a list', '? [a, b]\n: c\n'],
  ['several documents', 'users: {admin: [ann]}\n---\nusers: {admin: [eve]}\n'],
  ['a name that is a path', 'users: {admin: [../../etc/passwd]}\n'],
  ['a name with a new line', 'users: {allowed: ["ann\\nroot"]}\n'],
  ['a variable with a new line', 'environment: {"A\\nB": "c"}\n'],
  ['five megabytes', `users: {allowed: [${'a, '.repeat(1_700_000)}]}\n`],
] as const) {
  test(`${what}: refused in a sentence, and nothing has changed for anybody`, () => {
    const { config, findings } = readConfig(text)
    assert.equal(config, undefined)
    assert.ok(
      findings.some(
        ({ severity, what: sentence }) => severity === 'error' && sentence.length > 0 && sentence.length < 2000,
      ),
    )
    assert.equal('isAdmin' in {}, false)
  })
}

// GHSA-384w, CVE-2020-26250 (an old key was ignored, and everybody let in); G6
test('a list that is misspelled, of an older name or empty lets nobody in', () => {
  const zoe = parseUserName('zoe')
  for (const text of [
    ...[
      'users: {whitelist: [ann]}\n',
      'users: {allowed: }\n',
      'users: {allowed: []}\n',
      'users: \n',
      '',
      'Users: {allowed: [ann]}\n',
    ],
    ...[
      'auth: {type: github}\n',
      'auth: {type: ldap}\n',
      'auth: {type: "*"}\n',
      'auth: {type: []}\n',
      'auth: {type: null}\n',
    ],
    ...[
      'auth: {type: github, GitHubOAuthenticator: {whitelist: [ann]}}\n',
      'auth: {allow_all: true}\n',
      'users: {allowed: ["*"]}\n',
    ],
  ]) {
    const { config } = readConfig(text)
    assert.ok(!config || !mayEnter(config, zoe), text)
  }
})
