/**
 * A home in a backup: a tar file, whole or with what has changed since the backup before, which GNU tar knows from a list of its own
 * (`--listed-incremental`).
 *
 * Everything in a home is its owner's doing, so tar(1) runs as the owner, with no right but theirs: it can read nothing that they could not,
 * and its names never become arguments or paths of ours. The list and the file belong to root, and tar gets them opened. Files that change or
 * vanish meanwhile are no failure; what cannot be read is noted. A home that cannot be kept does not keep the others from being.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, createWriteStream, existsSync, lstatSync, readFileSync } from 'node:fs'
import { chmod, chown, type FileHandle, mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress } from 'node:zlib'
import { runCommand } from '../../commands.ts'
import type { BackedUpAccount, BackedUpHome, Parent, Source } from './archive.ts'

/** A backup builds on so many before it at most: of nightly ones, one a week is whole. */
const mostIncrements = 6
/** Somebody can stop a program of their own. */
const stallMs = 10 * 60_000
const mostLeftOut = 20
/** Below are the system's own accounts, see login.defs(5). */
const firstUid = 1000
const accountPrefix = 'jupyter-'
const comment = 'JupyterHub user '

/** Counts down what may still be written; throws an error with the code ENOSPC below zero. */
export interface Room {
  take(bytes: number): void
}

export interface KeptHome {
  home: BackedUpHome
  /** Undefined where there is a problem. */
  source: Source | undefined
}

/** The hub's accounts on this machine. */
export function hubAccounts(
  passwd = readFileSync('/etc/passwd', 'utf8'),
  group = readFileSync('/etc/group', 'utf8'),
): BackedUpAccount[] {
  const groups = group.split('\n').map(line => line.split(':'))
  return passwd.split('\n').flatMap(line => {
    const [name = '', , uid = '', gid = '', about = ''] = line.split(':')
    if (!name.startsWith(accountPrefix) || !(Number(uid) >= firstUid)) return []
    const user = about.startsWith(comment) ? about.slice(comment.length) : name.slice(accountPrefix.length)
    const memberOf = groups.flatMap(([group = '', , , members = '']) =>
      members.split(',').includes(name) ? [group] : [],
    )
    return [{ name, user, uid: Number(uid), gid: Number(gid), groups: memberOf }]
  })
}

export function homeOf(account: string): string {
  return join('/home', account)
}

/** What the homes' files take that will be kept whole, in bytes: each, because none is written before there is room for it. */
export async function homeSizes(accounts: readonly BackedUpAccount[], folder: string): Promise<number[]> {
  const sizes: number[] = []
  for (const account of accounts) {
    if (unusable(account) !== undefined || parentsOf(account.name, folder).length) continue
    const du = asOwner(account.name, [
      'du',
      '--summarize',
      '--one-file-system',
      '--block-size=1',
      '--',
      homeOf(account.name),
    ])
    const { stdout } = await runCommand('setpriv', du, { timeoutMs: 3600_000 })
    sizes.push(Number.parseInt(stdout, 10) || 0)
  }
  return sizes
}

