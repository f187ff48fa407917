/**
 * A home in a backup: a tar file, whole or with what has changed since the backup before, which GNU tar knows from a list of its own
 * (`--listed-incremental`).
 *
 * Everything in a home is its owner's doing, so tar(1) runs as the owner, in a unit of theirs (home-programs.ts): it can read nothing that they
 * could not, and its names never become arguments or paths of ours. What it writes is read by root, and not believed. Files that change or
 * vanish meanwhile are no failure; what cannot be read is noted. A home that cannot be kept does not keep the others from being.
 */
import { existsSync, lstatSync, readFileSync, statSync } from 'node:fs'
import { chown, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { userInComment } from '../../config/users/names.ts'
import { replaceFile } from '../../machine/replace-file.ts'
import { countIn } from '../../machine/run-program.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'
import type { Source } from './archive.ts'
import { copyAtMost } from './bounded-copy.ts'
import type { HomePrograms } from './home-programs.ts'
import {
  accountPrefix,
  type BackedUpAccount,
  type BackedUpHome,
  firstUid,
  homeMember,
  isHubAccount,
  type Parent,
} from './manifest.ts'
import { inWords, type Room } from './room.ts'
import { pack } from './tar.ts'

/** A backup builds on so many before it at most: of nightly ones, one a week is whole. */
const mostIncrements = 6
/** Of a list, in bytes: about two million files. A larger one is somebody's mischief, and that home is kept whole each time. */
const mostList = 256 * 1024 ** 2
/** And so far it may grow before tar(1) is killed. */
const mostLentList = 4 * mostList
/** Counting files may take so long; somebody can stop a program of their own. */
const mostCountingSeconds = 300
/** A number and the name of the home. */
const mostCountBytes = 4096
const mostLeftOut = 20

export interface KeptHome {
  home: BackedUpHome
  /** Undefined where there is a problem. */
  source: Source | undefined
}

interface Place {
  folder: string
  staging: string
  room: Room
  programs: HomePrograms
}

/** The hub's accounts on this machine. `report` is told of others that only look like them. */
export function hubAccounts(
  report: (line: string) => void,
  passwd = readFileSync('/etc/passwd', 'utf8'),
  group = readFileSync('/etc/group', 'utf8'),
): BackedUpAccount[] {
  const groups = group.split('\n').map(line => line.split(':'))
  return passwd.split('\n').flatMap(line => {
    const [name = '', , uid = '', gid = '', about = ''] = line.split(':')
    if (!name.startsWith(accountPrefix) || !(Number(uid) >= firstUid)) return []
    const numbers = { uid: Number(uid), gid: Number(gid) >= firstUid ? Number(gid) : Number(uid) }
    const users = [userInComment(about) ?? '', name.slice(accountPrefix.length)]
    const user = users.find(user => isHubAccount({ name, user, ...numbers }))
    if (user === undefined) {
      report(`left out: the account ${name}, which is none that the hub makes`)
      return []
    }
    const memberOf = groups.flatMap(([group = '', , , members = '']) =>
      members.split(',').includes(name) ? [group] : [],
    )
    return [{ name, user, ...numbers, groups: memberOf }]
  })
}

export function homeOf(account: string): string {
  return join('/home', account)
}

/**
 * Writes `staging/ACCOUNT.tar.zst`, and the list for the next time beside it. What goes wrong with one home is a `problem` of that one, so
 * that nobody can keep the others, or the hub's passwords, from being backed up.
 */
export async function keepHome(account: BackedUpAccount, place: Place): Promise<KeptHome> {
  const unkept = (problem: string) => ({ home: withoutHome(account.name, problem), source: undefined })
  const why = unusable(account)
  if (why !== undefined) return unkept(why)
  const parents = parentsOf(account.name, place.folder)
  const file = join(place.staging, `${account.name}.tar.zst`)
  let isKept = false
  try {
    let kept = await attempt(account, parents, file, place)
    // A list that somebody has spoilt is not to be the end of it.
    if (kept.isSpoilt && parents.length) kept = await attempt(account, [], file, place)
    if (typeof kept.home === 'string') return unkept(kept.home)
    isKept = true
    const name = homeMember(account.name)
    return { home: { ...kept.home, member: name }, source: { name, file } }
  } catch (error) {
    if (error instanceof ProblemError) return unkept(`${error.what}: ${error.why}`)
    if (!isDiskFull(error)) throw error
    return unkept(`there is not enough room for it: ${error.message}`)
  } finally {
    place.room.end(isKept)
    if (!isKept) await rm(file, { force: true })
  }
}

export function withoutHome(account: string, problem: string): BackedUpHome {
  return { account, parents: [], bytes: 0, leftOut: [], problem }
}

interface Attempt {
  /** Or why it could not be kept. */
  home: BackedUpHome | string
  /** It might be another matter without the list of last time. */
  isSpoilt: boolean
}

async function attempt(account: BackedUpAccount, parents: Parent[], file: string, place: Place): Promise<Attempt> {
  const { folder, staging, room, programs } = place
  room.end(false)
  await rm(file, { force: true })
  const size = parents.length ? 0 : await sizeOf(account, programs)
  const lacking = room.lacking(size)
  if (lacking !== undefined) {
    const why = `it may take ${inWords(size)}, and ${folder} has ${inWords(lacking)} for it`
    return { home: why, isSpoilt: false }
  }
  const list = join(staging, `${account.name}.snapshot`)
  await rm(list, { force: true })
  // The owner's inode is gone when tar(1) has ended, and what is kept is a copy of root's own: who holds it open could make it as large as
  // they like.
  const lent = join(staging, `${account.name}.lent`)
  await using handle = await open(lent, 'wx+', 0o600)
  try {
    if (parents.length) {
      await using last = await open(listOf(account.name, folder))
      await copyAtMost(last, handle, mostList)
    }
    // tar(1) opens it by its name; the folder that it lies in is root's.
    await chown(lent, account.uid, account.gid)
    const packing = { programs, home: homeOf(account.name), list: lent, mostListBytes: mostLentList, file, room }
    const end = await pack(account, packing)
    if (end.problem !== undefined)
      return { home: `tar did not end as it should: ${end.problem}`, isSpoilt: end.isSpoilt }
    await using kept = await open(list, 'wx', 0o600)
    if (!(await copyAtMost(handle, kept, mostList))) await rm(list)
    return {
      home: { account: account.name, parents, bytes: end.bytes, leftOut: end.lines.slice(0, mostLeftOut) },
      isSpoilt: false,
    }
  } finally {
    await rm(lent, { force: true })
  }
}

/** What the files of a home take that will be kept whole, in bytes; 0 where that cannot be told. */
async function sizeOf(account: BackedUpAccount, programs: HomePrograms): Promise<number> {
  const home = homeOf(account.name)
  const argv = ['/usr/bin/du', '--summarize', '--one-file-system', '--block-size=1', '--', home] as const
  await using du = await programs.start(account, { task: 'size', argv, folder: home, mostSeconds: mostCountingSeconds })
  let text = ''
  for await (const chunk of du.stdout ?? []) text = text.length < mostCountBytes ? text + chunk : text
  return countIn(text) ?? 0
}

/** From now on, the next backups build on this one. Called when it is there. */
export async function rememberHomes(
  homes: readonly BackedUpHome[],
  { folder, staging, file, id }: { folder: string; staging: string; file: string; id: string },
): Promise<void> {
  const lists = join(folder, 'homes')
  await mkdir(lists, { recursive: true, mode: 0o700 })
  for (const { account, member, parents } of homes) {
    const place = join(lists, account)
    // Without it, the next backup has the whole home, whatever happens in between.
    await rm(`${place}.json`, { force: true })
    await rm(listOf(account, folder), { force: true })
    const list = join(staging, `${account}.snapshot`)
    if (member === undefined || !existsSync(list)) continue
    await rename(list, listOf(account, folder))
    const chain: Parent[] = [...parents, { file, id, member }]
    replaceFile(`${place}.json`, JSON.stringify(chain), { mode: 0o600 })
  }
}

function listOf(account: string, folder: string): string {
  return join(folder, 'homes', `${account}.snapshot`)
}

/** What the next backup of that home builds on; nothing where it is to be whole. */
function parentsOf(account: string, folder: string): Parent[] {
  try {
    const chain = JSON.parse(readFileSync(join(folder, 'homes', `${account}.json`), 'utf8')) as Parent[]
    const isThere = chain.every(({ file }) => existsSync(join(folder, file)))
    return isThere && statSync(listOf(account, folder)).size <= mostList && chain.length <= mostIncrements ? chain : []
  } catch {
    return []
  }
}

/** Why that home cannot be kept. /home is root's, so nobody changes that afterwards. */
function unusable({ name, uid }: BackedUpAccount): string | undefined {
  const home = lstatSync(homeOf(name), { throwIfNoEntry: false })
  if (!home) return `there is no ${homeOf(name)}: the server was never started`
  if (!home.isDirectory()) return `${homeOf(name)} is no folder`
  return home.uid === uid ? undefined : `${homeOf(name)} belongs to user id ${home.uid}, and the account has ${uid}`
}
