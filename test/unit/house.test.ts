/** The rooms of the house: what lies where, who may import whom, and that what names a file names one that is there. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import ts from 'typescript'
import { productFiles } from '../../installer/release/tree.ts'

const checkout = resolve(import.meta.dirname, '../..')
const read = (file: string) => readFileSync(join(checkout, file), 'utf8')
const files = execFileSync('git', ['-c', 'safe.directory=*', '-C', checkout, 'ls-files', '-z'], { encoding: 'utf8' })
  .split('\0')
  .filter(Boolean)

interface Rule {
  comment: string
  from: { path?: string }
  to: { path?: string }
}

/** The rules of .dependency-cruiser.json that say what one room may import. */
const rooms = (JSON.parse(read('.dependency-cruiser.json')) as { allowed: Rule[] }).allowed.flatMap(
  ({ comment, from, to }) => {
    const [, room] = /^\^([a-z/-]+)\/\[\^\/\]\+\$$/.exec(from.path ?? '') ?? []
    return room === undefined ? [] : [{ room, comment, mayImport: to.path ?? '' }]
  },
)

/** Folders of sources that import nothing of ours. */
const others = ['hub/pages/browser', 'spawner', 'spawner/jupyter', 'spawner/pam']
const mostFiles = 16
const isSource = (file: string) => /\.(?:ts|mjs|py|sh)$/.test(file)

test('each folder of sources is a room of the design, and none has more than 16', () => {
  const counts = new Map<string, number>()
  for (const file of files.filter(isSource)) counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1)
  const known = new Set([...rooms.map(({ room }) => room), ...others, '.'])
  const isKnown = (folder: string) => known.has(folder) || /^test(?:\/|$)/.test(folder)
  const found = [...counts]
  assert.ok(found.length > 30)
  assert.deepEqual(
    found.filter(([folder, count]) => !isKnown(folder) || count > mostFiles),
    [],
    'see CONTRIBUTING.md, Where things are',
  )
})

test('the table in CONTRIBUTING.md is made from the rules of .dependency-cruiser.json', () => {
  const rows = rooms.map(({ room, comment, mayImport }) => `| \`${room}\` | ${comment} | ${sayPattern(mayImport)} |`)
  const table = ['| room | what | may import |', '| --- | --- | --- |', ...rows].join('\n')
  assert.ok(read('CONTRIBUTING.md').includes(`\n${table}\n`), `it is to be:\n\n${table}\n`)
})

/** `^(config/(users|meaning)|cli)/[^/]+$` as `config/{users,meaning}`, `cli`. */
function sayPattern(pattern: string): string {
  if (pattern.includes('problem')) return ''
  const inner = pattern.replace(/^\^\(/, '').replace(/\)\/\[\^\/\]\+\$$/, '')
  return inner
    .replace('systemd(/audit)?', 'systemd|systemd/audit')
    .replace('hub/[a-z-]+', 'hub/*')
    .split(/\|(?![^(]*\))/)
    .map(one => `\`${one.replace('(', '{').replace(')', '}').replaceAll('|', ',')}\``)
    .join(', ')
}

/**
 * What a text of ours calls a file: a module or a template by its path or its bare name, and others by their path in the checkout. A program that is
 * written in a test imports by `./`, from the checkout.
 */
const mention =
  /(?<![\w./@{}$*-])(?:\.\/)?((?:[\w@-]+\/)*[\w@-]+\.(?:ts|eta)|(?:cli|config|docs|hub|installer|machine|spawner|systemd|test)\/[\w@./-]*[\w@-]\.(?:py|sh|mjs|md|service|socket))(?![\w/-])/g
/** Paths in regular expressions have more strokes. */
const plain = (text: string) => text.replaceAll('\\/', '/').replaceAll('\\.', '.')
/** Names that stand for any. */
const placeholders = new Set(['NAME.ts', 'a.ts', 'b.ts', 'lock.ts', 'no-such.ts', 'docs/install/custom-server.md'])

test('each file that a comment or a page names is there', () => {
  const names = new Set(files.map(file => basename(file)))
  const there = new Set(files)
  const texts = files.filter(file => /\.(?:ts|mjs|py|sh|md|json|service|socket|eta)$/.test(file))
  const named = texts
    .filter(file => file !== 'package-lock.json' && file !== 'CHANGELOG.md')
    .flatMap(file => [...plain(read(file)).matchAll(mention)].map(([, name = '']) => ({ file, name })))
  const missing = named.filter(
    ({ name }) =>
      !placeholders.has(name) &&
      !(name.includes('/') ? [...there].some(one => one === name || one.endsWith(`/${name}`)) : names.has(name)),
  )
  assert.ok(named.length > 200)
  assert.deepEqual(missing, [])
})

/** Modules that another one has Node.js load: by an import, or as the program of a thread or of a process. */
function loadedBy(file: string): string[] {
  const text = read(file)
  const imported = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName)
  const programs = [
    ...text.matchAll(
      /import\.meta\.(?:url|dirname)[^\n]*?'([\w./-]+\.ts)'|'(\.{1,2}\/[\w./-]+\.ts)', import\.meta\.url/g,
    ),
  ]
  return [...imported, ...programs.map(([, one, other]) => one ?? other ?? '')]
    .filter(name => /^\.{1,2}\/|^[\w-]+\.ts$/.test(name))
    .map(name => join(dirname(file), name))
}

test('whatever tljh-ts.ts comes to load is in a release', async () => {
  const released = new Set(await productFiles(checkout, process.env))
  const found = new Set(['tljh-ts.ts'])
  for (const file of found) if (file.endsWith('.ts')) for (const next of loadedBy(file)) found.add(next)
  assert.ok(
    found.size > 200 && found.has('systemd/audit/thread-main.ts') && found.has('hub/credentials/bcrypt-thread.ts'),
  )
  assert.deepEqual(
    [...found].filter(file => !released.has(file)),
    [],
  )
})

test('what units, running servers and the version before this one look for is at its place', async () => {
  const units = files.filter(file => file.startsWith('installer/units/')).map(read)
  const named = units.flatMap(text =>
    [...text.matchAll(/\/hub\/current\/([\w./-]+\.(?:ts|py|sh))/g)].map(([, file = '']) => file),
  )
  assert.ok(named.includes('tljh-ts.ts') && named.includes('spawner/pam/authenticate.py'))
  // A server finds these by the link to the version in force, also when it starts a kernel after an upgrade. Archives that are made end with theirs.
  const held = [
    'spawner/jupyter/start.py',
    'spawner/jupyter/readiness.sh',
    'spawner/jupyter/bashrc',
    'spawner/home-archive.ts',
  ]
  const released = new Set(await productFiles(checkout, process.env))
  assert.deepEqual(
    [...named, ...held].filter(file => !released.has(file)),
    [],
  )
})
