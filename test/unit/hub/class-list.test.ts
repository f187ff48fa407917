import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isUserName, type UserName, unixName } from '../../../config/users/names.ts'
import { readRoster } from '../../../hub/class-list/read.ts'
import { sheetPage, sheetText } from '../../../hub/class-list/sheet.ts'
import { userNameFrom } from '../../../hub/class-list/transliterate.ts'
import { enrol, type Known } from '../../../hub/class-list/user-names.ts'
import { ProblemError } from '../../../problem.ts'

const nobody: Known = { isThere: () => false, isBanned: () => false }

/** Each row as `line user kind`. */
function enrolled(list: string | Uint8Array, known = nobody, delimiter?: string): string[] {
  const { people } = readRoster(typeof list === 'string' ? Buffer.from(list) : list, delimiter)
  return enrol(people, known).map(({ person, user, kind }) => `${person.line} ${user} ${kind}`)
}

function problem(list: string): ProblemError {
  try {
    enrolled(list)
  } catch (error) {
    if (error instanceof ProblemError) return error
    throw error
  }
  throw new Error('it was taken')
}

for (const [what, list, wanted] of [
  [
    'a list as Moodle writes it in German',
    'Vorname;Nachname;E-Mail-Adresse\r\nJürgen;Groß;j.gross@uni.example\r\n',
    ['2 j.gross new'],
  ],
  [
    'a list as Moodle writes it in English',
    'First name,Last name,ID number,Email address\nAnn,Lee,12345,ann.lee@x.example\n',
    ['2 ann.lee new'],
  ],
  ['user names, one a line', 'ann\nbob\n', ['1 ann new', '2 bob new']],
  ['names, one a line', 'Ann Lee\nBob Ray\n', ['1 ann.lee new', '2 bob.ray new']],
  ['names turned round in one column', 'Name\nMüller, Änne\n', ['2 aenne.mueller new']],
  ['names turned round in quotes', '"Müller, Änne",1234567\n', ['1 aenne.mueller new']],
  ['first and last names without headings', 'Ann,Lee\nBob,Ray\n', ['1 ann.lee new', '2 bob.ray new']],
  ['tabs', 'login\tname\nalee\tAnn Lee\n', ['2 alee new']],
  ['blank lines and empty cells at the end', '\n\nusername;name\n\nann;Ann;;\n\n;;\n', ['5 ann new']],
  ['old Macintosh line ends', 'username\rann\rbob', ['2 ann new', '3 bob new']],
  ['a line that names the separator', 'sep=;\r\nusername;name\r\nann;Ann\r\n', ['3 ann new']],
  [
    'a cell with quotes, a separator and a line break',
    'username,name\nann,"Ann ""the, great""\nLee"\nbob,Bob\n',
    ['3 ann new', '4 bob new'],
  ],
] as const) {
  test(`a class list is read: ${what}`, () => assert.deepEqual(enrolled(list), wanted))
}

test('umlauts arrive in every encoding that a spreadsheet writes', () => {
  const list = 'Vorname;Nachname\r\nJürgen;Groß\r\n'
  const wide = Buffer.from(list, 'utf16le')
  for (const bytes of [
    Buffer.from(list),
    Buffer.from(`\ufeff${list}`),
    Buffer.from(list, 'latin1'),
    wide,
    Buffer.from(`\ufeff${list}`, 'utf16le'),
    Buffer.from(Buffer.from(`\ufeff${list}`, 'utf16le')).swap16(),
  ]) {
    assert.deepEqual(enrolled(bytes), ['2 juergen.gross new'])
  }
  assert.deepEqual(enrolled('Vorname;Nachname\nJu\u0308rgen;Groß\n'), ['2 juergen.gross new'])
})

for (const [name, wanted] of [
  ['Zoë Ångström', 'zoe.aangstroem'],
  ['Seán O’Neill', 'sean.oneill'],
  ['Łukasz Żółć', 'lukasz.zolc'],
  ['Nguyễn Thị Ánh', 'nguyen.thi.anh'],
  ['Иван Щербаков', 'ivan.shcherbakov'],
  ['Γιώργος Παπάς', 'giorgos.papas'],
  ['김 민수', 'gim.minsu'],
  ['Jean-Luc d’Arc', 'jean-luc.darc'],
  ['王 小明', undefined],
  ['محمد', undefined],
  ['…', undefined],
] as const) {
  test(`${name} is ${wanted ?? 'not written in a to z'}`, () => assert.equal(userNameFrom(name)?.user, wanted))
}

test('whose name cannot be written gets a number, which does not change', () => {
  const list = 'name\nAnn Lee\n王小明\n李华\n'
  assert.deepEqual(enrolled(list), ['2 ann.lee new', '3 student-002 new', '4 student-003 new'])
  assert.deepEqual(enrolled(list), enrolled(list))
})

test('the same person twice is one person; two people of one name are two', () => {
  assert.deepEqual(enrolled('name,email\nAnn Lee,ann@x.example\nAnn Lee,ann@x.example\n'), ['2 ann new', '3 ann twice'])
  const two = 'first,last,number\nAnn,Lee,10001\nAnn,Lee,10002\nAnn,Lee,10002\n'
  assert.deepEqual(enrolled(two), ['2 ann.lee new', '3 ann.lee2 new', '4 ann.lee2 twice'])
})

