import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readConfig } from '../../../config/meaning/config.ts'
import { showFinding } from '../../../config/text/findings.ts'
import { maskSecrets } from '../../../config/text/show.ts'

/** Whatever the file is, it is either a configuration, or there is a sentence about it that a person can act on. */
function assertSentence(source: string | Uint8Array, name = ''): void {
  const { config, findings } = readConfig(source)
  const text = Buffer.from(source).toString('utf8')
  assert.equal(
    config === undefined,
    findings.some(({ severity }) => severity === 'error'),
    name,
  )
  assert.ok(findings.length <= 200, `${name}: ${findings.length} findings`)
  for (const finding of findings.slice(0, 3)) {
    assert.ok(finding.what && finding.why && finding.fix, name)
    assert.doesNotMatch(`${finding.what} ${finding.why} ${finding.fix}`, /\n\s+at |undefined|\[object/, name)
    assert.ok(showFinding(finding, maskSecrets(text), 'file').length < 6_000, name)
  }
}

const size = 256 * 1024 - 10
const lines = (count: number, line: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => line(index))

/** Each of these once made a reader of YAML hang, run out of memory, or crash. */
const hostile: Record<string, string | Uint8Array> = {
  'many keys': lines(30_000, index => `a${index}:`).join('\n'),
  'many users with limits': `limits:\n  users:\n${lines(12_000, index => `    u${index}: {}`).join('\n')}`,
  'many wrong names': `users:\n  allowed:\n${lines(15_000, index => `    - U${index}`).join('\n')}`,
  'one key many times': 'a: 1\n'.repeat(50_000),
  'one name many times': `users:\n  allowed:\n${'    - u\n'.repeat(30_000)}`,
  'aliases of aliases': `a: &a [x,x]\n${lines(30, index => `a${index}: &a${index} [*a${index ? index - 1 : ''}, *a]`).join('\n')}`,
  'a merge key': 'a: &a {b: 1}\n<<: *a\n<<: [*a, *a]\n',
  'an anchor that refers to itself': 'users: &a\n  allowed: *a\n',
  'a deep list': '['.repeat(size),
  'a deep section': '{a: '.repeat(size / 4),
  'deep dashes': '- '.repeat(size / 2),
  'deep question marks': '? '.repeat(size / 2),
  'deep indentation': lines(700, index => `${' '.repeat(index)}a:`).join('\n'),
  tabs: '\t'.repeat(size),
  'a tab as indentation': 'users:\n\tallowed: []\n',
  'nothing but NUL': new Uint8Array(size),
  'a NUL in a name': 'users: {allowed: ["a\\0b"]}',
  quotes: '"'.repeat(size),
  'an open quote': `"${'a\n'.repeat(size / 2)}`,
  brackets: '}'.repeat(size / 4),
  commas: `[${','.repeat(size / 2)}`,
  documents: '---\n'.repeat(size / 4),
  directives: '%YAML 1.2\n'.repeat(size / 10),
  'empty lines': '\n'.repeat(size),
  exclamations: '!'.repeat(size),
  'unknown tags': 'users: !!python/object:os.system {}\n',
  'a binary value': 'users: !!binary aGVsbG8=\n',
  'a date as a name': 'users: {allowed: [2026-11-21, 0x1f, 1_000, .inf, ~, null]}\n',
  'a name that is an object’s own': '__proto__: {a: 1}\nconstructor: 1\nlimits: {users: {__proto__: {memory: 1G}}}\n',
  'keys that are no text': '{[a]: 1, {b: c}: 2, null: 3, 4: 5}\n',
  'ten megabytes': 'a'.repeat(10 * 1024 ** 2),
  'ten megabytes of bytes': new Uint8Array(10 * 1024 ** 2).map((_byte, index) => (index * 7919) % 256),
  'UTF-16': Buffer.from('users:\n  admin: [ann]\n', 'utf16le'),
  'half a character': Buffer.from([0x61, 0x3a, 0x20, 0xe2, 0x82]),
  'a byte order mark': '\uFEFFusers:\n  admin: [ann]\n',
  'a long address': `https: {letsencrypt: {email: "${'a@'.repeat(size / 3)}"}}`,
  'a long path': `base_url: /${'a/'.repeat(size / 3)}!`,
}

for (const [name, source] of Object.entries(hostile)) {
  test(`a file of ${name} is read, or refused with a sentence`, () => assertSentence(source, name))
}

test('any bytes are read, or refused with a sentence', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), bytes => assertSentence(bytes)))
})

test('any characters are', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), text => assertSentence(text)))
})

const token = fc.oneof(
  fc.constantFrom('users', 'admin', 'limits', 'memory', '1G', 'ann', '007', 'true', 'null', '__proto__', '<<'),
  fc.constantFrom(': ', ':', '- ', '-', '? ', ', ', '[', ']', '{', '}', '\n', '\n  ', '\n    ', '\n\t', ' ', '\r\n'),
  fc.constantFrom(
    '&a',
    '*a',
    '!!str ',
    '!',
    '|',
    '>-',
    '"',
    "'",
    '#',
    ' # ',
    '---\n',
    '...\n',
    '%',
    '@',
    '`',
    '\0',
    'é',
  ),
)

test('and so is what is nearly YAML', () => {
  fc.assert(
    fc.property(fc.array(token, { maxLength: 40 }), tokens => assertSentence(tokens.join(''))),
    { numRuns: 1000 },
  )
})

test('values of every kind in every place', () => {
  const key = fc.constantFrom('users', 'admin', 'limits', 'memory', 'http', 'port', 'groups', 'auth', 'type', 'x')
  const json = fc.letrec(tie => ({
    value: fc.oneof({ maxDepth: 4 }, fc.jsonValue(), fc.array(tie('value')), fc.dictionary(key, tie('value'))),
  })).value
  fc.assert(fc.property(fc.dictionary(key, json), value => assertSentence(JSON.stringify(value))))
})
