import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parse, stringify } from 'yaml'
import { readConfig } from '../../../config/meaning/config.ts'
import { addItem, contentOf, type Plain, removeItem, setKey, unsetKey, valueAt } from '../../../config/text/edit.ts'
import { parseItem, parseKey, parseValue } from '../../../config/text/keys.ts'
import { effectiveText, maskSecrets, showDiff } from '../../../config/text/show.ts'
import { ProblemError } from '../../../problem.ts'

const path = (key: string) => key.split('.')

const file = `# the class of autumn
users:
  admin: []   # nobody yet
  # Who may log in.
  allowed:   # these
    - ann   # first

    # then
    - 'bob'
limits:
  # memory: 1G
  # cpu: 2

# the web
http: {port: 80,   address: ''}   # flow
branding:
  message: |
    hello
    world

  title: "x"
`

/** The lines that are there before and not after, and the other way round. */
function changes(before: string, after: string): string[] {
  const ended = (text: string) => (text === '' || text.endsWith('\n') ? text : `${text}\n`)
  return showDiff(ended(before), ended(after), { from: '', to: '', hasColour: false })
    .split('\n')
    .slice(2)
    .filter(line => /^[+-]/.test(line))
}

test('an edit changes the lines that it is about, and no other', () => {
  const cases: [string, string[]][] = [
    [setKey(file, path('limits.memory'), '1G'), ['+  memory: 1G']],
    [setKey(file, path('limits.users.ann.cpu'), 2), ['+  users:', '+    ann:', '+      cpu: 2']],
    [
      setKey(file, path('http.port'), 8080),
      ["-http: {port: 80,   address: ''}   # flow", "+http: {port: 8080,   address: ''}   # flow"],
    ],
    [
      setKey(file, path('branding.message'), 'a\nb'),
      ['-  message: |', '-    hello', '-    world', '+  message: "a\\nb"'],
    ],
    [setKey(file, path('branding.title'), 'a: b # c'), ['-  title: "x"', '+  title: "a: b # c"']],
    [setKey(file, path('base_url'), '/class/'), ['+base_url: /class/']],
    [unsetKey(file, path('branding.message')), ['-  message: |', '-    hello', '-    world']],
    [
      unsetKey(file, path('http.address')),
      ["-http: {port: 80,   address: ''}   # flow", '+http: {port: 80  }   # flow'],
    ],
    [addItem(file, path('users.admin'), '007'), ['-  admin: []   # nobody yet', '+  admin: ["007"]   # nobody yet']],
    [addItem(file, path('users.allowed'), 'eve'), ['+    - eve']],
    [addItem(file, path('users.banned'), 'eve'), ['+  banned:', '+    - eve']],
    [removeItem(file, path('users.allowed'), 'ann'), ['-    - ann   # first']],
    [addItem(file, path('users.allowed'), 'ann'), []],
    [setKey(file, path('http.port'), 80), []],
  ]
  for (const [after, wanted] of cases) assert.deepEqual(changes(file, after), wanted)
})

test('C1: set makes what is missing, and replaces what is in the way', () => {
  assert.equal(setKey('', path('a'), 1), 'a: 1\n')
  assert.equal(setKey('', path('a.b.c'), 1), 'a:\n  b:\n    c: 1\n')
  assert.deepEqual(parse(setKey('a: 1\n', path('a'), 2)), { a: 2 })
  assert.deepEqual(parse(setKey('a: 1\n', path('a.b'), 2)), { a: { b: 2 } })
  assert.deepEqual(parse(setKey('a:\n  b: 1\n', path('a'), 2)), { a: 2 })
  assert.deepEqual(parse(setKey('a: [1]\n', path('a.b'), 2)), { a: { b: 2 } })
})

test('C2, C8: unset removes a key and the sections that are empty then, and keeps its siblings', () => {
  assert.equal(unsetKey('a: 1\n', path('a')), '{}\n', 'not a file that looks lost')
  assert.equal(unsetKey('a:\n  b:\n    c: 1\n', path('a.b.c')), '{}\n')
  assert.equal(unsetKey('a:\n  b: 1\n  c: 2\n', path('a.b')), 'a:\n  c: 2\n')
  assert.equal(unsetKey('# x\na:\n  # y\n  b: 1\n', path('a.b')), '# x\n  # y\n', 'comments stay')
  for (const key of ['z', 'a.z', 'a.b.z']) {
    assert.throws(() => unsetKey('a:\n  b: 1\n', path(key)), { code: 'CONFIG_NOT_SET' })
  }
})

