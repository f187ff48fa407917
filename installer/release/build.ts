/**
 * `npm run release -- --site URL`: makes the folder of releases that install.sh and `tljh-ts upgrade` read (site.ts), or adds
 * this checkout's version to one.
 *
 * The archives are the same, byte for byte, whenever and wherever they are made of the same commit, by the same key's owner: what is
 * in them is fixed by the commit (package-lock.json, tools.ts), and their time is the commit's (or SOURCE_DATE_EPOCH).
 */
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ProblemError } from '../../problem.ts'
import { packFolder } from './archive.ts'
import { billOfMaterials } from './bill-of-materials.ts'
import { runOrStop, stopped } from './programs.ts'
import { allowedSigners, makeKey } from './signing.ts'
import { archiveName, publish, siteUrl } from './site.ts'
import { type Arch, archs, pinnedNode, placeNode, placeUv, type Source } from './tools.ts'
import { placeIdentity, placeProduct, productFiles, pruneModules } from './tree.ts'

const usage = `Usage: npm run release -- --site URL [--key FILE] [--out FOLDER] [--arch x64,arm64]

  --site URL     where the folder will be read: install.sh and each release have this address in them
  --key FILE     the ed25519 key that signs (ssh-keygen -t ed25519 -f FILE); the same for all releases of a site
  --out FOLDER   the folder to be published; ./site if not given. A release that is in it stays
  --arch LIST    x64, arm64, or both with a comma between, which is usual

What is fetched is kept in TLJH_TEST_CACHE, or /var/cache/tljh-ts.
`

/** Of one archive: more is slow to download where networks are. */
const mostBytes = 90e6

const checkout = dirname(dirname(import.meta.dirname))

interface Order {
  url: string
  keyFile: string | undefined
  out: string
  wanted: readonly Arch[]
  source: Source
}

async function release({ url, keyFile, out, wanted, source }: Order, report: (line: string) => void): Promise<void> {
  const { environment } = source
  const { version, dependencies } = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8')) as {
    version: string
    dependencies: { node: string }
  }
  if (dependencies.node !== pinnedNode.version) {
    const why = `package.json has node ${dependencies.node}, and installer/release/tools.ts has ${pinnedNode.version}`
    throw stopped(why, 'Write the version and its checksums into tools.ts')
  }
  const files = await productFiles(checkout, environment)
  const seconds = await timeOfRelease(environment)
  await warnOfChanges(environment, report)
  await mkdir(out, { recursive: true })
  const signer = { keyFile: keyFile ?? (await trialKey(out, environment, report)), environment }
  const folder = join(out, version)
  const sums = join(folder, 'SHA256SUMS')
  const published = keyFile && existsSync(sums) ? await readFile(sums, 'utf8') : undefined

  await mkdir(source.cache, { recursive: true })
  const work = await mkdtemp(join(source.cache, '.release-'))
  try {
    const modules = await productionModules(work, environment, report)
    await mkdir(folder, { recursive: true })
    for (const arch of wanted) {
      const tree = join(work, arch, `tljh-ts-${version}`)
      report(`${arch}: laying out`)
      await placeProduct(checkout, files, tree)
      await cp(modules, join(tree, 'node_modules'), { recursive: true, verbatimSymlinks: true })
      await placeNode(arch, join(tree, 'node_modules/node'), source)
      await placeUv(arch, join(tree, 'bin'), source)
      await placeIdentity(tree, { version, arch, site: url, signers: await allowedSigners(signer) })
      report(`${arch}: compressing`)
      const archive = join(work, archiveName(version, arch))
      await packFolder(tree, archive, { seconds, environment })
      const { size } = await stat(archive)
      report(`${arch}: ${(size / 1e6).toFixed(1)} MB`)
      if (size > mostBytes) throw stopped(`the archive is bigger than ${mostBytes / 1e6} MB`, 'See what has grown')
      await cp(archive, join(folder, archiveName(version, arch)))
      await rm(join(work, arch), { recursive: true })
    }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  const lock = await readFile(join(checkout, 'package-lock.json'), 'utf8')
  await writeFile(join(folder, `tljh-ts-${version}.cdx.json`), billOfMaterials(version, lock))
  await publish({ folder: out, url, signer }, version)
  if (published && published !== (await readFile(sums, 'utf8'))) {
    report(
      `Note: ${version} was there already, with other content. Never publish one version twice: raise it in package.json.`,
    )
  }
  report(`${out} holds tljh-ts ${version}. Publish it at ${url}, and install from it with:`)
  report(`  curl -fsSL ${url}/install.sh | sudo bash -s -- --admin NAME`)
}

