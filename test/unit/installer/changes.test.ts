import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { type Changes, openChanges } from '../../../installer/installation/changes.ts'

let folder: string
let journal: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'changes-'))
  journal = join(folder, 'hub/changes.jsonl')
})
afterEach(() => rmSync(folder, { recursive: true }))

const at = (name: string) => join(folder, name)
const lines = () => readFileSync(journal, 'utf8').split('\n').filter(Boolean)

async function undoAll(changes: Changes): Promise<void> {
  for (const change of changes.list().toReversed()) await changes.undo(change)
}

test('a file that was replaced comes back as it was, with its mode, by another process', async () => {
  writeFileSync(at('file'), 'before\n', { mode: 0o604 })
  assert.equal(await openChanges(journal).writeFile(at('file'), 'ours\n', 0o640), true)
  assert.equal(readFileSync(at('file'), 'utf8'), 'ours\n')
  assert.equal(statSync(at('file')).mode & 0o777, 0o640)
  assert.equal(statSync(journal).mode & 0o777, 0o600)

  await undoAll(openChanges(journal))
  assert.equal(readFileSync(at('file'), 'utf8'), 'before\n')
  assert.equal(statSync(at('file')).mode & 0o777, 0o604)
  assert.deepEqual(openChanges(journal).list(), [])
})

test('what is so already is neither changed nor noted', async () => {
  const changes = openChanges(journal)
  const all = async () => [
    await changes.writeFile(at('file'), 'ours\n', 0o644),
    await changes.makeSymlink(at('link'), 'file'),
    await changes.makeFolder(at('folder'), { mode: 0o755, isOurs: false }),
    await changes.notePackages(['git', 'libatomic1']),
  ]
  assert.deepEqual(await all(), [true, true, true, true])
  const noted = lines()
  assert.deepEqual(await all(), [false, false, false, false])
  assert.deepEqual(lines(), noted)
})

test('of a file that was written twice, what was there before the first time comes back', async () => {
  writeFileSync(at('file'), 'before\n')
  await openChanges(journal).writeFile(at('file'), 'version 1\n', 0o644)
  await openChanges(journal).writeFile(at('file'), 'version 2\n', 0o644)
  const changes = openChanges(journal)
  assert.equal(changes.list().length, 1)
  await undoAll(changes)
  assert.equal(readFileSync(at('file'), 'utf8'), 'before\n')
})

test('it is known whether somebody has edited a file of ours', async () => {
  const changes = openChanges(journal)
  await changes.writeFile(at('file'), 'version 1\n', 0o644)
  await changes.writeFile(at('file'), 'version 2\n', 0o644)
  assert.equal(changes.isAsWritten(at('file')), true)
  appendFileSync(at('file'), 'mine\n')
  assert.equal(openChanges(journal).isAsWritten(at('file')), false)
})

test('a link that was replaced comes back, and one that was none goes', async () => {
  symlinkSync('elsewhere', at('old'))
  const changes = openChanges(journal)
  await changes.makeSymlink(at('old'), 'here')
  await changes.makeSymlink(at('new'), 'here')
  await undoAll(changes)
  assert.equal(readlinkSync(at('old')), 'elsewhere')
  assert.equal(existsSync(at('new')), false)
})

test('a folder that others use by now stays, and one that is wholly ours goes with all that is in it', async () => {
  const changes = openChanges(journal)
  await changes.makeFolder(at('shared'), { mode: 0o755, isOurs: false })
  await changes.makeFolder(at('own'), { mode: 0o700, isOurs: true })
  writeFileSync(at('shared/theirs'), '')
  mkdirSync(at('own/deep'))
  await undoAll(changes)
  assert.equal(existsSync(at('shared/theirs')), true)
  assert.equal(existsSync(at('own')), false)
})

test('wherever a kill tears the last line off, what was changed can be undone, and a further run goes on', async () => {
  writeFileSync(at('second'), 'before\n')
  await openChanges(journal).writeFile(at('first'), 'ours\n', 0o644)
  const whole = statSync(journal).size
  await openChanges(journal).writeFile(at('second'), 'ours\n', 0o644)
  const all = readFileSync(journal)
  for (let length = whole; length <= all.length; length++) {
    // The change follows its line, so where the line is torn it was not made.
    writeFileSync(journal, all)
    truncateSync(journal, length)
    writeFileSync(at('first'), 'ours\n')
    writeFileSync(at('second'), 'before\n')
    await openChanges(journal).writeFile(at('second'), 'ours\n', 0o644)
    await undoAll(openChanges(journal))
    assert.equal(existsSync(at('first')), false)
    assert.equal(readFileSync(at('second'), 'utf8'), 'before\n')
    assert.deepEqual(openChanges(journal).list(), [])
  }
})

test('what does not fit into the journal whole is not changed', async () => {
  await openChanges(journal).writeFile(at('first'), 'ours\n', 0o644)
  const program = `
    const { openChanges } = await import(${JSON.stringify(import.meta.resolve('../../../installer/installation/changes.ts'))})
    await openChanges(${JSON.stringify(journal)}).writeFile(${JSON.stringify(at('second'))}, 'ours', 0o644)
      .catch(({ code }) => console.log(code))`
  // A limit stands for a full disk: the kernel writes as much as there is room for, and then nothing.
  const limit = `--fsize=${statSync(journal).size + 10}`
  const { stdout } = spawnSync('prlimit', [limit, process.execPath, '--input-type=module', '--eval', program], {
    encoding: 'utf8',
  })
  assert.equal(stdout, 'INSTALL_NOT_CHANGED\n')
  assert.equal(existsSync(at('second')), false)
  assert.equal(openChanges(journal).list().length, 1)
})

test('undoing what was noted and never made changes nothing', async () => {
  writeFileSync(at('file'), 'before\n')
  const changes = openChanges(journal)
  await changes.writeFile(at('file'), 'ours\n', 0o644)
  writeFileSync(at('file'), 'before\n')
  await undoAll(changes)
  assert.equal(readFileSync(at('file'), 'utf8'), 'before\n')
})

test('where a file cannot be written, it is said in words, and what was there stays', async () => {
  mkdirSync(at('file'))
  await assert.rejects(openChanges(journal).writeFile(at('file'), 'ours\n', 0o644), { code: 'INSTALL_NOT_CHANGED' })
  await assert.rejects(openChanges(journal).writeFile(at('missing/file'), 'ours\n', 0o644), {
    code: 'INSTALL_NOT_CHANGED',
  })
  assert.equal(statSync(at('file')).isDirectory(), true)
})