/** Writes `staging/ACCOUNT.tar.zst`, and the list for the next time beside it. Throws only where the disk is full. */
export async function keepHome(
  account: BackedUpAccount,
  { folder, staging, room }: { folder: string; staging: string; room: Room },
): Promise<KeptHome> {
  const home: BackedUpHome = { account: account.name, parents: parentsOf(account.name, folder), bytes: 0, leftOut: [] }
  const problem = unusable(account)
  if (problem !== undefined) return { home: { ...home, parents: [], problem }, source: undefined }
  const file = join(staging, `${account.name}.tar.zst`)
  const list = join(staging, `${account.name}.snapshot`)
  if (home.parents.length) copyFileSync(listOf(account.name, folder), list)
  else await writeFile(list, '', { mode: 0o600 })
  await chmod(list, 0o600)
  // It is opened once more, by the name in /proc, for which it must be the owner's; its folder is root's.
  await chown(list, account.uid, account.gid)
  const handle = await open(list, 'r+')
  try {
    const end = await pack(account.name, file, handle, room)
    if (end.code > 2 || end.stalled) {
      const why = end.stalled ? `nothing came from it for ${stallMs / 60_000} minutes` : end.lines.at(-1)
      return { home: { ...home, parents: [], problem: `tar did not end as it should: ${why}` }, source: undefined }
    }
    const member = `homes/${account.name}.tar.zst`
    const leftOut = end.code === 2 ? end.lines.slice(0, mostLeftOut) : []
    return { home: { ...home, member, bytes: end.bytes, leftOut }, source: { name: member, file } }
  } finally {
    await handle.close()
    await chown(list, 0, 0)
  }
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
    if (member === undefined) continue
    await rename(join(staging, `${account}.snapshot`), listOf(account, folder))
    const chain: Parent[] = [...parents, { file, id, member }]
    await writeFile(`${place}.json.new`, JSON.stringify(chain), { mode: 0o600, flush: true })
    await rename(`${place}.json.new`, `${place}.json`)
  }
}

function listOf(account: string, folder: string): string {
  return join(folder, 'homes', `${account}.snapshot`)
}

/** What the next backup of that home builds on; nothing where it is to be whole. */
function parentsOf(account: string, folder: string): Parent[] {
  try {
    const chain = JSON.parse(readFileSync(join(folder, 'homes', `${account}.json`), 'utf8')) as Parent[]
    const isThere = chain.every(({ file }) => existsSync(join(folder, file))) && existsSync(listOf(account, folder))
    return isThere && chain.length <= mostIncrements ? chain : []
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

/** The arguments of setpriv(1) for a program with the rights of an account, and no way to more. */
export function asOwner(account: string, argv: readonly string[]): string[] {
  return [`--reuid=${account}`, `--regid=${account}`, '--init-groups', '--no-new-privs', '--', ...argv]
}

interface Ending {
  code: number
  bytes: number
  lines: string[]
  stalled: boolean
}

async function pack(account: string, file: string, list: FileHandle, room: Room): Promise<Ending> {
  const options = ['--create', '--file=-', '--sparse', '--one-file-system', '--numeric-owner', '--no-check-device']
  const place = ['--listed-incremental=/proc/self/fd/3', `--directory=${homeOf(account)}`, '.']
  const tar = spawn('setpriv', asOwner(account, ['tar', ...options, ...place]), {
    stdio: ['ignore', 'pipe', 'pipe', list.fd],
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
  })
  const { stdout, stderr } = tar
  if (!stdout || !stderr) throw new Error('tar was started without its outputs')
  const ended = once(tar, 'close')
  const lines = complaintsOf(stderr)
  const watch = watchFor(tar)
  let bytes = 0
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      watch.sawLife()
      bytes += chunk.length
      done(null, chunk)
    },
  })
  const written = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        room.take(chunk.length)
        done(null, chunk)
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)))
      }
    },
  })
  try {
    const compress = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } })
    await pipeline(stdout, counted, compress, written, createWriteStream(file, { mode: 0o600, flush: true }))
    const [code] = await ended
    return { code: code ?? 255, bytes, lines: await lines, stalled: watch.hasFired() }
  } finally {
    watch.end()
    tar.kill('SIGKILL')
  }
}

/** What tar(1) says, as long as it is not too much. */
export async function complaintsOf(stderr: Readable): Promise<string[]> {
  let text = ''
  for await (const chunk of stderr) text = text.length < 64 * 1024 ? text + chunk : text
  return text.split('\n').filter(line => line.startsWith('tar: '))
}

/** Kills a program of somebody else's rights when nothing is heard of it for long. */
export function watchFor(child: ChildProcess) {
  let hasFired = false
  const timer = setTimeout(() => {
    hasFired = true
    child.kill('SIGKILL')
  }, stallMs)
  return { sawLife: () => void timer.refresh(), hasFired: () => hasFired, end: () => clearTimeout(timer) }
}