test('C3: add-item makes the list, and adds to the end of it, in the way the list is written', () => {
  assert.equal(addItem('', path('a'), 'x'), 'a:\n  - x\n')
  assert.equal(addItem('', path('a.b'), 'x'), 'a:\n  b:\n    - x\n')
  assert.equal(addItem('a:\n- x\n', path('a'), 'y'), 'a:\n- x\n- y\n')
  assert.equal(addItem('a: [x]\n', path('a'), 'y'), 'a: [x, y]\n')
  assert.equal(addItem('a:   # none\n', path('a'), 'y'), 'a:   # none\n  - y\n')
  assert.throws(() => addItem('a: x\n', path('a'), 'y'), { code: 'CONFIG_NOT_A_LIST' })
})

test('C4, C8: remove-item removes, and says what is not there', () => {
  assert.equal(removeItem('a: [x, y, z]\n', path('a'), 'y'), 'a: [x, z]\n')
  assert.equal(removeItem('a: [x, y]\n', path('a'), 'x'), 'a: [y]\n')
  assert.equal(removeItem('a: [1, 2]\n', path('a'), 2), 'a: [1]\n')
  assert.equal(removeItem('a:\n  - x\n', path('a'), 'x'), 'a: []\n')
  assert.equal(removeItem('a: [x, y, x]\n', path('a'), 'x'), 'a: [y]\n', 'as often as it is there')
  assert.throws(() => removeItem('a: [x]\n', path('a'), 'y'), { code: 'CONFIG_NOT_SET' })
  assert.throws(() => removeItem('', path('a'), 'y'), { code: 'CONFIG_NOT_SET' })
  assert.throws(() => removeItem('a: x\n', path('a'), 'x'), { code: 'CONFIG_NOT_A_LIST' })
})

test('C7: values as TLJH reads them, where the schema has them', () => {
  const read = (key: string, text: string) => parseValue(text, parseKey(key))
  assert.equal(read('https.enabled', 'true'), true)
  assert.equal(read('https.enabled', 'FALSE'), false)
  assert.equal(read('http.port', '123'), 123)
  assert.equal(read('limits.cpu', '1.25'), 1.25)
  assert.equal(read('limits.cpu', '50%'), '50%')
  assert.equal(read('limits.memory', 'None'), null)
  assert.equal(read('limits.memory', 'none'), null)
  assert.equal(read('limits.memory', '1x'), '1x')
  assert.equal(read('limits.memory', '536870912'), 536_870_912)
  assert.equal(read('limits.memory', ''), '')
  assert.equal(read('branding.title', '007'), '007')
  assert.equal(read('server.environment.DEBUG', 'TRUE'), 'TRUE')
  assert.equal(parseItem('007', ['users', 'allowed']), '007')
  assert.equal(parseItem('none', ['users', 'allowed']), 'none')
  assert.deepEqual(read('users.allowed', '[ann, 007, 1e3]'), ['ann', '007', '1e3'])
  assert.deepEqual(read('limits.users.ann', '{memory: 1G, cpu: 2}'), { memory: '1G', cpu: 2 })
  assert.throws(() => read('users.allowed', '[ann'), { code: 'CONFIG_VALUE' })
})

test('a key is taken apart by the schema, so names may have dots', () => {
  assert.deepEqual(parseKey('limits.memory'), ['limits', 'memory'])
  assert.deepEqual(parseKey('limits.users.ann.smith.memory'), ['limits', 'users', 'ann.smith', 'memory'])
  assert.deepEqual(parseKey('limits.users.ann.smith'), ['limits', 'users', 'ann.smith'])
  assert.deepEqual(parseKey('limits.users."ann.memory".cpu'), ['limits', 'users', 'ann.memory', 'cpu'])
  for (const [key, words] of [
    ['limits.memroy', /no key limits\.memroy.*Did you mean limits\.memory\?/],
    ['lmits.memory', /no key lmits.*Did you mean limits\?/],
    ['limits.memory.max', /limits\.memory has no keys below it/],
    ['users.allowed.0', /users\.allowed is a list.*add-item/],
    ['', /no key/],
    ['__proto__.x', /no key/],
  ] as const) {
    assert.throws(
      () => parseKey(key),
      (error: unknown) => error instanceof ProblemError && words.test(error.message),
      key,
    )
  }
})

test('C9, C10: an empty file gets sections in block style; line ends, and a missing last one, stay as they are', () => {
  for (const empty of ['', '{}', '{}\n', '# nothing\n', '\n']) {
    assert.match(setKey(empty, path('limits.memory'), '1G'), /^limits:\n {2}memory: 1G\n?$/m)
  }
  assert.equal(
    addItem('users:\r\n  admin:\r\n  - x\r\n', path('users.admin'), 'y'),
    'users:\r\n  admin:\r\n  - x\r\n  - y\r\n',
  )
  assert.equal(setKey('a: 1', path('b'), 2), 'a: 1\nb: 2')
})

