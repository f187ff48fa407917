/**
 * The end of an account: its server stopped, its home archived, account and group deleted, the home removed.
 *
 *   server stopped → no process of the user is left → archive made by the user, and compared → archive in its place →
 *   home renamed to /home/.tljh-removed-NAME → account and group deleted → the tree removed
 *
 * What always holds: nothing is deleted before the archive is there, compared with the home, and on the disk. Whoever is
 * killed on the way, the same call completes it: each step looks at what is there. Only accounts that spawner/accounts.ts would make,
 * with their home at its place, are touched. Root reads no file of a home and follows no link in it: the archive is made by
 * spawner/home-archive.ts as the user, and the tree is removed by rm(1), which stays on its file system.
 *
 * The configuration must no longer let the user in; that is the caller's to see to.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chmod, lstat, mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { runCommand } from '../commands.ts'
import { shortUnixName, type UnixName, type UserName, unixName } from '../config/names.ts'
import type { Layout } from '../config/paths.ts'
import { ProblemError } from '../problem.ts'
import { lastLines } from '../systemd/journal.ts'
import { escapeUnitName, type UnitName, type UnitProperties, type Units, unitName } from '../systemd/units.ts'
import { type Account, findAccount } from './accounts.ts'
import { serverUnitName } from './unit.ts'

export interface Departure {
  /** Whether there was anything of the user on the machine. */
  wasThere: boolean
  /** The path of the archive; undefined where there was no home, or none was wanted. */
  archive: string | undefined
}

export interface Departures {
  /** Archives the home, and deletes everything. Throws `ACCOUNT_…`, `ARCHIVE_…`, `PROCESSES_LEFT`, `HOME_MOUNTS`; the account is kept then. */
  archive(user: UserName): Promise<Departure>
  /** Deletes everything without an archive. Throws likewise. */
  remove(user: UserName): Promise<Departure>
}

type Task = 'look' | 'archive' | 'verify'

/** As spawner/home-archive.ts ends. */
const exitCodes = { processes: 10, tar: 11, full: 12, differs: 13 }
/** A home of a terabyte on a slow disk takes hours. */
const mostHours = 12
/** Of the disk: an archive must not leave the hub's own database without room. */
const reserved = 0.05
const mostLines = 20
const mostAttempts = 5

export function createDepartures(layout: Pick<Layout, 'archives' | 'hub' | 'run'>, units: Units): Departures {
  async function depart(user: UserName, keeps: boolean): Promise<Departure> {
    await using _turn = await takeTurn(layout.run)
    const name = unixName(user)
    const removed = removedHome(name)
    await clear(serverUnitName(name))
    const account = await findAccount(user, name)
    const wasCutOff = await isThere(removed)
    let archive: string | undefined
    if (account) {
      mustBeMade(user, account)
      mustHoldNoMount(account.home)
      if (await isThere(account.home)) {
        archive = keeps ? await archiveHome(user, account) : await look(user, account)
        await removeTree(removed)
        await rename(account.home, removed)
      } else await look(user, account)
      await deleteAccount(user, name)
    }
    await removeTree(removed)
    if (keeps && wasCutOff) archive ??= await newestArchive(layout.archives, user)
    return { wasThere: account !== undefined || wasCutOff, archive }
  }

  async function look(user: UserName, account: Account): Promise<undefined> {
    await perform(user, account, 'look')
  }

  async function archiveHome(user: UserName, account: Account): Promise<string> {
    const { archives } = layout
    await mkdir(archives, { recursive: true, mode: 0o700 })
    const part = join(archives, `.${user}.part`)
    await rm(part, { force: true })
    try {
      const { bavail, blocks, bsize } = await statfs(archives)
      const most = Math.max(0, Math.floor((bavail - blocks * reserved) * bsize))
      await perform(user, account, 'archive', part, most)
      await perform(user, account, 'verify', part)
      await chmod(part, 0o600)
      await onDisk(part)
      const path = await freePath(archives, user)
      await rename(part, path)
      await onDisk(archives)
      return path
    } catch (error) {
      await rm(part, { force: true })
      throw error
    }
  }

  /** Has spawner/home-archive.ts do something as the user. Throws what it came to, in words. */
  async function perform(user: UserName, account: Account, task: Task, part = '', most = 0): Promise<void> {
    const name = unitName(`tljh-home-${task}-${escapeUnitName(shortUnixName(account.name))}.service`)
    const argv = [
      join(layout.hub, 'node_modules/node/bin/node'),
      '--disable-warning=ExperimentalWarning',
      join(layout.hub, 'spawner/home-archive.ts'),
      ...[task, account.name, String(most)],
    ] as const
    const properties: UnitProperties = {
      ...sandbox(account),
      Description: `Home of ${user}: ${task}`,
      ExecStart: [{ argv: [argv[0], ...argv.slice(1)] }],
      ...(task === 'archive' ? { StandardOutputFileToTruncate: part } : {}),
      ...(task === 'verify' ? { StandardInputFile: part } : {}),
    }
    const result = await started(name, properties)
    if (result === 'done') return
    const unit = await units.inspectUnit(name)
    const lines = unit ? (await lastLines({ unit, count: mostLines })).map(({ text }) => text) : []
    await units.resetFailedUnit(name)
    throw await problemOf(user, account, layout.archives, { code: unit?.execMainStatus, result, lines })
  }

  /** Runs a unit to its end. What a killed command left of it is ended first; a unit that has just ended is forgotten a moment later. */
  async function started(name: UnitName, properties: UnitProperties): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      await clear(name)
      try {
        return await (await units.startTransientUnit(name, properties)).done
      } catch (error) {
        const isLeft = error instanceof ProblemError && error.code === 'SYSTEMD_UNIT_EXISTS'
        if (!isLeft || attempt === mostAttempts) throw error
        await delay(attempt * 20)
      }
    }
  }

  async function clear(name: UnitName): Promise<void> {
    const unit = await units.inspectUnit(name)
    if (!unit) return
    if (unit.active !== 'inactive' && unit.active !== 'failed') {
      try {
        await (await units.stopUnit(name)).done
      } catch (error) {
        if (!(error instanceof ProblemError && error.code === 'SYSTEMD_NO_SUCH_UNIT')) throw error
      }
    }
    await units.resetFailedUnit(name)
  }

  return { archive: user => depart(user, true), remove: user => depart(user, false) }
}

