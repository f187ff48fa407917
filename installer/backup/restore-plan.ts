/**
 * What a restore will do, before anything is done: the backup and all that it builds on are read to the end and compared with their
 * checksums, what is small is laid out in a folder of root's, and the rest is decided by what there is on this machine.
 */
import { createWriteStream, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { newestGood } from '../../config/change/history.ts'
import { planChange } from '../../config/change/plan.ts'
import { type Config, parseConfig } from '../../config/meaning/config.ts'
import type { Layout } from '../../machine/layout.ts'
import { about } from '../../machine/replace-file.ts'
import { ownVersion } from '../../machine/version.ts'
import { ProblemError } from '../../problem.ts'
import { frozenPackages } from '../environment/class-packages.ts'
import { damaged, readArchive, readManifest } from './archive.ts'
import { type BackedUpHome, backupFormat, type Manifest } from './manifest.ts'
import { type AccountPlan, planAccounts } from './restore-accounts.ts'
import { besideFor, type HomeArchive, isInPlace, type Placing } from './restore-homes.ts'
import { inWords } from './room.ts'

/** What was done by a run that was cut off; it is beside what is laid out. */
export interface Progress {
  id: string
  /** When it was begun, in milliseconds since 1970. */
  time: number
  /** The same, for names. */
  stamp: string
  /** The backup of what was there before. */
  before: string | undefined
  /** Accounts whose homes are in place. */
  homes: string[]
  placing: Placing | undefined
  /** Accounts that were not there when it was begun. */
  accounts: string[]
}

export interface RestorePlan {
  file: string
  manifest: Manifest
  /** Where the small members are. */
  folder: string
  progress: Progress
  configText: string
  config: Config
  accounts: AccountPlan[]
  /** Those that are still to be put back. */
  homes: BackedUpHome[]
  archives: HomeArchive[]
  hasOtherPackages: boolean
  lines: string[]
}

/** What was put back longer ago may have been worked with since. In milliseconds. */
const progressMs = 24 * 3600_000
const smallMember = /^(?:config|state|environment)\//

export function restoreFolder({ prefix }: Layout): string {
  return join(prefix, 'restoring')
}

/** Throws `BACKUP_DAMAGED`, `RESTORE_…`, and then nothing was changed. */
export async function planRestore(layout: Layout, file: string, hasHomes: boolean): Promise<RestorePlan> {
  const manifest = await layOut(layout, file)
  const folder = restoreFolder(layout)
  const progress = progressOf(layout, manifest.id)
  const all = hasHomes ? (manifest.homes ?? []).filter(({ member }) => member !== undefined) : []
  const homes = all.filter(({ account }) => !progress.homes.includes(account))
  const archives = await verifyParents(file, manifest.id, homes)
  const configText = textOf(join(folder, 'content/config/config.yaml')) ?? '{}\n'
  const config = parseConfig(configText)
  const accounts = planAccounts(manifest.accounts, config.unixGroups.keys(), progress.accounts)
  const packages = textOf(join(folder, 'content/environment/requirements.lock'))
  const hasOtherPackages = packages !== undefined && packages !== (await frozenPackages(layout))
  const plan = { file, manifest, folder, progress, configText, config, accounts, homes, archives, hasOtherPackages }
  return { ...plan, lines: [...linesFor(plan, layout, config, hasHomes)].map(printable) }
}

/** Reads the whole archive, and lays out what is small in `content`. */
async function layOut(layout: Layout, file: string): Promise<Manifest> {
  const first = await readManifest(file)
  mustBeOurs(file, first)
  const folder = restoreFolder(layout)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  await mustHaveRoom(file, folder, first)
  const content = join(folder, 'content')
  rmSync(content, { recursive: true, force: true })
  const manifest = await readArchive(file, async ({ name }, bytes) => {
    if (!smallMember.test(name)) {
      for await (const _chunk of bytes);
      return
    }
    const copy = join(content, name)
    mkdirSync(dirname(copy), { recursive: true, mode: 0o700 })
    await pipeline(Readable.from(bytes), createWriteStream(copy, { mode: 0o600, flush: true })).catch(error => {
      throw about(copy, error)
    })
  })
  // Somebody else's folder could hold another file of that name by now.
  mustBeOurs(file, manifest)
  return manifest
}

/** The hub's database may be as large as it likes, but nothing that is small may fill the disk. */
async function mustHaveRoom(file: string, folder: string, { members }: Manifest): Promise<void> {
  const needed = members.reduce((sum, { name, size }) => sum + (smallMember.test(name) ? size : 0), 0)
  const { bavail, bsize } = await statfs(folder)
  // It is there twice, when the hub gets it.
  if (needed * 2 <= bavail * bsize) return
  throw new ProblemError('RESTORE_FULL', {
    what: `${basename(file)} was not restored`,
    why: `what is in it beside the homes takes ${inWords(needed * 2)}, and ${folder} has ${inWords(bavail * bsize)}`,
    fix: `Make room (df -h ${folder}). Nothing was changed`,
  })
}

function mustBeOurs(file: string, { format, version }: Manifest): void {
  const ours = ownVersion()
  const minor = (text: string) => text.split('.').slice(0, 2).map(Number)
  const [[major = 0, less = 0], [ourMajor = 0, ourLess = 0]] = [minor(version), minor(ours)]
  if (format <= backupFormat && (major < ourMajor || (major === ourMajor && less <= ourLess))) return
  throw new ProblemError('RESTORE_TOO_NEW', {
    what: `${basename(file)} was not restored`,
    why: `tljh-ts ${version} has made it, and this is ${ours}, which does not know what is in it`,
    fix: `Put that version in force first: sudo tljh-ts upgrade ${version}. Nothing was changed`,
  })
}

/** What is to be completed; a restore of another backup, or of long ago, is not. */
function progressOf(layout: Layout, id: string): Progress {
  const now = Date.now()
  const stamp = new Date(now).toISOString().replace(/:|\.\d+/g, '')
  const begun = { id, time: now, stamp, before: undefined, homes: [], placing: undefined, accounts: [] }
  const known = knownProgress(join(restoreFolder(layout), 'progress.json'))
  // An older version did not note the time.
  const isOurs = known?.id === id && now - (known.time ?? 0) < progressMs && known.time <= now
  if (!known || !isOurs) return begun
  const { homes, placing } = known
  const isPlaced = placing !== undefined && !homes.includes(placing.account) && isInPlace(placing)
  return { ...begun, ...known, homes: isPlaced ? [...homes, placing.account] : homes, placing: undefined }
}

function knownProgress(file: string): Progress | undefined {
  const text = textOf(file)
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Progress)
  } catch {
    return undefined
  }
}

