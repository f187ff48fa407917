/**
 * What `tljh-ts uninstall` does, in an order in which each step can be cut off and done again:
 *
 *   services and users' servers stop → logins are closed (before the file goes that keeps them from ssh) → what the journal of changes
 *   names is undone, the newest first → with --purge, homes, accounts and groups → caches and logs → our own folder
 *
 * An account whose home could not be removed stays, and so does the command then: nobody else may get the number that owns what is left.
 * Of our own folder, what is ours goes by its name; what somebody else has put there stays.
 *
 * The last act removes the code that does all this, so it is a small script of its own, which until then takes the place of
 * `tljh-ts`: whenever it is cut off, the same command goes on. A step that cannot be done is told, and the others follow.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Layout } from '../machine/layout.ts'
import { replaceBy, replaceFile } from '../machine/replace-file.ts'
import { type CommandResult, runProgram } from '../machine/run-program.ts'
import { ProblemError } from '../problem.ts'
import { notesOf } from './environment/class-environment.ts'
import type { Change, Changes } from './installation/changes.ts'
import { allUnits } from './installation/units.ts'
import { reloadSshd } from './steps/confinement.ts'
import { cacheFolder } from './steps/places.ts'

export interface Removal {
  layout: Layout
  changes: Changes
  /** What is to be undone, the oldest first. */
  list: readonly Change[]
  accounts: readonly UserAccount[]
  /** With homes, accounts and everything. */
  isPurge: boolean
  /** Homes and what is left of them, which go with `isPurge`. */
  homes: readonly string[]
}

/** A user's, on the machine. */
export interface UserAccount {
  name: string
  home: string
}

export interface Removed {
  /** Sentences. */
  complaints: string[]
  /** Files that were not as we had written them, and where a copy is. */
  copies: { path: string; copy: string }[]
}

export const wrapper = '/usr/local/bin/tljh-ts'
const copiesFolder = '/var/backups/tljh-ts'
const journalNamespace = 'tljh-users'
const stopTimeoutMs = 120_000
/** Homes of a class on a slow disk have millions of files. */
const removeTimeoutMs = 12 * 3_600_000

export async function remove(removal: Removal): Promise<Removed> {
  const { layout, changes, list, accounts, isPurge, homes } = removal
  const removed: Removed = { complaints: [], copies: [] }
  const attempt = async (what: string, work: () => unknown): Promise<boolean> => {
    try {
      await work()
      return true
    } catch (error) {
      const why = error instanceof ProblemError ? error.why : error instanceof Error ? error.message : String(error)
      removed.complaints.push(`${what}: ${why}`)
      return false
    }
  }

  await attempt('The services could not be stopped', stopServices)
  await attempt('The users’ servers could not be stopped', stopServers)
  if (!isPurge) {
    for (const { name } of accounts)
      await attempt(`The login of ${name} was not closed`, () => changes.expireAccount(name))
  }
  for (const change of list.toReversed()) {
    if (!goesEarly(change)) continue
    await attempt(`${nameOf(change)} is as it was`, async () => {
      if (change.kind === 'file' && !changes.isAsWritten(change.path)) removed.copies.push(keepCopy(change.path))
      await changes.undo(change)
    })
  }
  await attempt('systemd did not read its files again', () => must('systemctl', ['daemon-reload']))
  await attempt('sshd did not read its files again', reloadSshd)
  let areGone = true
  if (isPurge) {
    const left = new Set<string>()
    for (const { name } of accounts) await attempt(`What ${name} runs was not ended`, () => endProcesses(name))
    for (const home of homes) {
      if (!(await attempt(`${home} was not removed`, () => removeTree(home)))) left.add(home)
    }
    for (const { name, home } of accounts) {
      const isDone = await attempt(`The account ${name} was not removed`, () => {
        if (left.has(home)) throw new Error('its home is still there')
        return removeAccount(name)
      })
      if (!isDone) areGone = false
    }
    areGone &&= left.size === 0
  }
  // The groups tell whose an account is that is left.
  if (isPurge && areGone) {
    for (const change of list.toReversed()) {
      if (change.kind !== 'account' && change.kind !== 'group') continue
      await attempt(`${nameOf(change)} was not removed`, () => changes.undo(change))
    }
  }
  for (const folder of [...journals(), ...stamps(), cacheFolder, layout.run, layout.classEnvironment]) {
    await attempt(`${folder} was not removed`, () => removeTree(folder))
  }
  for (const note of notesOf(layout)) rmSync(note, { force: true })
  await attempt(`${dirname(layout.versions)} was not removed`, () => {
    if (!areGone) throw new Error('tljh-ts is needed once more, for the homes and accounts that are left')
    return finish(layout, isPurge)
  })
  return removed
}

/** In words. */
export function nameOf(change: Change): string {
  if (change.kind === 'packages') return `packages ${change.names.join(', ')}`
  return 'path' in change ? change.path : `${change.kind} ${change.name}`
}

