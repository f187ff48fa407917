/**
 * The end of an account: its server stopped, its home archived, account and group deleted, the home removed.
 *
 *   server stopped → no process of the user is left → archive made by the user, and read back → archive in its place →
 *   home renamed to /home/.tljh-removed-NAME → account and group deleted → the tree removed
 *
 * What always holds: nothing is deleted before the archive is whole, read back, and on the disk. Whoever is
 * killed on the way, the same call completes it: each step looks at what is there. Only accounts that spawner/accounts/ensure.ts would make,
 * with their home at its place, are touched. Root reads no file of a home and follows no link in it: the archive is made by
 * spawner/accounts/home-task-main.ts as the user, and the tree is removed by rm(1), which stays on its file system.
 *
 * The configuration must no longer let the user in; that is the caller's to see to.
 */
import { existsSync, readFileSync } from 'node:fs'
import { chmod, lstat, mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Account } from '../../config/users/machine-accounts.ts'
import { type UnixName, type UserName, unixName } from '../../config/users/names.ts'
import { holdLock, lockFile } from '../../machine/lock-file.ts'
import { about } from '../../machine/replace-file.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { type ClearableUnits, clearUnit } from '../../systemd/start-anew.ts'
import type { RemovedAccount } from '../client/protocol.ts'
import { serverUnitName } from '../server/names.ts'
import { findAccount } from './ensure.ts'
import { createHomeTasks, type HomeLayout, mostHours } from './home-task.ts'

export interface AccountRemoval {
  /** Archives the home, and deletes everything. Throws `ACCOUNT_…`, `ARCHIVE_…`, `PROCESSES_LEFT`, `HOME_MOUNTS`; the account is kept then. */
  archive(user: UserName): Promise<RemovedAccount>
  /** Deletes everything without an archive. Throws likewise. */
  remove(user: UserName): Promise<RemovedAccount>
}

/** Of the disk: an archive must not leave the hub's own database without room. */
const reserved = 0.05

export function createAccountRemoval(layout: HomeLayout, units: ClearableUnits): AccountRemoval {
  const tasks = createHomeTasks(layout, units)

  async function depart(user: UserName, keeps: boolean): Promise<RemovedAccount> {
    const name = unixName(user)
    const removed = removedHome(name)
    // Before the turn, so that a server that is slow to stop keeps nobody else waiting; and never the server of somebody else.
    await findAccount(user, name)
    await clearUnit(units, serverUnitName(name))
    await using _turn = await takeTurn(layout.run)
    const account = await findAccount(user, name)
    const wasCutOff = await isThere(removed)
    let archive: string | undefined
    if (account) {
      mustBeMade(user, account)
      mustHoldNoMount(account.home)
      if (await isThere(account.home)) {
        archive = keeps ? await archiveHome(user, account) : await look(user, account)
        try {
          await removeTree(removed)
          await rename(account.home, removed)
        } catch (error) {
          // The home is still there, and the same call makes another one. Each would take as much room again.
          if (archive !== undefined) await rm(archive, { force: true })
          throw error
        }
      } else await look(user, account)
      await deleteAccount(user, name)
    }
    await removeTree(removed)
    if (keeps && wasCutOff) archive ??= await newestArchive(layout.archives, user)
    return { wasThere: account !== undefined || wasCutOff, archive }
  }

  async function look(user: UserName, account: Account): Promise<undefined> {
    await tasks.perform(user, account, { kind: 'look' })
  }

  async function archiveHome(user: UserName, account: Account): Promise<string> {
    const { archives } = layout
    await mkdir(archives, { recursive: true, mode: 0o700 })
    const part = join(archives, `.${user}.part`)
    let path = part
    await rm(part, { force: true })
    try {
      const { bavail, blocks, bsize } = await statfs(archives)
      const most = Math.max(0, Math.floor((bavail - blocks * reserved) * bsize))
      await tasks.perform(user, account, { kind: 'archive', file: part, mostBytes: most })
      await tasks.perform(user, account, { kind: 'verify', file: part })
      await chmod(part, 0o600)
      await onDisk(part)
      const free = await freePath(archives, user)
      await rename(part, free)
      path = free
      await onDisk(archives)
      return path
    } catch (error) {
      await rm(path, { force: true })
      throw about(path, error)
    }
  }

  return { archive: user => depart(user, true), remove: user => depart(user, false) }
}