/** node_modules as package-lock.json has them, without what is for development. No script of a package runs. */
async function productionModules(
  work: string,
  environment: NodeJS.ProcessEnv,
  report: (line: string) => void,
): Promise<string> {
  report('fetching packages (npm ci)')
  for (const name of ['package.json', 'package-lock.json']) {
    const text = forProduction(await readFile(join(checkout, name), 'utf8'))
    await writeFile(join(work, name), text)
  }
  const options = ['--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  await runOrStop('npm', ['ci', `--prefix=${work}`, ...options], environment)
  const modules = join(work, 'node_modules')
  await pruneModules(modules)
  return modules
}

/**
 * A package.json or package-lock.json without what is for development. npm ci would look into that too, and refuses a lock file which
 * lacks the binaries of a linter for other systems.
 */
function forProduction(text: string): string {
  const described = JSON.parse(text) as {
    devDependencies?: unknown
    packages?: Record<string, { dev?: boolean; devDependencies?: unknown }>
  }
  delete described.devDependencies
  for (const [path, found] of Object.entries(described.packages ?? {})) {
    delete found.devDependencies
    if (found.dev) delete described.packages?.[path]
  }
  return JSON.stringify(described)
}

/** Seconds since 1970. */
async function timeOfRelease(environment: NodeJS.ProcessEnv): Promise<number> {
  const given = environment.SOURCE_DATE_EPOCH
  const text = given || (await git(['log', '-1', '--format=%ct'], environment)).trim()
  if (!/^\d+$/.test(text))
    throw stopped(`SOURCE_DATE_EPOCH is ${text}`, 'Write it as seconds since 1970, or leave it away')
  return Number(text)
}

async function warnOfChanges(environment: NodeJS.ProcessEnv, report: (line: string) => void): Promise<void> {
  if ((await git(['status', '--porcelain'], environment)) === '') return
  report(
    'Note: this checkout has changes that are not committed. They are in the release, and nobody else can make it again.',
  )
}

async function git(args: readonly string[], environment: NodeJS.ProcessEnv): Promise<string> {
  return (await runOrStop('git', ['-c', 'safe.directory=*', '-C', checkout, ...args], environment)).stdout
}

/** Beside the folder, and not in it: a private key must not be published by mistake. */
async function trialKey(out: string, environment: NodeJS.ProcessEnv, report: (line: string) => void): Promise<string> {
  const file = `${out}.trial-key`
  if (!existsSync(file)) await makeKey(file, environment)
  report(`No --key was given, so the release is signed with ${file}, which nobody guards: it is for trying only.`)
  return file
}

function readOrder(args: string[], environment: NodeJS.ProcessEnv): Order | undefined {
  const text = { type: 'string' } as const
  const options = { site: text, key: text, out: text, arch: text, help: { type: 'boolean' } } as const
  const { values } = parseArgs({ args, options })
  if (values.help) return undefined
  if (!values.site) throw stopped('no site was named', usage)
  const wanted = (values.arch ?? archs.join()).split(',').map(name => {
    const found = archs.find(arch => arch === name)
    if (!found) throw stopped(`there is no architecture ${JSON.stringify(name)}`, `Write some of: ${archs.join()}`)
    return found
  })
  return {
    url: siteUrl(values.site),
    keyFile: values.key && resolve(values.key),
    out: resolve(values.out ?? 'site'),
    wanted,
    source: { cache: join(environment.TLJH_TEST_CACHE || '/var/cache/tljh-ts', 'downloads/releases'), environment },
  }
}

try {
  const order = readOrder(process.argv.slice(2), process.env)
  if (order) await release(order, line => process.stdout.write(`${line}\n`))
  else process.stdout.write(usage)
} catch (error) {
  if (!(error instanceof ProblemError)) throw error
  process.stderr.write(`${error.what}\n  why: ${error.why}\n  what to do: ${error.fix}\n`)
  process.exitCode = 1
}
