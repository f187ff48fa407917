/**
 * Each single write of ours on a full disk, where that can be seen without a host: whatever is refused, it is said in words, what was there is
 * whole, nothing is left beside, and the same call with room again does what it was to do. Commands as a whole are in test/host.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openCopy } from '../../../config/command/edit-copy.ts'
import { selfSigned } from '../../../hub/tls/self-signed.ts'
import { openStore } from '../../../hub/tls/store.ts'
import { measure, readArchive, writeArchive } from '../../../installer/backup/archive.ts'
import { backupFormat, type Manifest } from '../../../installer/backup/manifest.ts'
import { openChanges } from '../../../installer/installation/changes.ts'
import { ensureVersion } from '../../../installer/steps/places.ts'
import { beginChanges, endChanges, isInstalled } from '../../../installer/steps/services.ts'
import { unpackRelease } from '../../../installer/upgrade/archive.ts'
import { readJournal, writeJournal } from '../../../installer/upgrade/journal.ts'
import { inWords } from '../../../machine/disk.ts'
import { codeFolder, layoutIn } from '../../../machine/layout.ts'
import { replaceFile, replaceLink } from '../../../machine/replace-file.ts'
import { isDiskFull, ProblemError } from '../../../problem.ts'
import { atEachWrite, type Outcome } from '../../harness/product/refused-writes.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tljh-full-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function at(name: string): string {
  return join(folder, name)
}

/** What a person reads of it names a file or folder, the disk, and what to do. */
function isInWords({ error, call, place }: Outcome): void {
  const said = inWords(error)
  assert.ok(said instanceof ProblemError, `${call} at ${place}: ${String(error)}`)
  assert.match(said.message, /\/\w/)
  assert.match(said.message, /no room|disk is full/)
  assert.match(said.message, /[Mm]ake room/)
}

/** The calls that were refused, without their lines. */
function calls(refusals: readonly { call: string }[]): string[] {
  return refusals.map(({ call }) => call)
}

test('a file is replaced whole or stays', async () => {
  writeFileSync(at('file'), 'before', { mode: 0o604 })

  const refusals = await atEachWrite(
    () => replaceFile(at('file'), 'after', { mode: 0o600 }),
    outcome => {
      isInWords(outcome)
      assert.deepEqual(readdirSync(folder), ['file'])
      const isRenamed = outcome.call === 'fsyncSync'
      assert.equal(readFileSync(at('file'), 'utf8'), isRenamed ? 'after' : 'before')
    },
  )

  assert.deepEqual(calls(refusals), [
    'writeFileSync open',
    'writeFileSync write',
    'writeFileSync fsync',
    'renameSync',
    'fsyncSync',
  ])
  assert.equal(readFileSync(at('file'), 'utf8'), 'after')
  assert.equal(statSync(at('file')).mode & 0o777, 0o600)
})

test('so is a link', async () => {
  symlinkSync('before', at('link'))
  const refusals = await atEachWrite(
    () => replaceLink(at('link'), 'after'),
    outcome => {
      isInWords(outcome)
      assert.deepEqual(readdirSync(folder), ['link'])
    },
  )
  assert.deepEqual(calls(refusals), ['symlinkSync', 'renameSync', 'fsyncSync'])
  assert.equal(readlinkSync(at('link')), 'after')
})

test('what an installation changes on the machine is changed whole and noted, or not at all, and can be undone', async () => {
  const journal = at('hub/changes.jsonl')
  writeFileSync(at('file'), 'before', { mode: 0o604 })
  symlinkSync('before', at('link'))
  const changed = await atEachWrite(
    async () => {
      const changes = openChanges(journal)
      await changes.makeFolder(at('made'), { mode: 0o755, isOurs: true })
      await changes.writeFile(at('file'), 'after', 0o644)
      await changes.writeFile(at('new'), 'after', 0o644)
      await changes.makeSymlink(at('link'), 'after')
    },
    outcome => {
      isInWords(outcome)
      noLitter()
      for (const one of [readFileSync(at('file'), 'utf8'), readlinkSync(at('link'))])
        assert.match(one, /^(before|after)$/)
      if (existsSync(at('new'))) assert.equal(readFileSync(at('new'), 'utf8'), 'after')
      const noted = openChanges(journal).list()
      const isNoted = (name: string) => noted.some(change => 'path' in change && change.path === at(name))
      if (readFileSync(at('file'), 'utf8') === 'after') assert.ok(isNoted('file'))
      if (existsSync(at('new'))) assert.ok(isNoted('new'))
      if (existsSync(at('made'))) assert.ok(isNoted('made'))
    },
  )
  assert.ok(calls(changed).includes('openSync'), 'the journal’s own writes were refused, too')
  assert.equal(readlinkSync(at('link')), 'after')

  await atEachWrite(
    async () => {
      const changes = openChanges(journal)
      for (const change of changes.list().toReversed()) await changes.undo(change)
    },
    outcome => {
      isInWords(outcome)
      noLitter()
    },
  )
  assert.equal(readFileSync(at('file'), 'utf8'), 'before')
  assert.equal(statSync(at('file')).mode & 0o777, 0o604)
  assert.equal(readlinkSync(at('link')), 'before')
  assert.deepEqual([existsSync(at('new')), existsSync(at('made'))], [false, false])
  assert.deepEqual(openChanges(journal).list(), [])
})

