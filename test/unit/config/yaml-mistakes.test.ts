/** The usual mistakes in YAML are said in words of ours, at the line where they are. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readConfig } from '../../../config/meaning/config.ts'

const mistakes: [name: string, text: string, line: number, what: RegExp, fix: RegExp][] = [
  [
    'a colon without quotes',
    'branding:\n  message: Room 4: bring a laptop\n',
    2,
    /value of message has a colon/,
    /quotes/,
  ],
  ['a colon at the end', 'branding:\n  message: Room 4:\n', 2, /value of message has a colon/, /quotes/],
  ['an open bracket', 'users:\n  allowed: [ann, bob\n  admin: [teacher]\nlimits: {}\n', 2, /The \[ here/, /Write \]/],
  ['an open brace', 'limits: { memory: 1G\nusers:\n  allowed: [ann]\n', 1, /The \{ here/, /Write \}/],
  ['an open bracket at the end', 'users:\n  allowed: [ann,\n    bob\n', 2, /The \[ here/, /Write \]/],
  [
    'an open quote',
    'branding:\n  title: "My hub\n  message: hi\nusers:\n  allowed: [ann]\n',
    2,
    /quote opens/,
    /Write "/,
  ],
  ['an open single quote', "branding:\n  title: 'My hub\nusers: {}\n", 2, /quote opens/, /Write '/],
  ['a tab', 'limits:\n\tmemory: 1G\n', 2, /begins with a tab/, /two spaces/],
  ['a tab in the middle of a list', 'users:\n  allowed:\n  - ann\n\t- bob\n', 4, /begins with a tab/, /two spaces/],
  ['a list where a section is meant', 'limits:\n  - memory: 1G\n', 1, /^limits is the list /, /Remove the dashes/],
  [
    'a section where a list is meant',
    'users:\n  allowed:\n    ann:\n    bob:\n',
    2,
    /^users.allowed is the section /,
    /dash/,
  ],
  [
    'entries that are not below each other',
    'users:\n  allowed:\n  - ann\n - bob\n',
    4,
    /not below each other/,
    /Indent/,
  ],
  ['a dash without a space', 'users:\n  allowed:\n  -ann\n  -bob\n', 3, /no space after its dash/, /- ann/],
  [
    'a colon without a space',
    'limits:\n  memory:1G\n',
    1,
    /^limits is "memory:1G"$/,
    /space after the colon of memory/,
  ],
  ['a sign with a meaning', 'users:\n  allowed: [@ann]\n', 2, /begins with @/, /quotes/],
  ['two documents', 'users: {}\n---\nlimits: {}\n', 2, /second document/, /Remove the line ---/],
]

for (const [name, text, line, what, fix] of mistakes) {
  test(`${name} is said at its own line, with what to do`, () => {
    const [found] = readConfig(text).findings
    assert.ok(found)
    assert.match(found.what, what)
    assert.match(found.fix, fix)
    assert.equal(found.line, line)
  })
}

test('what quotes and comments hold opens nothing', () => {
  const text = "branding: { title: \"a [ b\", message: 'it''s { ' } # [ \"\nusers:\n  allowed: [ann\n  admin: [x]\n"
  const [found] = readConfig(text).findings
  assert.equal(`${found?.line} ${found?.what}`, '3 The [ here is never closed')
})

test('nothing of the parser’s own is ever said, whatever the text is', () => {
  const piece = fc.constantFrom(
    'a',
    'users:',
    ' ',
    '\n',
    '- ',
    '-',
    ': ',
    '[',
    ']',
    '{',
    '}',
    '"',
    "'",
    '\t',
    '#',
    '&x',
    '*x',
    '!!t',
    '|',
    '>',
    '%',
    '@',
    '?',
    ',',
    '\\',
  )
  const theirs =
    /flow|mapping|scalar|implicit|collection|anchor|directive|plain|sequence|token|indentation|compact|YAML\./i
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), pieces => {
      for (const { what, why, fix, line } of readConfig(pieces.join('')).findings) {
        assert.doesNotMatch(`${what} ${why} ${fix}`.replace(/Write its keys below it, indented/, ''), theirs)
        assert.ok(line >= 1)
      }
    }),
    { numRuns: 2_000 },
  )
})
