/**
 * Accounts, groups and folders that the services need, and which version of the code is in force.
 */
import { existsSync, readFileSync, readlinkSync } from 'node:fs'
import { chmod, chown, lstat, mkdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { adminsGroup, usersGroup } from '../../config/users/names.ts'
import { codeFolder, type Layout } from '../../machine/layout.ts'
import { replaceLink } from '../../machine/replace-file.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import type { Changes } from '../installation/changes.ts'

export const hubAccount = 'tljh-hub'
export const groups = [hubAccount, usersGroup, adminsGroup]
/** Downloads that can be taken up again, and uv's packages. */
export const cacheFolder = '/var/cache/tljh-ts'

/** The hub's own account and the groups that TLJH's users know. Logins that uninstall closed are open again. */
export async function ensureAccounts(changes: Changes): Promise<boolean> {
  const done: boolean[] = []
  for (const group of groups) done.push(await changes.addGroup(group))
  const options = ['--system', `--gid=${hubAccount}`, '--no-create-home', '--home-dir=/nonexistent']
  const account = [...options, '--shell=/usr/sbin/nologin', '--comment=tljh-ts hub']
  done.push(await changes.addAccount(hubAccount, account))
  for (const change of changes.list()) {
    if (change.kind !== 'expiry') continue
    await changes.undo(change)
    done.push(true)
  }
  return done.includes(true)
}

export async function ensureFolders(
  { configFile, state, archives, backups }: Layout,
  changes: Changes,
): Promise<boolean> {
  const hubGid = groupNumber(hubAccount)
  const done = [
    await ensureFolder(dirname(configFile), { uid: 0, gid: hubGid, mode: 0o750 }),
    // Homes of people who have left.
    await ensureFolder(archives, { uid: 0, gid: 0, mode: 0o700 }),
    await ensureFolder(backups, { uid: 0, gid: 0, mode: 0o700 }),
    await changes.makeFolder(cacheFolder, { mode: 0o700, isOurs: true }),
  ]
  await mkdir(state, { recursive: true })
  // Files that root has put there, such as a state that was restored.
  const { stdout } = await must('find', [state, '!', '-user', hubAccount, '-print', '-quit'])
  if (stdout) await must('chown', ['--recursive', `${hubAccount}:${hubAccount}`, state])
  await chmod(state, 0o700)
  return [...done, stdout !== ''].includes(true)
}

/** Puts the code that runs in force, where there is none yet. */
export function ensureVersion({ hub }: Layout): boolean {
  const target = join('versions', basename(codeFolder))
  if (linkAt(hub) === target) return false
  replaceLink(hub, target)
  return true
}

/** The version that is in force; undefined where there is none. */
export function versionInForce({ hub }: Layout): string | undefined {
  const target = linkAt(hub)
  return target !== undefined && existsSync(hub) ? basename(target) : undefined
}

/** The number of a group of the machine. */
export function groupNumber(name: string): number {
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find(text => text.startsWith(`${name}:`))
  const gid = Number(line?.split(':')[2])
  if (Number.isInteger(gid)) return gid
  throw problem(`the group ${name} is not in /etc/group`)
}

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

async function ensureFolder(
  path: string,
  { uid, gid, mode }: { uid: number; gid: number; mode: number },
): Promise<boolean> {
  await mkdir(path, { recursive: true, mode })
  const stat = await lstat(path)
  if (stat.uid === uid && stat.gid === gid && (stat.mode & 0o7777) === mode) return false
  await chown(path, uid, gid)
  await chmod(path, mode)
  return true
}

async function must(file: string, args: readonly string[]) {
  const result = await runProgram(file, args, { timeoutMs: 60_000 })
  if (result.code === 0) return result
  throw problem(`${[file, ...args].join(' ')} ended with code ${result.code}: ${result.stderr}`)
}

function problem(why: string): ProblemError {
  return new ProblemError('INSTALL_PLACES', {
    what: 'The installation stopped',
    why,
    fix: 'Mend what it says, and start the same command again; it goes on where it was',
  })
}