test('layouts that nobody would choose are changed all the same, or refused with a sentence', () => {
  for (const text of [
    '? users\n: {admin: [x]}\n',
    'users: &a\n  admin: [x]\n',
    'users: !!map\n  admin: [x]\n',
    '{"users": {"admin": ["x"]}}',
    '{users: {admin: [x, # y\n z,\n]}}',
    '---\nusers:\n  admin: [x]\n...\n',
    'users:\n    admin:\n    - x',
  ]) {
    assert.ok(
      (valueAt(contentOf(addItem(text, path('users.admin'), 'n')), path('users.admin')) as string[]).includes('n'),
    )
    assert.equal(valueAt(contentOf(setKey(text, path('limits.cpu'), 1)), path('limits.cpu')), 1, text)
    assert.equal(valueAt(contentOf(unsetKey(text, path('users.admin'))), path('users')), undefined, text)
  }
  assert.throws(() => setKey('a: [1\n', path('a'), 1), { code: 'CONFIG_NOT_YAML' })
  assert.throws(() => setKey('- a\n', path('a'), 1), { code: 'CONFIG_NOT_YAML' })
})

test('secrets are masked, and nothing else is changed by that', () => {
  const text = '# a\ntraefik_api:   # b\n  password: "hunter2"  # c\n  port: 8099\n'
  assert.equal(maskSecrets(text), text.replace('"hunter2"', '(secret)'))
  assert.equal(maskSecrets(file), file)
  assert.doesNotMatch(
    showDiff(text, text.replace('hunter2', 'hunter3'), { from: '', to: '', hasColour: false }),
    /hunter/,
  )
  assert.doesNotMatch(maskSecrets('traefik_api:\n  password: |\n    hunter2\n  port: 1\n'), /hunter/)
})

test('what is shown with its defaults is a configuration that means the same', () => {
  const text = 'limits:\n  memory: 1G\n  users: {ann: {cpu: 2}}\nusers: {allowed: [ann, 007]}\n'
  const shown = effectiveText(contentOf(text))
  assert.match(shown, /port: 80 # by default/)
  const { config, findings } = readConfig(shown)
  assert.deepEqual(findings, [])
  assert.deepEqual({ ...config, version: '' }, { ...readConfig(text).config, version: '' })
})

// ---- Properties

const name = fc.stringMatching(/^[a-z0-9]([a-z0-9._@-]{0,10}[a-z0-9])?$/).filter(text => !text.includes('..'))
const plainName = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/)
const amount = fc.constantFrom('1G', '512M', 536_870_912, '1.5G', null)
const share = fc.constantFrom(1, 0.5, '50%', null)
const limits = fc.record({ memory: amount, cpu: share, tasks: fc.constantFrom(64, 1000) }, { requiredKeys: [] })
const sentence = fc.string({ maxLength: 40 })

/** Contents that are valid, and as odd as a person's can be. */
const content = fc.record(
  {
    base_url: fc.constantFrom('/', '/class/'),
    users: fc.record(
      {
        allowed: fc.oneof(fc.uniqueArray(name), fc.constant(null)),
        admin: fc.uniqueArray(name),
        banned: fc.uniqueArray(name),
      },
      { requiredKeys: [] },
    ),
    limits: fc
      .tuple(limits, fc.dictionary(plainName, limits, { maxKeys: 3 }))
      .map(([own, users]) => ({ ...own, users })),
    http: fc.record({ port: fc.integer({ min: 1, max: 65_535 }) }, { requiredKeys: [] }),
    branding: fc.record({ title: sentence, message: sentence }, { requiredKeys: [] }),
    server: fc.record({ environment: fc.dictionary(fc.stringMatching(/^X[A-Z]{1,5}$/), sentence, { maxKeys: 3 }) }),
  },
  { requiredKeys: [] },
)

/** A text for a content, in one of the ways in which people lay out YAML, with comments between its lines. */
const text = fc
  .record({
    value: content,
    indent: fc.constantFrom(2, 3, 4),
    indentSeq: fc.boolean(),
    isFlow: fc.boolean(),
    isQuoted: fc.boolean(),
    comments: fc.array(fc.nat(), { maxLength: 6 }),
    isUnended: fc.boolean(),
  })
  .map(({ value, indent, indentSeq, isFlow, isQuoted, comments, isUnended }) => {
    const lines = stringify(value, {
      lineWidth: 0,
      indent,
      indentSeq,
      blockQuote: false,
      doubleQuotedMinMultiLineLength: 1_000,
      ...(isFlow ? { collectionStyle: 'flow' as const } : {}),
      ...(isQuoted ? { defaultStringType: 'QUOTE_SINGLE' as const } : {}),
    })
      .trimEnd()
      .split('\n')
    for (const [index, comment] of comments.entries()) {
      const at = comment % lines.length
      const depth = /^ */.exec(lines[at] ?? '')?.[0] ?? ''
      const line = lines[at] ?? ''
      // Within quotes that go over several lines, and in a flow collection after a line's end, there is no place for one.
      if (!isFlow && (comment & 1) === 0) lines[at] = `${line} # comment ${index}`
      else if (!isFlow) lines.splice(at, 0, `${depth}# comment ${index}`)
    }
    return isUnended ? lines.join('\n') : `${lines.join('\n')}\n`
  })
  .filter(made => readConfig(made).config !== undefined)

