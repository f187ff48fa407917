import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { zstdDecompressSync } from 'node:zlib'
import { parseUserName, unixName } from '../../../config/users/names.ts'
import { measure, readArchive, readManifest, type Source, writeArchive } from '../../../installer/backup/archive.ts'
import { backupFormat, type Manifest } from '../../../installer/backup/manifest.ts'
import { planAccounts } from '../../../installer/backup/restore-accounts.ts'

const folder = mkdtempSync(join(tmpdir(), 'tljh-backup-'))
after(() => rmSync(folder, { recursive: true }))

/** An archive of files with that content. */
async function archiveOf(name: string, contents: Record<string, Uint8Array>, more: object = {}): Promise<string> {
  const sources: Source[] = Object.entries(contents).map(([member, content], index) => {
    const file = join(folder, `${name}-${index}`)
    writeFileSync(file, content)
    return { name: member, file }
  })
  const members = await Promise.all(sources.map(measure))
  const about = { version: '0.1.0', time: 1_700_000_000_000, host: 'here', python: '3.11.2', accounts: [] }
  const manifest: Manifest = { format: backupFormat, id: name, ...about, members, ...more }
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

const ann = { name: 'jupyter-ann', user: 'ann', uid: 1001, gid: 1001, groups: ['jupyterhub-users'] }
const member = 'homes/jupyter-ann.tar.zst'
const home = { account: ann.name, member, parents: [], bytes: 10, leftOut: [] }
const long = `${'a'.repeat(30)}`

test('a manifest names only accounts that the hub could have made, and only their homes', async () => {
  let number = 0
  const read = async (more: object) =>
    (await readManifest(await archiveOf(`manifest-${number++}`, { [member]: Buffer.from('x') }, more))).accounts.length
  assert.equal(await read({ accounts: [ann], homes: [home] }), 1)
  assert.equal(await read({ accounts: [{ ...ann, user: long, name: unixName(parseUserName(long)) }] }), 1)

  const accounts = [
    { ...ann, name: 'root', user: 'root' },
    { ...ann, name: 'jupyter-bob' },
    { ...ann, name: 'jupyter-x/../../srv', user: 'x/../../srv' },
    { ...ann, user: '-o' },
    { ...ann, uid: 0 },
    { ...ann, gid: 27 },
    { ...ann, uid: '1001' },
    { ...ann, groups: 'sudo' },
    null,
  ]
  for (const account of accounts) {
    await assert.rejects(read({ accounts: [account] }), { code: 'BACKUP_DAMAGED' }, JSON.stringify(account))
  }
  const homes = [
    { ...home, account: 'x/../../srv/victim' },
    { ...home, account: 'jupyter-bob' },
    { ...home, member: 'config/config.yaml' },
    { ...home, member: undefined },
    { ...home, parents: [{ file: '../other.tar.zst', id: 'a', member }] },
    { ...home, parents: [{ file: 'other.tar.zst', id: 'a', member: 'homes/jupyter-bob.tar.zst' }] },
  ]
  for (const one of homes) {
    await assert.rejects(read({ accounts: [ann], homes: [one] }), { code: 'BACKUP_DAMAGED' }, JSON.stringify(one))
  }
  await assert.rejects(read({ accounts: [ann, ann] }), { code: 'BACKUP_DAMAGED' })
  await assert.rejects(read({ accounts: [ann], homes: [home, home] }), { code: 'BACKUP_DAMAGED' })
})

test('what is small in it has a limit, so that no short file unpacks to more than the disk has', async () => {
  const members = [{ name: 'config/config.yaml', size: 65 * 1024 ** 2, sha256: '' }]
  await assert.rejects(readManifest(await archiveOf('bomb', {}, { members })), { code: 'BACKUP_DAMAGED' })
})

test('nobody gets into a group that the configuration of the backup does not name, nor ever into one of root', () => {
  const groups = ['jupyterhub-users', 'chemists', 'physics', 'sudo', 'docker', 'x y']
  const nobody = { ...ann, name: 'jupyter-nobody-of-this-machine', groups, gid: 29_321 }
  const other = { ...nobody, name: `${nobody.name}-2` }
  const [plan, next] = planAccounts([nobody, other], ['chemists', 'sudo', 'x y'], [])
  assert.deepEqual(plan?.groups, ['jupyterhub-users', 'chemists'])
  assert.deepEqual(plan?.dropped, ['physics', 'sudo', 'docker', 'x y'])
  assert.equal(plan?.gid, 29_321)
  assert.equal(next?.gid, undefined, 'the first has it')
})