/** Nothing but the home, to read. */
function sandbox({ name, home }: Account): UnitProperties {
  return {
    Type: 'oneshot',
    User: name,
    UMask: 0o077,
    TimeoutStartUSec: mostHours * 3600 * 1_000_000,
    // It is never in the way of a class.
    CPUWeight: 10,
    MemoryMax: 1024 ** 3,
    OOMScoreAdjust: 500,
    LimitCORE: 0,
    ProtectSystem: 'strict',
    ProtectHome: 'tmpfs',
    BindReadOnlyPaths: [{ source: home }],
    PrivateTmp: true,
    PrivateIPC: true,
    PrivateNetwork: true,
    ProtectProc: 'invisible',
    InaccessiblePaths: ['-/run/dbus', '-/run/systemd/private'],
    NoNewPrivileges: true,
    ProtectKernelTunables: true,
    ProtectKernelModules: true,
    ProtectKernelLogs: true,
    ProtectClock: true,
    ProtectHostname: true,
    RestrictRealtime: true,
    RestrictSUIDSGID: true,
    RestrictNamespaces: 0,
    LockPersonality: true,
  }
}

interface Ending {
  code: number | undefined
  result: string
  lines: readonly string[]
}

async function problemOf(
  user: UserName,
  { name, home }: Account,
  archives: string,
  { code, result, lines }: Ending,
): Promise<ProblemError> {
  const what = `The account of ${user} was not deleted`
  const unreadable = lines.filter(line => line.startsWith('tar: '))
  switch (code) {
    case exitCodes.processes:
      return processesLeft(user, name, lines.flatMap(line => /^process (.*)/.exec(line)?.[1] ?? []))
    case exitCodes.full: {
      const bytes = Number(lines.flatMap(line => /^bytes (\d+)/.exec(line)?.[1] ?? [])[0])
      const { bavail, bsize } = await statfs(archives)
      return new ProblemError('ARCHIVE_FULL', {
        what,
        why: `there is no room for the archive: the files take ${megabytes(bytes)}, and ${archives} has ${megabytes(bavail * bsize)} left (a twentieth of the disk stays free for the hub)`,
        fix: `Make room (df -h ${archives}; older archives can be moved to another machine) and give the same command again. Nothing was deleted`,
      })
    }
    case exitCodes.tar:
      return new ProblemError('ARCHIVE_UNREADABLE', {
        what,
        why: `not everything in ${home} can be read by ${name}: ${unreadable[0]?.slice(5) ?? 'see the journal'}`,
        fix: `Hand it over and give the same command again: sudo chown --recursive --no-dereference ${name}: ${home} && sudo chmod --recursive u+rX ${home}`,
      })
    case exitCodes.differs:
      return new ProblemError('ARCHIVE_DIFFERS', {
        what,
        why: `the archive is not the same as the home: ${lines.at(-1) ?? 'see the journal'}`,
        fix: 'Give the same command again. If it happens again, look whether the disk is in order: sudo dmesg',
      })
    default:
      return new ProblemError('ARCHIVE_NOT_MADE', {
        what,
        why: `the archive could not be made (${result}, exit code ${code ?? 'unknown'}): ${lines.at(-1) ?? 'it said nothing'}`,
        fix: `Find out more with: sudo journalctl --grep=tljh-home. Nothing was deleted`,
      })
  }
}