const edits = fc.oneof(
  fc.record({
    verb: fc.constant('set' as const),
    key: fc.constantFrom('limits.memory', 'limits.users.zoe.memory'),
    value: amount,
  }),
  fc.record({
    verb: fc.constant('set' as const),
    key: fc.constantFrom('branding.title', 'branding.message'),
    value: sentence,
  }),
  fc.record({ verb: fc.constant('set' as const), key: fc.constant('users.allowed'), value: fc.uniqueArray(name) }),
  fc.record({ verb: fc.constant('add' as const), key: fc.constantFrom('users.allowed', 'users.admin'), value: name }),
  fc.record({ verb: fc.constantFrom('unset' as const, 'remove' as const), key: fc.nat(), value: fc.constant(null) }),
)

/** All keys of a content that have a value. */
function keysOf(value: Plain, above: string[] = []): string[][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [above]
  return Object.entries(value).flatMap(([step, below]) => [[...above, step], ...keysOf(below, [...above, step])])
}

test('any edit of any valid file: the value is there, every other key is as it was, and no comment of theirs is lost', () => {
  fc.assert(
    fc.property(text, edits, (before, edit) => {
      const old = contentOf(before)
      const keys = keysOf(old).filter(key => key.length > 0)
      let after = before
      let changed: string[] = []
      if (edit.verb === 'set') {
        changed = path(edit.key)
        after = setKey(before, changed, edit.value)
        assert.deepEqual(valueAt(contentOf(after), changed), edit.value)
      } else if (edit.verb === 'add') {
        changed = path(edit.key)
        after = addItem(before, changed, edit.value)
        const list = valueAt(old, changed) ?? []
        const wanted = (list as string[]).includes(edit.value) ? list : [...(list as string[]), edit.value]
        assert.deepEqual(valueAt(contentOf(after), changed), wanted)
      } else if (edit.verb === 'unset' && keys.length) {
        changed = keys[edit.key % keys.length] ?? []
        after = unsetKey(before, changed)
        assert.equal(valueAt(contentOf(after), changed), undefined)
      } else {
        const lists = keys.filter(key => Array.isArray(valueAt(old, key)) && (valueAt(old, key) as Plain[]).length)
        if (edit.verb !== 'remove' || !lists.length) return
        changed = lists[edit.key % lists.length] ?? []
        const list = valueAt(old, changed) as string[]
        const item = list[edit.key % list.length] ?? ''
        after = removeItem(before, changed, item)
        assert.deepEqual(
          valueAt(contentOf(after), changed),
          list.filter(one => one !== item),
        )
      }
      const isAround = (key: string[]) =>
        key.every((step, index) => changed[index] === undefined || changed[index] === step)
      for (const key of keys) {
        if (!isAround(key)) assert.deepEqual(valueAt(contentOf(after), key), valueAt(old, key), key.join('.'))
      }
      // What is the same before and after is the same byte for byte: a line that went held the key or was in it.
      const gone = changes(before, after).filter(line => line.startsWith('-'))
      const came = changes(before, after).filter(line => line.startsWith('+'))
      if (edit.verb === 'add' && !before.startsWith('{')) {
        assert.ok(gone.length <= 1 && came.length <= 3, 'one line becomes another, or some are added')
        for (const [comment] of before.matchAll(/# comment \d+/g)) assert.ok(after.includes(comment), comment)
      }
    }),
    { numRuns: 1000 },
  )
})

test('show, then apply, is the identity: what is shown is the file itself', () => {
  fc.assert(
    fc.property(text, before => {
      assert.equal(maskSecrets(before), before)
      assert.equal(
        setKey(before, ['users'], valueAt(contentOf(before), ['users']) ?? 'x') === before,
        'users' in (contentOf(before) as object),
      )
    }),
  )
})

test('with its defaults, any valid file means the same', () => {
  fc.assert(
    fc.property(text, before => {
      const { config } = readConfig(effectiveText(contentOf(before)))
      assert.deepEqual({ ...config, version: '' }, { ...readConfig(before).config, version: '' })
    }),
  )
})
