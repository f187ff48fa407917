/**
 * Releases for tests, made in a second or two: x64 or whatever this machine is, compressed in haste.
 *
 * What is large and seldom changes (Node.js, uv, packages) is laid out and compressed once, and kept in the cache, by a hash of
 * the lock file and of the code that lays it out. An archive is that piece and a small one with our own files, one after
 * the other: gzip and tar both read two pieces as one.
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import {
  cp,
  link,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { sameForAll } from '../../../installer/release/archive.ts'
import { type Arch, placeUv } from '../../../installer/release/tools.ts'
import { placeIdentity, placeProduct, productFiles, pruneModules } from '../../../installer/release/tree.ts'
import { execute } from '../host/run-program.ts'
import { CHECKOUT, cacheFolders } from '../image/cache.ts'
import { takeLock } from '../image/cache-lock.ts'

/** What is in a version that was made for a test. */
export interface TestVersion {
  version: string
  /**
   * Changes the version's folder before it is packed. Files of ours may be written to; of node_modules and bin, whose files are
   * shared, a file may only be removed or replaced by another (`rm`, `rename`).
   */
  change?: ((folder: string) => Promise<void>) | undefined
}

/** The only one that tests can run. */
export const testArch: Arch = process.arch === 'arm64' ? 'arm64' : 'x64'

const keepUnusedMs = 14 * 24 * 3600 * 1000

/** Any time will do: the same for all. */
const seconds = 1_700_000_000

/** Makes the archive of a version. */
export async function packTestVersion(
  { version, change }: TestVersion,
  { site, signers, file }: { site: string; signers: string; file: string },
): Promise<void> {
  const runtime = await runtimeFolder()
  const parent = await mkdtemp(join(dirname(runtime), '.version-'))
  const top = `tljh-ts-${version}`
  const folder = join(parent, top)
  try {
    await linkFolder(join(runtime, 'tree'), folder)
    await placeProduct(CHECKOUT, await productFiles(CHECKOUT, process.env), folder)
    const description = join(folder, 'package.json')
    const { version: _old, ...rest } = JSON.parse(await readFile(description, 'utf8')) as Record<string, unknown>
    await writeFile(description, `${JSON.stringify({ ...rest, version }, null, 2)}\n`)
    await placeIdentity(folder, { version, arch: testArch, site, signers })
    await change?.(folder)
    const isRuntimeShared = await hasSameFiles(join(runtime, 'tree'), folder)
    const first = isRuntimeShared ? await packedRuntime(runtime, version) : undefined
    const names = (await readdir(folder)).filter(name => !(first && shared.includes(name)))
    const own = join(parent, 'rest.tar.gz')
    const paths = names.toSorted().map(name => `${top}/${name}`)
    await tar(['--create', '--gzip', `--file=${own}`, ...sameForAll(seconds), `--directory=${parent}`, ...paths])
    await concatenate(first ? [first, own] : [own], file)
  } finally {
    await rm(parent, { recursive: true, force: true })
  }
}

/** What archives share. */
const shared = ['bin', 'node_modules']

/** A folder of the cache with `tree/`, where node_modules and bin lie as in a release. */
async function runtimeFolder(): Promise<string> {
  const hash = createHash('sha256')
  for (const file of ['package-lock.json', 'installer/release/tree.ts', 'installer/release/tools.ts']) {
    hash.update(await readFile(join(CHECKOUT, file)))
  }
  const base = join(cacheFolders().downloads, 'releases')
  await mkdir(base, { recursive: true })
  const folder = join(base, `runtime-${hash.digest('hex').slice(0, 16)}`)
  await using _lock = await takeLock(join(base, 'lock'))
  if (!existsSync(folder)) {
    await removeStale(base)
    const building = await mkdtemp(join(base, '.runtime-'))
    await placeModules(join(building, 'tree/node_modules'))
    await placeUv(testArch, join(building, 'tree/bin'), { cache: base, environment: process.env })
    await rename(building, folder)
  }
  await utimes(folder, new Date(), new Date())
  return folder
}