function noLitter(): void {
  const found = readdirSync(folder, { recursive: true }).filter(
    name => /new$|part$/.test(String(name)) && name !== 'new',
  )
  assert.deepEqual(found, [])
}

test('a change that was noted and whose note could not be flushed shares its number with no other', async () => {
  const journal = at('hub/changes.jsonl')
  let run = 0
  await atEachWrite(async () => {
    const changes = openChanges(journal)
    run++
    // As uninstall does, which goes on with the others.
    const results = await Promise.allSettled(
      ['a', 'b', 'c'].map(name => changes.writeFile(at(`${name}${run}`), name, 0o644)),
    )
    const numbers = readFileSync(journal, 'utf8').match(/(?<=^\{"number":)\d+(?=.*\}$)/gm)
    assert.equal(new Set(numbers).size, numbers?.length)
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }, isInWords)
})

test('the notes of an installation, and the version in force', async () => {
  const layout = layoutIn(folder)
  mkdirSync(layout.versions, { recursive: true })
  await atEachWrite(
    () => {
      beginChanges(layout)
      ensureVersion(layout)
      endChanges(layout)
    },
    outcome => {
      isInWords(outcome)
      noLitter()
    },
  )
  assert.ok(isInstalled(layout))
  assert.deepEqual(readdirSync(dirname(layout.versions)).toSorted(), ['current', 'installed', 'versions'])
  assert.equal(
    join(dirname(layout.hub), readlinkSync(layout.hub)),
    join(layout.versions, codeFolder.split('/').at(-1) ?? ''),
  )
})

test('the journal of an upgrade says what it said before, or what it is to say', async () => {
  const layout = layoutIn(folder)
  mkdirSync(layout.versions, { recursive: true })
  const before = { version: '1.0.0', copy: null, at: 1 }
  const passage = { kind: 'upgrade', from: '1.0.0', to: '1.1.0', phase: 'switching', copy: null, at: 2 } as const
  writeJournal(layout, { passage: null, before })
  await atEachWrite(
    () => writeJournal(layout, { passage, before }),
    outcome => {
      isInWords(outcome)
      noLitter()
      assert.deepEqual(readJournal(layout), { passage: outcome.call === 'fsyncSync' ? passage : null, before })
    },
  )
  assert.deepEqual(readJournal(layout), { passage, before })
})

test('a release is unpacked whole, or not at all', async () => {
  mkdirSync(at('tljh-ts-1.2.3/deep'), { recursive: true })
  writeFileSync(
    at('tljh-ts-1.2.3/release.json'),
    JSON.stringify({ version: '1.2.3', arch: 'x64', site: 'https://site.test' }),
  )
  writeFileSync(at('tljh-ts-1.2.3/deep/file'), 'content')
  execFileSync('tar', ['--create', '--gzip', '--file', at('archive.tar.gz'), '--directory', folder, 'tljh-ts-1.2.3'])
  const target = at('hub/versions/1.2.3')
  const refusals = await atEachWrite(
    () => unpackRelease(at('archive.tar.gz'), { version: '1.2.3', arch: 'x64' }, target),
    outcome => {
      isInWords(outcome)
      noLitter()
      assert.equal(existsSync(target), false)
    },
  )
  assert.deepEqual(calls(refusals), ['mkdir', 'openSync', 'mkdir', 'rename'])
  assert.equal(readFileSync(join(target, 'deep/file'), 'utf8'), 'content')
})

test('the archive of a backup fails as the system says at its opening, a write and the flush', async () => {
  writeFileSync(at('config'), 'text')
  const sources = [{ name: 'config/config.yaml', file: at('config') }]
  const about = { id: 'one', version: '0.1.0', time: 1, host: 'here', python: '', accounts: [] }
  const manifest: Manifest = { format: backupFormat, ...about, members: await Promise.all(sources.map(measure)) }
  const archive = at('archive')
  const refusals = await atEachWrite(
    async () => {
      rmSync(archive, { force: true })
      await writeArchive(archive, manifest, sources)
    },
    // Its folder is removed, and the command has the words: test/host/service/full-disk.test.ts.
    ({ call, error }) => assert.ok(isDiskFull(error), `${call}: ${error}`),
  )
  assert.deepEqual(calls(refusals), ['stream open', 'stream write', 'stream fsync'])
  assert.equal((await readArchive(archive)).id, 'one')
})

