/**
 * Making a backup: what is there is copied into a folder beside, as it is at that moment, packed (archive.ts), read back, and
 * renamed. So a file with the name of a backup is a whole one, and whatever ends this leaves nothing but a folder `.new-…`, which the next
 * one removes. Older backups are removed only when the new one is there.
 *
 * Memory stays flat, whatever the homes hold. The hub and all servers run on.
 */
import { randomUUID } from 'node:crypto'
import { constants, existsSync, lstatSync, realpathSync, statSync } from 'node:fs'
import { lstat, mkdir, open, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { openConfigFile } from '../../config/change/in-force.ts'
import type { Layout } from '../../machine/layout.ts'
import { flushFolder } from '../../machine/replace-file.ts'
import { ownVersion } from '../../machine/version.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'
import { classPython, frozenPackages } from '../environment/class-packages.ts'
import { oneAtATime } from '../installation/one-at-a-time.ts'
import { copyState, stateFile } from '../installation/state-copy.ts'
import { measure, readArchive, readManifest, type Source, writeArchive } from './archive.ts'
import { copyAtMost } from './bounded-copy.ts'
import { openHomePrograms } from './home-programs.ts'
import { hubAccounts, keepHome, rememberHomes, withoutHome } from './homes.ts'
import {
  type BackedUpAccount,
  type BackedUpHome,
  backupFormat,
  databaseMember,
  isMemberName,
  type Manifest,
  mostSmall,
} from './manifest.ts'
import { createRoom, inWords, type Room } from './room.ts'

export interface BackupOptions {
  /** A folder, or the name of a file that is not there yet. */
  output: string
  hasHomes: boolean
  /** How many are kept in the folder; undefined: all. */
  keep: number | undefined
  /** Told a line when something takes long, or could not be kept. */
  report: (line: string) => void
}

export interface MadeBackup {
  file: string
  /** Of the file. */
  bytes: number
  manifest: Manifest
  /** Older ones, which were removed. */
  removed: string[]
}

export interface LastBackup {
  file: string
  bytes: number
  /** When it was begun, in milliseconds since 1970. */
  time: number
  hasHomes: boolean
  /** Accounts whose homes could not be kept. */
  withoutHome: string[]
}

const backupName = /^tljh-ts-.+-\d{4}-\d\d-\d\dT\d{6}Z(?:-\d+)?\.tar\.zst$/
const stagingPrefix = '.new-'
/** Of the disk: stays free for the hub, which cannot log anybody in on a full one. */
const reserve = 0.05

/** The folder in which backups are kept where no other is named. */
export function backupFolder(layout: Layout): string {
  return openConfigFile(layout.configFile, () => undefined).current().backup.folder || layout.backups
}

/** The newest whole backup in the usual folder; undefined where there is none. */
export async function lastBackup(layout: Layout): Promise<LastBackup | undefined> {
  const folder = backupFolder(layout)
  const newest = (await backupsIn(folder, () => undefined)).at(-1)
  if (!newest) return undefined
  const { time, homes } = newest.manifest
  const withoutHome = (homes ?? []).flatMap(({ account, problem }) => (problem === undefined ? [] : [account]))
  const file = join(folder, newest.name)
  return { file, bytes: (await stat(file)).size, time, hasHomes: homes !== undefined, withoutHome }
}

/** Throws `BACKUP_…`, and then there is no new one and nothing was removed. */
export async function makeBackup(layout: Layout, options: BackupOptions): Promise<MadeBackup> {
  const time = Date.now()
  const target = await targetOf(layout, options.output, time)
  const folder = realpathSync(dirname(target))
  const file = join(folder, basename(target))
  mustBeRoots(folder)
  const busy = { file: '/run/tljh-ts-backup.lock', why: 'another one is being made' }
  await using _lock = await oneAtATime('No backup was made', busy)
  try {
    for (const name of await readdir(folder)) {
      if (name.startsWith(stagingPrefix)) await rm(join(folder, name), { recursive: true, force: true })
    }
    const staging = join(folder, `${stagingPrefix}${randomUUID()}`)
    await mkdir(staging, { mode: 0o700 })
    try {
      return await makeIn({ layout, staging, file, time, options })
    } finally {
      await rm(staging, { recursive: true, force: true })
    }
  } catch (cause) {
    throw await wordsFor(cause, folder)
  }
}

interface Work {
  layout: Layout
  staging: string
  file: string
  time: number
  options: BackupOptions
}

async function makeIn(work: Work): Promise<MadeBackup> {
  const { layout, staging, file, options } = work
  const folder = dirname(file)
  const { hasHomes, keep, report } = options
  const accounts = hubAccounts(report)
  await mustHaveRoom(folder, layout)
  const small = [...(await stageConfig(layout, staging, report)), ...(await stageState(layout, staging, report))]
  small.push(...(await stagePackages(layout, staging, report)))
  const room = await roomForHomes(folder, small)
  using programs = openHomePrograms(layout)
  const kept = hasHomes ? await stageHomes(accounts, { folder, staging, room, programs }, report) : undefined
  const manifest = await writeAll(work, accounts, small, kept)
  const { homes, id } = manifest
  await rename(join(staging, 'archive'), file)
  try {
    flushFolder(folder)
  } catch (error) {
    // Whoever is told that there is none must not find one that a power cut would take away.
    await rm(file, { force: true })
    throw error
  }
  if (homes) await remember(homes, { folder, staging, file: basename(file), id }, report)
  const removed = keep === undefined ? [] : await prune(folder, keep, report)
  return { file, bytes: (await stat(file)).size, manifest, removed }
}

type Kept = Awaited<ReturnType<typeof keepHome>>

/** Writes `staging/archive`, and reads it back. Where the disk has become full since it was looked at, homes are left out. */
async function writeAll(
  work: Work,
  accounts: BackedUpAccount[],
  small: readonly Source[],
  kept: readonly Kept[] | undefined,
): Promise<Manifest> {
  const { layout, staging, time, options } = work
  const ofHomes = (kept ?? []).flatMap(({ source }) => source ?? [])
  const sources = [...small, ...ofHomes]
  const members: Manifest['members'] = []
  for (const source of sources) members.push(await measure(source))
  const homes = kept?.map(({ home }) => home)
  const manifest: Manifest = {
    ...{ format: backupFormat, id: randomUUID(), version: ownVersion(), time, host: hostname() },
    ...{ python: (await classPython(layout)) ?? '', members, accounts, ...(homes ? { homes } : {}) },
  }
  const beside = join(staging, 'archive')
  try {
    await writeArchive(beside, manifest, sources)
  } catch (error) {
    if (!ofHomes.length || !isDiskFull(error)) throw error
    for (const file of [beside, ...ofHomes.map(source => source.file)]) await rm(file, { force: true })
    options.report('no homes are in it: the disk became full while it was written')
    const without = (home: BackedUpHome) =>
      withoutHome(home.account, home.problem ?? 'the disk became full while it was written')
    return await writeAll(
      work,
      accounts,
      small,
      kept?.map(({ home }) => ({ home: without(home), source: undefined })),
    )
  }
  const { id } = await readArchive(beside)
  if (id !== manifest.id)
    throw notMade('what was written cannot be read back', 'See whether the disk is in order: dmesg')
  return manifest
}

/** The backup is there, and counts; what cannot be remembered makes the next one larger, and no other. */
async function remember(
  homes: readonly BackedUpHome[],
  place: Parameters<typeof rememberHomes>[1],
  report: (line: string) => void,
): Promise<void> {
  try {
    await rememberHomes(homes, place)
  } catch (error) {
    if (!isDiskFull(error)) throw error
    report(`the next backup has whole homes: what is in this one could not be noted in ${place.folder}, which is full`)
  }
}

async function targetOf(layout: Layout, output: string, time: number): Promise<string> {
  if (output === layout.backups) await mkdir(output, { recursive: true, mode: 0o700 })
  const stamp = new Date(time).toISOString().replace(/:|\.\d+/g, '')
  const found = lstatSync(output, { throwIfNoEntry: false })
  if (found && statSync(output).isDirectory()) {
    const name = `tljh-ts-${hostname()}-${stamp}`
    // Two in one second.
    const places = Array.from({ length: 100 }, (_, index) => `${name}${index === 0 ? '' : `-${index + 1}`}.tar.zst`)
    const place = places.find(one => !existsSync(join(output, one)))
    if (place === undefined) throw notMade('a hundred were made in this very second', 'Wait a second')
    return join(output, place)
  }
  if (found) throw notMade(`${output} is there already`, 'Name another file, or a folder')
  if (!output.endsWith('/') && existsSync(dirname(output))) return output
  throw notMade(`there is no folder ${output.endsWith('/') ? output : dirname(output)}`, 'Make it, or mount the disk')
}

/**
 * In a folder that somebody else can change, they could put a link in the place of what root is about to write, or read what is there; and
 * who can change a folder above can put another one in its place.
 */
function mustBeRoots(folder: string): void {
  for (let place = folder; ; place = dirname(place)) {
    const { uid, gid, mode } = statSync(place)
    const isOpen = (mode & 0o002) !== 0 || ((mode & 0o020) !== 0 && gid !== 0)
    if (uid !== 0 || isOpen) throw notRoots(folder, place, uid)
    if (place === dirname(place)) return
  }
}

function notRoots(folder: string, place: string, uid: number): ProblemError {
  const why = `${place} ${uid === 0 ? 'can be written to by others' : `belongs to user id ${uid}`}, not to root alone`
  const another = 'Name a folder that only root can write to, in folders that only root can write to'
  if (place !== folder) return notMade(`${why}, and ${folder} is in it`, another)
  const isShared = (statSync(place).mode & 0o1000) !== 0
  return notMade(why, isShared ? another : `Make it root's: sudo chown root: ${folder} && sudo chmod go-w ${folder}`)
}

/** For what must be in every backup. */
async function mustHaveRoom(folder: string, layout: Layout): Promise<void> {
  const left = await freeIn(folder)
  const database = (await stat(stateFile(layout)).catch(() => undefined))?.size ?? 0
  // As a copy, and compressed.
  if (database * 2 > left) throw full(folder, database * 2, left)
}

async function roomForHomes(folder: string, small: readonly Source[]): Promise<Room> {
  const sizes = await Promise.all(small.map(async ({ file }) => (await stat(file)).size))
  return createRoom((await freeIn(folder)) - sizes.reduce((sum, size) => sum + size, 0))
}

/** In bytes. */
async function freeIn(folder: string): Promise<number> {
  const { bavail, blocks, bsize } = await statfs(folder)
  return (bavail - blocks * reserve) * bsize
}

async function stageConfig({ configFile }: Layout, staging: string, report: (line: string) => void): Promise<Source[]> {
  const folder = dirname(configFile)
  const isLeftOut = (name: string) => name === 'config.lock' || name.endsWith('.new')
  return stageFolder(folder, { staging, as: 'config', isLeftOut, report })
}

async function stageState(layout: Layout, staging: string, report: (line: string) => void): Promise<Source[]> {
  const { state } = layout
  const isLeftOut = (name: string) => name.startsWith(basename(stateFile(layout)))
  const others = await stageFolder(state, { staging, as: 'state', isLeftOut, report })
  const file = join(staging, 'hub.sqlite')
  return (await copyState(layout, file)) ? [{ name: databaseMember, file }, ...others] : others
}

interface Staging {
  staging: string
  /** What the members' names begin with. */
  as: string
  isLeftOut(name: string): boolean
  report(line: string): void
}

/** Copies ordinary files that are not large. The folder may be somebody's who is not root, so no link is followed. */
async function stageFolder(folder: string, { staging, as, isLeftOut, report }: Staging): Promise<Source[]> {
  const sources: Source[] = []
  const found = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  for (const entry of found) {
    const path = join(entry.parentPath, entry.name)
    const name = `${as}/${relative(folder, path)}`
    if (entry.isDirectory() || isLeftOut(entry.name)) continue
    const copy = join(staging, `${as}-${sources.length}`)
    const isKept = entry.isFile() && isMemberName(name) && (await copyFile(path, copy))
    if (isKept) sources.push({ name, file: copy })
    else report(`left out: ${JSON.stringify(path)}`)
  }
  return sources
}

async function copyFile(from: string, to: string): Promise<boolean> {
  try {
    await using handle = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const found = await handle.stat()
    if (!found.isFile() || found.size > mostSmall) return false
    await using target = await open(to, 'wx', 0o600)
    if (await copyAtMost(handle, target, mostSmall)) return true
    await rm(to)
    return false
  } catch (error) {
    // It has gone meanwhile, or is a link.
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ELOOP')) return false
    throw error
  }
}

async function stagePackages(layout: Layout, staging: string, report: (line: string) => void): Promise<Source[]> {
  const frozen = await frozenPackages(layout)
  if (frozen === undefined) {
    report(`the packages of ${layout.classEnvironment} are not in it: there is no such environment`)
    return []
  }
  const file = join(staging, 'requirements.lock')
  await writeFile(file, frozen, { mode: 0o600 })
  return [{ name: 'environment/requirements.lock', file }]
}

async function stageHomes(
  accounts: readonly BackedUpAccount[],
  place: Parameters<typeof keepHome>[1],
  report: (line: string) => void,
): Promise<Kept[]> {
  const kept: Kept[] = []
  for (const account of accounts) {
    if (!(await lstat(join('/home', account.name)).catch(() => undefined))) continue
    const one = await keepHome(account, place)
    if (one.home.problem !== undefined) report(`the home of ${account.user} is not in it: ${one.home.problem}`)
    const { leftOut } = one.home
    if (leftOut.length) report(`not everything of ${account.user} is in it: ${leftOut[0]}`)
    kept.push(one)
  }
  return kept
}

/** All of this machine, the oldest first. */
async function backupsIn(
  folder: string,
  report: (line: string) => void,
): Promise<{ name: string; manifest: Manifest }[]> {
  const names = (await readdir(folder).catch(() => [])).filter(name => backupName.test(name))
  const found: { name: string; manifest: Manifest }[] = []
  for (const name of names) {
    const manifest = await readManifest(join(folder, name)).catch(() => undefined)
    if (manifest?.host === hostname()) found.push({ name, manifest })
    else if (!manifest) report(`${name} is no whole backup; it stays, and is not counted`)
  }
  return found.toSorted((a, b) => a.manifest.time - b.manifest.time)
}

/** Removes the oldest, but for what those that stay are built on. Answers the names. */
async function prune(folder: string, keep: number, report: (line: string) => void): Promise<string[]> {
  const all = await backupsIn(folder, report)
  const staying = all.slice(-keep)
  const needed = new Set(staying.flatMap(({ name, manifest }) => [name, ...parentFiles(manifest.homes ?? [])]))
  const removed = all.map(({ name }) => name).filter(name => !needed.has(name))
  for (const name of removed) await rm(join(folder, name))
  return removed
}

function parentFiles(homes: readonly BackedUpHome[]): string[] {
  return homes.flatMap(({ parents }) => parents.map(({ file }) => file))
}

async function wordsFor(cause: unknown, folder: string): Promise<unknown> {
  const code = codeOf(cause)
  if (code === 'EROFS' || code === 'EACCES') {
    return notMade(
      `${folder} cannot be written to (${code})`,
      'Mount it for writing. The nightly backup writes nowhere below /home, /usr, /boot and /etc',
      cause,
    )
  }
  if (!isDiskFull(cause)) return cause
  return notMade(
    `there is no room left on the disk of ${folder} (${cause.message})`,
    `Make room (df -h ${folder}), or name a folder on another disk: backup.folder, or --output. The older backups are as they were`,
    cause,
  )
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

function full(folder: string, needed: number, left: number): ProblemError {
  return new ProblemError('BACKUP_FULL', {
    what: 'No backup was made',
    why: `it may take ${inWords(needed)}, and ${folder} has ${inWords(left)} for it (a twentieth of the disk stays free for the hub)`,
    fix: `Make room (df -h ${folder}), or name a folder on another disk: backup.folder, or --output. The older backups are as they were`,
  })
}

function notMade(why: string, fix: string, cause?: unknown): ProblemError {
  return new ProblemError('BACKUP_NOT_MADE', { what: 'No backup was made', why, fix, cause })
}