test('who is there stays, and who is banned stays out', () => {
  const known = { isThere: (user: UserName) => user === 'ann', isBanned: (user: UserName) => user === 'bob' }
  assert.deepEqual(enrolled('ann\nbob\ncat\n', known), ['1 ann there', '2 bob banned', '3 cat new'])
})

for (const [what, list, message] of [
  [
    'one user name for two people',
    'username,name\nann,Ann Lee\nann,Ann Ray\n',
    /line 3: the user name ann is in line 2/,
  ],
  [
    'a quote that stays open',
    'name,email\n"Ann,ann@x\n',
    /line \d+, column \d+: a quote that was opened is not closed/,
  ],
  [
    'something behind a quote',
    'name,email\n"Ann" Lee,ann@x\n',
    /line 2, column 1: there is something behind the closing quote/,
  ],
  [
    'more columns than the first line has',
    'name,email\nAnn,ann@x\nBob,bob@x,7\n',
    /line 3, column 3: it has 3 columns, and the first line has 2/,
  ],
  ['nothing', '\n\n', /nobody is in it/],
  ['nothing that names people', '- ; 7 %\n+ ; 8 %\n', /no column with user names/],
  ['a line without end', `name\n${'a'.repeat(20_000)}\n`, /line 2 has more than 16384 characters/],
  ['a row without end', `name\n"${'a\n'.repeat(10_000)}"\n`, /: a row has more than 16384 characters|line 5001/],
  ['too many lines', 'a\n'.repeat(6_000), /line 5001 is one too many: it may have 5000/],
  ['too many lines of an old Macintosh', 'a\r'.repeat(6_000), /line 5001 is one too many/],
  ['too many columns', `name,email\nAnn${','.repeat(70)}\n`, /line 2: it has more than 64 columns/],
  [
    'a cell that is a book',
    `name,email\n"${'a'.repeat(2_000)}",x\n`,
    /line 2, column 1: the cell has more than 1024 characters/,
  ],
  ['too much of it', 'a'.repeat(2 * 1024 ** 2), /it has more than 1 MB/],
  [
    'very many people of one name',
    `first,last,number\n${Array.from({ length: 60 }, (_, index) => `Ann,Lee,${10_000 + index}\n`).join('')}`,
    /line 52: more than 50 different people would get the user name ann.lee/,
  ],
] as const) {
  test(`a list is refused as a whole, with the place, for ${what}`, () => assert.match(problem(list).message, message))
}

test('what stands in brackets in a heading does not count, however they are put', () => {
  for (const heading of ['Name (of the student)', 'Name ()()', 'Name (a(b)', 'Na(x)me', 'Name)', '((x)Name']) {
    assert.deepEqual(enrolled(`${heading};Matrikel\nAnn Lee;12345\n`), ['2 ann.lee new'], heading)
  }
})

/** A test that hangs is ended: with work that grows by the square, each took many seconds. */
for (const [what, piece] of [
  ['opening brackets', '('],
  ['closing brackets', ')'],
  ['signs of an e-mail address', '@'],
  ['dots', '.'],
  ['dashes', '-.'],
  ['underscores', '_'],
  ['quotes', '""'],
  ['separators', ';'],
  ['spaces', ' '],
] as const) {
  test(`the longest list of ${what} is read or refused at once`, { timeout: 20_000 }, () => {
    const line = `${piece.repeat(500)} x`
    for (const list of [
      `${line}\n`.repeat(900),
      `name,email\n${`${line},${line}\n`.repeat(400)}`,
      piece.repeat(500_000),
    ]) {
      try {
        enrolled(list)
      } catch (error) {
        assert.ok(error instanceof ProblemError, String(error))
      }
    }
  })
}

test('whatever is in a list, everybody gets a valid name of their own with an account of their own, and always the same', () => {
  const cell = fc.oneof(
    fc.string(),
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('Ann', 'ann', 'Müller', '../../etc', '-rf', 'root'),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 30 }), rows => {
      const quoted = rows.map(row => row.map(text => `"${text.replaceAll('"', '""')}"`).join(';'))
      const list = `first;last\n${quoted.join('\n')}\n`
      let people: ReturnType<typeof readRoster>['people']
      try {
        people = readRoster(Buffer.from(list)).people
      } catch (error) {
        return assert.ok(error instanceof ProblemError)
      }
      const enrolments = enrol(people, nobody)
      const own = enrolments.filter(({ kind }) => kind !== 'twice').map(({ user }) => user)
      assert.ok(own.every(isUserName))
      assert.equal(new Set(own.map(unixName)).size, own.length)
      assert.deepEqual(enrol(people, nobody), enrolments)
    }),
  )
})

test('the sheet has a slip for each, and nothing of a list can act in it', () => {
  const about = { address: 'http://192.0.2.1/', title: 'Statistics <1>' }
  const credential = {
    kind: 'code',
    user: 'ann' as UserName,
    code: 'abcd-efgh-jkmn',
    expires: Date.UTC(2026, 11, 24, 12),
  } as const
  const slips = [
    { name: '<script>alert(1)</script>', credential },
    { name: 'Bob', credential: { kind: 'none', user: 'bob' as UserName, why: 'password' } as const },
  ]
  const page = sheetPage(slips, about)
  assert.match(page, /abcd-efgh-jkmn[\s\S]*Until 2026-12-24/)
  assert.doesNotMatch(page, /<script|Bob|Statistics <1>/)
  assert.match(sheetText(slips, about), /ann {2}abcd-efgh-jkmn/)
})