test('certificates and what is known of attempts count at once, and are written when there is room', async () => {
  const [first, second] = [selfSigned(['old.test']), selfSigned(['new.test'])]
  const kept = at('certificates')
  const open = () => openStore(kept, line => void lines.push(line))
  const lines: string[] = []
  open().keepCertificate('https://ca.test', first)
  await atEachWrite(
    () => {
      lines.length = 0
      const store = open()
      const isKept = [
        store.keepAccountKey('https://ca.test', 'key'),
        store.keepCertificate('https://ca.test', second),
        store.keepAttempts(undefined),
      ]
      store.keepStatus({})
      assert.deepEqual(store.certificate('https://ca.test')?.names, ['new.test'])
      if (isKept.includes(false) || lines.length)
        assert.match(lines[0] ?? '', /nothing can be kept in \/.*full: df -h \//)
      assert.equal(store.isKept(), true, 'all of it, as soon as there is room')
      assert.deepEqual(open().certificate('https://ca.test')?.names, ['new.test'])
      open().keepCertificate('https://ca.test', first)
    },
    ({ call, error }) => {
      assert.equal(error, undefined, `nothing is thrown: ${call}`)
      noLitter()
    },
  )
})

test('a configuration that somebody edits is not lost because what it was made from cannot be written', async () => {
  const configFile = at('config.yaml')
  const copy = openCopy(configFile)
  const [base, edited, other] = ['a: 1\n', 'a: 2\n', 'a: 3\n'].map(text => Buffer.from(text))
  copy.begin(base as Buffer)
  writeFileSync(copy.path, edited as Buffer)
  await atEachWrite(
    () => copy.rebase(other as Buffer),
    outcome => {
      assert.match(String(outcome.error), /df -h \//)
      noLitter()
      assert.deepEqual(copy.read(), edited)
    },
  )
  assert.deepEqual(copy.base(), other)
})

/** Functions of node:fs that can leave half a file, or another one than there was. A folder is made whole, or not at all. */
const writers =
  /^(?:writeFile|appendFile|write|writev|open|rename|copyFile|cp|symlink|link|truncate|mkdtemp)(?:Sync)?$|^createWriteStream$/

/** Who writes by itself and not by machine/replace-file.ts, why, and what holds each of its writes. */
const exceptions: Record<string, string> = {
  'machine/replace-file.ts': 'it is what the others use: above',
  'machine/lock-file.ts': 'an empty file, which stays',
  'config/change/lock.ts': 'the file that is locked cannot be replaced, and what it says may be lost',
  'hub/admin/user-import.ts':
    'a new file of somebody’s, in a folder where root may have no business: test/host/service/full-disk.test.ts',
  'hub/state/reserve.ts': 'room inside of SQLite’s own files: test/unit/hub/database.test.ts',
  'hub/state/database.ts': 'a file that SQLite has made takes its place',
  'installer/installation/changes.ts': 'a journal, to which lines are added: above',
  'installer/installation/compile-cache.ts': 'a folder that Node.js has filled, without which all works',
  'installer/import-tljh/import.ts': 'moves what is TLJH’s: test/host/install/import-tljh.test.ts',
  'installer/import-tljh/untrusted.ts': 'only reads',
  'installer/removal.ts': 'a copy of what somebody has edited, by replaceBy',
  'installer/installation/state-copy.ts': 'a copy of what may be large: test/host/install/backup.test.ts',
  'installer/backup/archive.ts': 'a stream into a folder that is removed: test/host/install/backup.test.ts',
  'installer/backup/backup.ts': 'files in a folder that is removed: test/host/install/backup.test.ts',
  'installer/backup/homes.ts': 'the same',
  'installer/backup/tar.ts': 'the same',
  'installer/backup/restore-homes.ts':
    'folders that tar(1) has filled take their places: test/host/install/backup.test.ts',
  'installer/backup/restore-plan.ts': 'a stream into a folder that is removed: test/host/install/backup.test.ts',
  'installer/upgrade/archive.ts': 'a folder that tar(1) has filled takes its place: above',
  'installer/upgrade/releases.ts': 'a file that curl(1) has written takes its place',
  'spawner/accounts/ensure.ts': 'a home that cp(1) has filled takes its place: test/host/service/full-disk.test.ts',
  'spawner/accounts/remove.ts':
    'an archive that its owner has written takes its place: test/host/accounts/archive.test.ts',
  'spawner/accounts/home-task-main.ts': 'the archive itself, to standard output: test/host/accounts/archive.test.ts',
  'spawner/accounts/rename.ts': 'a home gets another name: test/host/accounts/user-command.test.ts',
  'systemd/owner-program.ts': 'a folder for sockets in /run',
}

test('nobody writes files beside machine/replace-file.ts but those that are named here', () => {
  const checkout = fileURLToPath(new URL('../../../', import.meta.url))
  const product = globSync('**/*.ts', {
    cwd: checkout,
    exclude: ['node_modules', 'test', 'hub/pages/browser', 'installer/release'],
  })
  const found = product.filter(file => {
    const text = readFileSync(join(checkout, file), 'utf8')
    const imports = text.matchAll(/import (?:type )?([^']*?) from 'node:fs(?:\/promises)?'/g)
    return [...imports].some(
      ([, names = '']) => !names.startsWith('{') || names.match(/\w+/g)?.some(name => writers.test(name)),
    )
  })
  assert.ok(product.includes('machine/replace-file.ts'))
  assert.deepEqual(found.toSorted(), Object.keys(exceptions).toSorted())
})
