/**
 * Homes of a backup, put back: each is unpacked beside (`/home/.tljh-restore-…`) by tar(1) as its owner, in a unit of theirs, so that
 * nothing in it reaches anything else, and renamed when it is whole. A home that is there is kept under another name.
 */
import { lstatSync } from 'node:fs'
import { chmod, chown, lstat, mkdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { countIn, runProgram } from '../../machine/run-program.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'
import { readArchive } from './archive.ts'
import type { HomeOwner, HomePrograms } from './home-programs.ts'
import { homeOf } from './homes.ts'
import type { BackedUpHome } from './manifest.ts'
import { complaintsIn, isTooLate, mostRestoreSeconds, tarProgram, watchFor } from './tar.ts'

/** One of the files in which homes are; `id` is what its manifest says. */
export interface HomeArchive {
  file: string
  id: string
  /** It is the one that was named, not one that it builds on. */
  isNamed: boolean
}

/** A home that is about to be renamed, or was. */
export interface Placing {
  account: string
  /** By which it is told from any other folder that has its name: device and inode. */
  folder: string
}

/** The name under which a home that is there is kept, which nothing else has; undefined where there is none. */
export function besideFor(account: string, stamp: string): string | undefined {
  const home = homeOf(account)
  if (!isThere(home)) return undefined
  const name = `${home}.before-restore-${stamp}`
  // A restore that was cut off may have used it, and then somebody has logged in.
  let place = name
  for (let number = 2; isThere(place); number++) place = `${name}-${number}`
  return place
}

/** Whether a home is in its place, where the restore was cut off before it could note so. */
export function isInPlace({ account, folder }: Placing): boolean {
  return isThere(homeOf(account)) && folderId(homeOf(account)) === folder
}

interface Following {
  programs: HomePrograms
  /** Whose account that is, to the hub. */
  userOf: (account: string) => string
  stamp: string
  report: (line: string) => void
  placing: (one: Placing) => void
  done: (account: string) => void
}

/**
 * Unpacks the homes from `archives`, of which those that others build on come first. `report` gets what could not be put back; `placing`
 * is told of each home before it is renamed, and `done` when it is in its place. Throws `RESTORE_HOME` and `BACKUP_DAMAGED`.
 */
export async function putHomes(
  homes: readonly BackedUpHome[],
  archives: readonly HomeArchive[],
  { programs, userOf, stamp, report, placing, done }: Following,
): Promise<void> {
  const ownerOf = (account: string): HomeOwner => ({ name: account, user: userOf(account) })
  for (const { account } of homes) await inOrder(account, () => makeRoom(account))
  for (const archive of archives) {
    const wanted = new Map<string, string>()
    for (const home of homes) {
      const member = memberIn(home, archive)
      if (member !== undefined) wanted.set(member, home.account)
    }
    await readArchive(archive.file, async ({ name }, content) => {
      const account = wanted.get(name)
      if (account === undefined) for await (const _chunk of content);
      else await unpack(ownerOf(account), content, programs, report)
    })
  }
  for (const { account } of homes) {
    await inOrder(account, async () => {
      placing({ account, folder: folderId(besideHome(account)) })
      // Whoever works there would go on in the folder that is moved away.
      if (isThere(homeOf(account))) await programs.stopServer(ownerOf(account))
      await putInPlace(account, stamp)
    })
    done(account)
  }
}

/** Undefined where nothing of that home is in it. */
function memberIn({ parents, member }: BackedUpHome, { id, isNamed }: HomeArchive): string | undefined {
  return isNamed ? member : parents.find(one => one.id === id)?.member
}

function isThere(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false }) !== undefined
}

function folderId(folder: string): string {
  const { dev, ino } = lstatSync(folder)
  return `${dev}:${ino}`
}

function besideHome(account: string): string {
  return join('/home', `.tljh-restore-${account}`)
}

/** Empty, and its owner's. What an earlier attempt left goes. */
async function makeRoom(account: string): Promise<void> {
  const folder = besideHome(account)
  await must(account, 'rm', ['--recursive', '--force', '--one-file-system', '--', folder])
  const { stdout } = await must(account, 'getent', ['passwd', account])
  const [, , uid, gid] = stdout.split(':').map(countIn)
  if (uid === undefined || gid === undefined) throw notPut(account, `getent says ${JSON.stringify(stdout)} of it`)
  await mkdir(folder, { mode: 0o700 })
  await chown(folder, uid, gid)
}

async function unpack(
  owner: HomeOwner,
  content: AsyncIterable<Buffer>,
  programs: HomePrograms,
  report: (line: string) => void,
): Promise<void> {
  const account = owner.name
  const folder = besideHome(account)
  const options = ['--extract', '--file=-', '--listed-incremental=/dev/null', '--preserve-permissions']
  await using tar = await programs.start(owner, {
    ...{ task: 'restore', argv: [tarProgram, ...options, `--directory=${folder}`], input: 'stream' },
    ...{ folder, isFolderWritable: true, mostSeconds: mostRestoreSeconds },
  })
  if (!tar.stdin) throw new Error('tar was started without its input')
  tar.stdout?.resume()
  const watch = watchFor(tar)
  async function* seen(): AsyncGenerator<Buffer> {
    for await (const chunk of content) {
      watch.sawLife()
      yield chunk
    }
  }
  try {
    // tar(1) ends at the end of the archive, with some padding still to come.
    await pipeline(seen(), createZstdDecompress(), tar.stdin).catch(error => {
      if (!isTooLate(error)) throw error
    })
    const code = await tar.ended
    if (code === 0) return
    const said = complaintsIn(await tar.said)
    if (code !== 2 || said.some(line => line.includes('No space left'))) {
      throw notPut(account, said.at(-1) ?? watch.firedFor() ?? `tar ended with code ${code}`)
    }
    report(`not everything of ${account} could be put back: ${said[0] ?? 'tar ended with code 2'}`)
  } finally {
    watch.end()
  }
}

async function putInPlace(account: string, stamp: string): Promise<void> {
  const home = homeOf(account)
  const kept = besideFor(account, stamp)
  const { mode } = await lstat(besideHome(account))
  await chmod(besideHome(account), (mode & 0o770) | 0o700)
  if (kept !== undefined) await rename(home, kept)
  try {
    await rename(besideHome(account), home)
  } catch (error) {
    // Nobody is to be without a home until somebody has mended that.
    if (kept !== undefined) await rename(kept, home)
    throw error
  }
}

/** What the disk says against it, in words. */
async function inOrder(account: string, change: () => Promise<void>): Promise<void> {
  try {
    await change()
  } catch (cause) {
    if (cause instanceof ProblemError) throw cause
    const path = isDiskFull(cause) && 'path' in cause ? String(cause.path) : undefined
    const why = cause instanceof Error ? cause.message : String(cause)
    throw path === undefined
      ? notPut(account, why, cause)
      : notPut(account, `${path} could not be written: there is no room left on its disk`, cause, dirname(path))
  }
}

async function must(account: string, file: string, args: readonly string[]) {
  const result = await runProgram(file, args, { timeoutMs: 3600_000 })
  if (result.code === 0) return result
  throw notPut(account, result.stderr || `${file} ended with code ${result.code}`)
}

function notPut(account: string, why: string, cause?: unknown, place = '/home'): ProblemError {
  return new ProblemError('RESTORE_HOME', {
    what: `The home of ${account} was not put back`,
    why,
    fix: `See whether the disk is full (df -h ${place}), make room, and give the same command again: it goes on where it was`,
    cause,
  })
}