/** As `npm ci --omit=dev` would, out of the checkout's own. */
async function placeModules(target: string): Promise<void> {
  const lock = JSON.parse(await readFile(join(CHECKOUT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; optional?: boolean }>
  }
  const isNested = (path: string) => path.lastIndexOf('node_modules/') > 0
  for (const [path, { dev }] of Object.entries(lock.packages)) {
    if (!path || dev || !existsSync(join(CHECKOUT, path))) continue
    const copy = join(dirname(target), path)
    const options = { recursive: true, verbatimSymlinks: true }
    const inner = join(CHECKOUT, path, 'node_modules')
    // Packages inside of packages have lines of their own.
    await cp(join(CHECKOUT, path), copy, { ...options, filter: source => isNested(path) || !source.startsWith(inner) })
  }
  await pruneModules(target)
}

/** The compressed piece with node_modules and bin, below the top folder of that version. */
async function packedRuntime(runtime: string, version: string): Promise<string> {
  const piece = join(runtime, `${version}.tar.gz`)
  await using _lock = await takeLock(join(dirname(runtime), 'lock'))
  if (existsSync(piece)) return piece
  const raw = join(runtime, `.${version}.tar`)
  const intoTop = `--transform=flags=r;s,^,tljh-ts-${version}/,`
  const folder = `--directory=${join(runtime, 'tree')}`
  await tar(['--create', `--file=${raw}`, intoTop, ...sameForAll(seconds), folder, ...shared])
  await cutEnd(raw)
  await execute(['gzip', '--force', '--no-name', '-1', raw])
  await rename(`${raw}.gz`, piece)
  return piece
}

/** Takes the empty blocks off the end of a tar file, with which tar says that it is the end. */
async function cutEnd(file: string): Promise<void> {
  await using handle = await open(file, 'r+')
  let { size } = await handle.stat()
  const block = Buffer.alloc(512)
  while (size > 0) {
    await handle.read(block, 0, 512, size - 512)
    if (block.some(byte => byte !== 0)) break
    size -= 512
  }
  await handle.truncate(size)
}

async function linkFolder(source: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true })
  for (const entry of await readdir(source, { withFileTypes: true })) {
    const [from, to] = [join(source, entry.name), join(target, entry.name)]
    if (entry.isDirectory()) await linkFolder(from, to)
    else await link(from, to)
  }
}

/** Whether each file of `folder/node_modules` and `folder/bin` is the shared one. */
async function hasSameFiles(tree: string, folder: string): Promise<boolean> {
  const list = async (root: string) => {
    const found = await Promise.all(
      shared.map(name => readdir(join(root, name), { recursive: true, withFileTypes: true }).catch(() => [])),
    )
    const files = found.flat().filter(entry => !entry.isDirectory())
    const paths = files.map(entry => join(entry.parentPath, entry.name))
    return Promise.all(paths.map(async path => (await stat(path)).ino))
  }
  const [here, there] = [await list(tree), await list(folder)]
  const known = new Set(here)
  return here.length === there.length && there.every(inode => known.has(inode))
}

async function concatenate(pieces: readonly string[], file: string): Promise<void> {
  await rm(file, { force: true })
  for (const piece of pieces) await pipeline(createReadStream(piece), createWriteStream(file, { flags: 'a' }))
}

async function tar(options: readonly string[]): Promise<void> {
  await execute(['tar', ...options])
}

/** Removes what a killed test left, and what has not been used for long. With the lock held. */
async function removeStale(base: string): Promise<void> {
  for (const name of await readdir(base)) {
    const age = Date.now() - (await stat(join(base, name))).mtimeMs
    const isOld = age > (name.startsWith('.') ? 24 * 3600 * 1000 : keepUnusedMs)
    if (isOld && name !== 'lock') await rm(join(base, name), { recursive: true, force: true })
  }
}
