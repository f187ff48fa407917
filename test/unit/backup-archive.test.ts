import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { zstdDecompressSync } from 'node:zlib'
import {
  backupFormat,
  type Manifest,
  measure,
  readArchive,
  readManifest,
  type Source,
  writeArchive,
} from '../../installer/backup/archive.ts'

const folder = mkdtempSync(join(tmpdir(), 'tljh-backup-'))
after(() => rmSync(folder, { recursive: true }))

/** An archive of files with that content. */
async function archiveOf(name: string, contents: Record<string, Uint8Array>): Promise<string> {
  const sources: Source[] = Object.entries(contents).map(([member, content], index) => {
    const file = join(folder, `${name}-${index}`)
    writeFileSync(file, content)
    return { name: member, file }
  })
  const members = await Promise.all(sources.map(measure))
  const about = { version: '0.1.0', time: 1_700_000_000_000, host: 'here', python: '3.11.2', accounts: [] }
  const manifest: Manifest = { format: backupFormat, id: name, ...about, members }
  const file = join(folder, `${name}.tar.zst`)
  await writeArchive(file, manifest, sources)
  return file
}

test('what is put in comes out, in its order, and tar can read it as well', async () => {
  const contents = {
    'config/config.yaml': Buffer.from('{}\n'),
    'state/empty': Buffer.alloc(0),
    'homes/a.tar.zst': randomBytes(700_000),
  }
  const file = await archiveOf('round', contents)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const found: [string, Buffer][] = []
  await readArchive(file, async ({ name }, content) => {
    found.push([name, Buffer.concat(await Array.fromAsync(content))])
  })
  assert.deepEqual(found, Object.entries(contents))
  const list = execFileSync('tar', ['--list', '--file=-'], {
    input: zstdDecompressSync(readFileSync(file)),
    encoding: 'utf8',
  })
  assert.deepEqual(list.trim().split('\n'), ['manifest.json', ...Object.keys(contents)])
})

test('the manifest alone is read from the beginning of the file', async () => {
  const file = await archiveOf('first', { 'state/big': randomBytes(3_000_000) })
  const cut = join(folder, 'first-part')
  writeFileSync(cut, readFileSync(file).subarray(0, 1_000_000))
  assert.equal((await readManifest(cut)).id, 'first')
})

test('an archive that was cut off, changed or added to is none', async () => {
  const file = await archiveOf('damaged', { 'state/hub.sqlite': randomBytes(50_000) })
  const whole = readFileSync(file)
  const bad = join(folder, 'bad')
  for (const length of [0, 1, 100, whole.length / 2, whole.length - 1]) {
    writeFileSync(bad, whole.subarray(0, length))
    await assert.rejects(readArchive(bad), { code: 'BACKUP_DAMAGED' }, `${length} bytes of it`)
  }
  for (const place of [3, 300, 20_000, whole.length - 2]) {
    const changed = Buffer.from(whole)
    changed[place] = (changed[place] ?? 0) ^ 1
    writeFileSync(bad, changed)
    await assert.rejects(readArchive(bad), { code: 'BACKUP_DAMAGED' }, `byte ${place} changed`)
  }
})

test('a member cannot have a name that leads elsewhere', async () => {
  for (const name of ['../up', 'a/../../b', 'line\nbreak']) {
    await assert.rejects(async () => readArchive(await archiveOf(`name-${name.length}`, { [name]: Buffer.from('x') })))
  }
})
