import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type UserName, unixName } from '../../../config/users/names.ts'
import { visit } from '../../harness/people/visitor.ts'
import { bootProduct, choosePassword, type Product, TLJH_TS } from '../../harness/product/product.ts'

/** First and last names of many places; all pairs make a class. */
const firstNames = [
  ...['Jürgen', 'Änne', 'Zoë', 'Seán', 'François', 'Łukasz', 'Søren', 'Åsa', 'Þóra', 'Nguyễn'],
  ...['Иван', 'Юлія', 'Γιώργος', '민수', '小明', 'さくら', 'محمد', 'नेहा', 'Ann-Marie', 'José María'],
]
const lastNames = [
  'Groß',
  'O’Neill',
  'Щербаков',
  'Παπάς',
  '김',
  '王',
  'de la Cruz',
  'Wolfeschlegelsteinhausenbergerdorff',
  'Öztürk',
  'Li',
]

const list = `Vorname;Nachname;Matrikelnummer\r\n${firstNames
  .flatMap((first, row) => lastNames.map((last, column) => `${first};${last};${100_000 + row * 10 + column}\r\n`))
  .join('')}`

const sheet = '/root/sheet.html'
const password = 'correct horse battery'
let product: Product

before(async () => {
  product = await bootProduct({ config: 'users:\n  allowed: []\n' })
  await product.host.writeFile('/root/class.csv', list)
})
after(() => product[Symbol.asyncDispose]())

function user(...args: string[]) {
  return product.host.run([...TLJH_TS, 'user', ...args], { check: false })
}

async function people(): Promise<string[]> {
  const known = JSON.parse((await user('list', '--json')).stdout) as { user: string }[]
  return known.map(({ user: name }) => name).filter(name => name !== product.admin)
}

/** User names and codes, as the sheet has them. */
async function slips(): Promise<[string, string][]> {
  const page = await product.host.readFile(sheet)
  return [...page.matchAll(/User name<\/dt><dd><code>([^<]*)<[\s\S]*?code<\/dt><dd><code>([^<]*)</g)].map(match => [
    match[1] ?? '',
    match[2] ?? '',
  ])
}

async function pool<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const rest = [...items]
  const next = async (): Promise<void> => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: 4 }, next))
}

test('what will happen is shown first, and nothing happens without a yes', async () => {
  const dry = await user('import', '/root/class.csv', '--dry-run')
  assert.equal(dry.code, 0)
  assert.match(dry.stdout, /^200 rows \(utf-8; columns: first, last, number\)/)
  assert.match(dry.stdout, /^2 +Jürgen Groß +juergen\.gross +is let in$/m)
  assert.match((await user('import', '/root/class.csv')).stderr, /--yes/)
  assert.deepEqual(await people(), [])
})

test('a list with a mistake, and a sheet that is there already, change nothing', async () => {
  await product.host.writeFile('/root/wrong.csv', 'username;name\nann;Ann\nann;"Bob\n')
  const { code, stderr } = await user('import', '/root/wrong.csv', '--yes')
  assert.equal(code, 1)
  assert.match(stderr, /line 3/)
  await product.host.writeFile('/root/there.html', 'something')
  assert.match(
    (await user('import', '/root/class.csv', '--yes', '--sheet', '/root/there.html')).stderr,
    /is there already/,
  )
  assert.equal(await product.host.readFile('/root/there.html'), 'something')
  assert.deepEqual(await people(), [])
})

test('two hundred people in many scripts are let in by one change, each with a valid user name and account of their own', async () => {
  const { code, stdout, stderr } = await user(
    'import',
    '/root/class.csv',
    '--yes',
    '--group',
    'class',
    '--sheet',
    sheet,
  )
  assert.equal(code, 0, stderr)
  const names = await people()
  assert.equal(names.length, 200)
  const accounts = names.map(name => unixName(name as UserName))
  assert.equal(new Set(accounts).size, 200)
  for (const account of accounts) assert.match(account, /^jupyter-[a-z0-9._@-]{1,24}$/)
  assert.match(stdout, /hub\/login/)
  assert.equal((await slips()).length, 200)
  assert.equal((await product.host.run(['stat', '--format=%a', sheet])).stdout.trim(), '600')
  const { stdout: log } = await product.host.run([...TLJH_TS, 'config', 'log'])
  assert.equal(log.match(/user import/g)?.length, 1)
})

test('the same list again changes nothing, and makes no code void', async () => {
  const before = await people()
  const { code, stdout } = await user('import', '/root/class.csv', '--yes', '--group', 'class')
  assert.equal(code, 0)
  assert.equal(stdout.match(/is there already/g)?.length, 200)
  assert.deepEqual(await people(), before)
})

test('everybody logs in with the code of the sheet and chooses a password', async () => {
  await pool(await slips(), ([name, code]) => choosePassword(product.url, name, code, password))
  const known = JSON.parse((await user('list', '--json')).stdout) as { password: string }[]
  assert.ok(known.every(({ password: has }) => has === 'set'))
})

test('servers start for names of every kind, in accounts that stay the same', async () => {
  const { host } = product
  const names = await people()
  const longest = names.toSorted((a, b) => b.length - a.length)[0] ?? ''
  const sample = [
    'juergen.gross',
    'ivan.shcherbakov',
    longest,
    names.find(name => name.startsWith('student-')) ?? names[7] ?? '',
  ]
  for (const name of sample) {
    const uids: string[] = []
    for (let time = 0; time < 2; time++) {
      const visitor = visit(product.url)
      assert.equal((await visitor.logIn(name, password)).status, 302)
      await visitor.startServer()
      uids.push((await host.run(['id', '-u', unixName(name as UserName)])).stdout)
      await visitor.post('/hub/stop')
      for await (const event of visitor.progress(name)) if (event.failed) break
    }
    assert.equal(uids[0], uids[1])
  }
})