/** Accounts and groups own what may stay, and the command is needed until the end. */
export function goesEarly(change: Change): boolean {
  if (change.kind === 'file' || change.kind === 'symlink') return change.path !== wrapper
  return change.kind === 'unit' || change.kind === 'folder'
}

/** All that tljh-ts makes in PREFIX. It may be a folder that somebody else uses, too. */
export function ownFolders(layout: Layout): string[] {
  const { prefix, versions, classEnvironment, configFile, state, archives, backups } = layout
  return [
    ...[dirname(versions), classEnvironment, ...notesOf(layout), dirname(configFile), state, archives, backups],
    // Of import-tljh and of restore.
    ...['before-import', 'restoring'].map(name => join(prefix, name)),
  ]
}

/** The hub first, which would start servers again. */
async function stopServices(): Promise<void> {
  const units = [...allUnits, 'tljh-backup.service', 'tljh-pam@*.service', 'tljh-home-*.service']
  const { stdout } = await must('systemctl', ['list-units', '--all', '--plain', '--no-legend', ...units])
  const loaded = stdout.split('\n').flatMap(line => line.trim().split(/\s+/)[0] || [])
  if (loaded.length) await must('systemctl', ['stop', ...loaded])
}

/** With all that stands in their slice, the folders of their sockets, and the journal that they write to. */
async function stopServers(): Promise<void> {
  await must('systemctl', ['stop', 'tljh-user-*.service', 'tljh.slice', 'run-tljh-users-*.mount'])
  await must('systemctl', [
    'stop',
    `systemd-journald@${journalNamespace}.service`,
    `systemd-journald*@${journalNamespace}.socket`,
  ])
  await runProgram('systemctl', ['reset-failed', 'tljh-*'])
}

/** Of what somebody has edited. */
function keepCopy(path: string): { path: string; copy: string } {
  const copy = join(copiesFolder, path)
  mkdirSync(dirname(copy), { recursive: true, mode: 0o700 })
  replaceBy(copy, '.new', beside => cpSync(path, beside, { preserveTimestamps: true, verbatimSymlinks: true }))
  return { path, copy }
}

/** What still runs in that name is no server of ours: a session, a job of cron's. */
async function endProcesses(name: string): Promise<void> {
  await runProgram('pkill', ['--signal', 'KILL', '--uid', name])
}

async function removeAccount(name: string): Promise<void> {
  await endProcesses(name)
  const { code, stderr } = await runProgram('userdel', ['--force', name])
  // 6: there is none.
  if (code !== 0 && code !== 6) throw new Error(stderr || `userdel ended with code ${code}`)
  // Where the account was made with a group of its own, userdel has removed that, too.
  await runProgram('groupdel', [name])
}

/** Stays on its file system: what is mounted there is somebody else's. */
async function removeTree(path: string): Promise<void> {
  await must('rm', ['--recursive', '--force', '--one-file-system', '--', path], removeTimeoutMs)
}

/** When timers last ran, see systemd.timer(5), Persistent=. */
function stamps(): string[] {
  return allUnits.filter(name => name.endsWith('.timer')).map(name => `/var/lib/systemd/timers/stamp-${name}`)
}

function journals(): string[] {
  return ['/var/log/journal', '/run/log/journal'].flatMap(folder =>
    existsSync(folder)
      ? readdirSync(folder)
          .filter(name => name.endsWith(`.${journalNamespace}`))
          .map(name => join(folder, name))
      : [],
  )
}

/** From here on no code of ours is loaded any more. The journal of changes stays where accounts do: it says that they are ours. */
async function finish(layout: Layout, isPurge: boolean): Promise<void> {
  const { prefix, versions, changes } = layout
  const folder = dirname(versions)
  const command = isPurge
    ? `rm -rf --one-file-system -- ${ownFolders(layout).join(' ')} && { rmdir -- ${prefix} 2>/dev/null || true; }`
    : `find ${folder} -mindepth 1 -maxdepth 1 ! -path ${changes} -exec rm -rf --one-file-system -- {} +`
  const script = `#!/bin/sh
# Made by tljh-ts uninstall, for the case that it is cut off: what is left is removed, and this file last.
if [ "$1" != uninstall ]; then
  echo 'tljh-ts is being taken off this machine. Go on with: sudo tljh-ts uninstall' >&2
  exit 1
fi
${command} && rm -f ${wrapper}
`
  replaceFile(wrapper, script, { mode: 0o755, uid: 0, gid: 0 })
  await must('sh', [wrapper, 'uninstall'], removeTimeoutMs)
}

async function must(file: string, args: readonly string[], timeoutMs = stopTimeoutMs): Promise<CommandResult> {
  const result = await runProgram(file, args, { timeoutMs })
  if (result.code === 0) return result
  throw new Error(result.stderr || `${file} ended with code ${result.code}`)
}