function processesLeft(user: UserName, name: UnixName, processes: readonly string[]): ProblemError {
  return new ProblemError('PROCESSES_LEFT', {
    what: `The account of ${user} was not deleted`,
    why: `${name} still has processes outside of the server: ${processes.join(', ')}`,
    fix: `End them, for example with: sudo pkill --uid ${name}. Then give the same command again`,
  })
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
    .map(line => (line.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8))))
    .find(path => path === home || path.startsWith(`${home}/`))
  if (found === undefined) return
  throw new ProblemError('HOME_MOUNTS', {
    what: `${home} was not removed`,
    why: `another file system is mounted at ${found}`,
    fix: `Unmount it and give the same command again: sudo umount ${found}`,
  })
}

async function deleteAccount(user: UserName, name: UnixName): Promise<void> {
  const { code, stderr } = await runCommand('userdel', ['--', name])
  // 6: it is gone already.
  if (code !== 0 && code !== 6) {
    throw new ProblemError('ACCOUNT_NOT_DELETED', {
      what: `The account ${name} of ${user} was not deleted`,
      why: stderr || `userdel ended with code ${code}`,
      fix: `Give the same command again. If a process is in the way: sudo pkill --uid ${name}`,
    })
  }
  // userdel does it where the machine gives each user a group of that name (USERGROUPS_ENAB).
  if ((await runCommand('getent', ['group', name])).code === 0) await runCommand('groupdel', ['--', name])
}

/** rm(1) goes by file descriptors, so nothing that is exchanged under it leads it elsewhere. */
async function removeTree(path: string): Promise<void> {
  if (!(await isThere(path))) return
  mustHoldNoMount(path)
  const { code, stderr } = await runCommand('rm', ['--recursive', '--force', '--one-file-system', '--', path], {
    timeoutMs: mostHours * 3600_000,
  })
  if (code === 0) return
  throw new ProblemError('HOME_NOT_REMOVED', {
    what: `${path} was not removed`,
    why: stderr.split('\n')[0] || `rm ended with code ${code}`,
    fix: 'Give the same command again',
  })
}

export function removedHome(name: UnixName): string {
  return `/home/.tljh-removed-${name}`
}

/** NAME-2026-12-24.tar.zst, or -2 and so on where that is taken. */
async function freePath(archives: string, user: UserName, now = new Date()): Promise<string> {
  const day = [now.getFullYear(), now.getMonth() + 1, now.getDate()].map(part => String(part).padStart(2, '0')).join('-')
  for (let count = 1; ; count++) {
    const path = join(archives, `${user}-${day}${count === 1 ? '' : `-${count}`}.tar.zst`)
    if (!(await isThere(path))) return path
  }
}

async function newestArchive(archives: string, user: UserName): Promise<string | undefined> {
  const names = await readdir(archives).catch(() => [])
  const own = names.filter(name => name.startsWith(`${user}-`) && /^\d{4}-\d\d-\d\d(-\d+)?\.tar\.zst$/.test(name.slice(user.length + 1)))
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

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)} MB`
}

/** One departure at a time on the whole machine, whoever orders it: flock(2), which ends with its holder. */
export async function takeTurn(run: string): Promise<AsyncDisposable> {
  const child = spawn('flock', ['--no-fork', join(run, 'accounts.lock'), 'sh', '-c', 'echo; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true,
  })
  const ended = once(child, 'close')
  await Promise.race([once(child.stdout, 'data'), ended])
  return {
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await ended
    },
  }
}