/** The files in which the homes are, those first that others build on. */
async function verifyParents(file: string, id: string, homes: readonly BackedUpHome[]): Promise<HomeArchive[]> {
  const found = new Map<string, { archive: HomeArchive; time: number }>()
  for (const parent of homes.flatMap(({ parents }) => parents)) {
    if (found.has(parent.id)) continue
    const path = join(dirname(file), basename(parent.file))
    if (!existsSync(path)) throw incomplete(file, parent.file)
    const manifest = await readArchive(path)
    if (manifest.id !== parent.id) throw damaged(path, `${basename(file)} builds on another backup of that name`)
    found.set(parent.id, { archive: { file: path, id: parent.id, isNamed: false }, time: manifest.time })
  }
  const parents = [...found.values()].toSorted((a, b) => a.time - b.time)
  return homes.length ? [...parents.map(({ archive }) => archive), { file, id, isNamed: true }] : []
}

function incomplete(file: string, parent: string): ProblemError {
  return new ProblemError('RESTORE_INCOMPLETE', {
    what: `The homes of ${basename(file)} cannot be restored`,
    why: `it holds only what has changed since ${parent}, which is not in ${dirname(file)}`,
    fix: `Copy ${parent} there, or restore all but the homes with --without-homes. Nothing was changed`,
  })
}

function* linesFor(
  plan: Omit<RestorePlan, 'lines'>,
  layout: Layout,
  config: Config,
  hasHomes: boolean,
): Iterable<string> {
  const { manifest, accounts, homes, progress } = plan
  const made = accounts.filter(({ isThere }) => !isThere)
  yield `${basename(plan.file)}: of ${manifest.host}, ${new Date(manifest.time).toISOString()}, tljh-ts ${manifest.version}`
  if (progress.before !== undefined || progress.homes.length) yield 'A restore of it was cut off; this completes it.'
  yield 'Replaced: the configuration (the one here stays in its history), passwords and what else the hub remembers.'
  const inForce = readInForce(layout.configFile)
  for (const line of planChange(inForce, config, []).lines) yield `  ${line}`
  yield 'Everybody is logged out. Servers run on, but for those whose homes are replaced.'
  yield made.length
    ? `Accounts that are made: ${made.map(({ account }) => account.name).join(', ')}`
    : 'Accounts: all are there.'
  for (const { account, uid, groups, dropped } of made) {
    if (uid !== account.uid)
      yield `  ${account.name} had the number ${account.uid}, which is not free here, and gets ${uid ?? 'a new one'}`
    if (groups.length) yield `  ${account.name} gets into ${groups.join(', ')}`
    if (dropped.length)
      yield `  ${account.name} does not get into ${dropped.join(', ')}: the configuration of the backup does not give that`
  }
  for (const account of progress.homes) {
    if (hasHomes) yield `Home of ${account}: is in place since the restore that was cut off, and is not touched`
  }
  for (const home of homes) {
    const beside = besideFor(home.account, progress.stamp)
    yield `Home of ${home.account}: ${beside === undefined ? 'put back' : `replaced; the one here is kept as ${beside}`}`
    if (home.leftOut.length) yield `  not in the backup: ${home.leftOut.join('; ')}`
  }
  for (const { account, problem } of manifest.homes ?? []) {
    if (problem !== undefined) yield `Home of ${account}: not in the backup: ${problem}`
  }
  if (!homes.length) yield hasHomes && !manifest.homes ? 'Homes: none are in the backup.' : 'Homes: not touched.'
  if (plan.hasOtherPackages) yield 'The class environment gets the packages of the backup (this needs the network).'
  yield progress.before !== undefined && existsSync(progress.before)
    ? `A backup of what was here before is in ${progress.before}.`
    : `Before that, a backup of what is here is made in ${layout.backups}.`
}

function readInForce(configFile: string): Config {
  try {
    return parseConfig(readFileSync(configFile))
  } catch {
    return newestGood(configFile) ?? parseConfig('')
  }
}

/** What a backup says could have signs that a terminal obeys. */
function printable(line: string): string {
  return line.replace(/\p{Cc}|\p{Cf}/gu, '?')
}

function textOf(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}