/** An account that is used in another way, with a home elsewhere, is for its administrator to delete. */
function mustBeMade(user: UserName, { name, home }: Account): void {
  if (home === `/home/${name}`) return
  throw new ProblemError('ACCOUNT_FOREIGN', {
    what: `The account ${name} of ${user} was not deleted`,
    why: `its home is ${home}, so it was not made by the hub`,
    fix: `Delete it by hand: sudo userdel ${name}`,
  })
}

function mustHoldNoMount(home: string): void {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  // As in proc(5): the fifth field is where, with octal escapes.
  const found = mounts
    .map(line =>
      (line.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8))),
    )
    .find(path => path === home || path.startsWith(`${home}/`))
  if (found === undefined) return
  throw new ProblemError('HOME_MOUNTS', {
    what: `${home} was not removed`,
    why: `another file system is mounted at ${found}`,
    fix: `Unmount it and give the same command again: sudo umount ${found}`,
  })
}

async function deleteAccount(user: UserName, name: UnixName): Promise<void> {
  const { code, stderr } = await runProgram('userdel', ['--', name])
  // 6: it is gone already.
  if (code !== 0 && code !== 6) {
    throw new ProblemError('ACCOUNT_NOT_DELETED', {
      what: `The account ${name} of ${user} was not deleted`,
      why: stderr || `userdel ended with code ${code}`,
      fix: `Give the same command again. If a process is in the way: sudo pkill --uid ${name}`,
    })
  }
  // userdel does it where the machine gives each user a group of that name (USERGROUPS_ENAB).
  if ((await runProgram('getent', ['group', name])).code === 0) await runProgram('groupdel', ['--', name])
}

/** rm(1) goes by file descriptors, so nothing that is exchanged under it leads it elsewhere. */
async function removeTree(path: string): Promise<void> {
  if (!(await isThere(path))) return
  mustHoldNoMount(path)
  const { code, stderr } = await runProgram('rm', ['--recursive', '--force', '--one-file-system', '--', path], {
    timeoutMs: mostHours * 3600_000,
  })
  if (code === 0) return
  throw new ProblemError('HOME_NOT_REMOVED', {
    what: `${path} was not removed`,
    why: stderr.split('\n')[0] || `rm ended with code ${code}`,
    fix: stderr.includes('Operation not permitted')
      ? `Files that root has locked against changes are unlocked by: sudo chattr -R -f -i -a ${path}. Then give the same command again`
      : 'Give the same command again',
  })
}

export function removedHome(name: UnixName): string {
  return `/home/.tljh-removed-${name}`
}

/** NAME-2026-12-24.tar.zst, or -2 and so on where that is taken. */
async function freePath(archives: string, user: UserName, now = new Date()): Promise<string> {
  const day = [now.getFullYear(), now.getMonth() + 1, now.getDate()]
    .map(part => String(part).padStart(2, '0'))
    .join('-')
  for (let count = 1; ; count++) {
    const path = join(archives, `${user}-${day}${count === 1 ? '' : `-${count}`}.tar.zst`)
    if (!(await isThere(path))) return path
  }
}

async function newestArchive(archives: string, user: UserName): Promise<string | undefined> {
  const names = await readdir(archives).catch(() => [])
  const own = names.filter(
    name => name.startsWith(`${user}-`) && /^\d{4}-\d\d-\d\d(-\d+)?\.tar\.zst$/.test(name.slice(user.length + 1)),
  )
  const newest = own.toSorted().at(-1)
  return newest && join(archives, newest)
}

async function onDisk(path: string): Promise<void> {
  await using file = await open(path, 'r')
  await file.sync()
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}

/** One removal at a time on the whole machine, whoever orders it: flock(2), which ends with its holder. */
export async function takeTurn(run: string, lock = 'accounts.lock'): Promise<AsyncDisposable> {
  // Without the folder there is no lock, and flock(1) says so.
  const file = existsSync(run) ? lockFile(join(run, lock)) : join(run, lock)
  const turn = await holdLock(file, { waits: true })
  if (turn) return turn
  throw new ProblemError('ACCOUNTS_LOCK', {
    what: 'No account was changed',
    why: `the lock ${join(run, lock)} could not be taken`,
    fix: 'See whether the hub is installed and runs: sudo systemctl status tljh-spawner',
  })
}
