/**
 * `tljh-ts uninstall [--purge]`: takes the hub off this machine.
 *
 * What goes and what stays is shown first, and somebody has to agree. Without --purge, everything that is people's stays: homes, accounts
 * (which nobody can log in to meanwhile), configuration, state, archives; a later installation takes them up. It works where the hub does
 * not: what cannot be done is said, and the rest is done.
 *
 * It is refused in a terminal of a server of the hub's, which would end with the servers, and the work half-way with it.
 *
 * All code that is needed is loaded at the start, because it is removed on the way.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline/promises'
import pLimit from 'p-limit'
import { type CommandContext, misused, readCommandLine } from '../cli/arguments.ts'
import { Interrupted, openTerminal, type Terminal } from '../cli/terminal.ts'
import { readConfig } from '../config/meaning/config.ts'
import { accountComment, usersGroup } from '../config/users/names.ts'
import type { Layout } from '../machine/layout.ts'
import { replaceFile } from '../machine/replace-file.ts'
import { runProgram } from '../machine/run-program.ts'
import { ProblemError } from '../problem.ts'
import { frozenPackages } from './environment/class-packages.ts'
import { type Change, openChanges } from './installation/changes.ts'
import { oneAtATime } from './installation/one-at-a-time.ts'
import { dropInFolders, unitFolder } from './installation/units.ts'
import { goesEarly, nameOf, ownFolders, type Removed, remove, type UserAccount, wrapper } from './removal.ts'
import { cacheFolder, groups, hubAccount } from './steps/places.ts'

const usage = `Usage: tljh-ts uninstall [--purge] [--dry-run] [--yes]

Takes the hub off this machine, after showing what goes and what stays. Homes and accounts stay, and a later installation takes them up.

  --purge     homes, accounts, configuration and state go, too; nothing of them can be had back
  --dry-run   shows it, and changes nothing
  --yes       does not ask
`

const usersSlice = 'tljh-users.slice'
/** Of du, for one home and for all of them; the size of the others is not shown. */
const measureTimeoutMs = 60_000
const measureAllTimeoutMs = 5 * 60_000

const flag = { type: 'boolean', default: false } as const

interface Home {
  path: string
  /** As people read it. */
  size: string
  lastChange: string
}

/** A line of passwd(5). */
interface Account extends UserAccount {
  uid: number
  comment: string
}

interface Plan {
  isPurge: boolean
  list: readonly Change[]
  /** Whether the journal of changes was there. */
  isJournaled: boolean
  accounts: readonly UserAccount[]
  homes: readonly Home[]
  /** What is in the class environment, for a later one: a line each. Undefined where that is not known, or nothing is to stay. */
  packages: string | undefined
  goes: readonly string[]
  stays: readonly string[]
}

export async function runUninstall(args: readonly string[], surroundings: CommandContext): Promise<number> {
  const { layout, streams, environment } = surroundings
  const options = { purge: flag, 'dry-run': flag, yes: flag }
  const given = readCommandLine(args, { usage, options, count: [0, 0] })
  if (!given) {
    streams.stdout.write(usage)
    return 0
  }
  const { purge: isPurge, 'dry-run': isDryRun, yes: isSure } = given.values
  if (process.getuid?.() !== 0) throw misused('it was not started as root', 'Start it with sudo')
  if (!isDryRun) refuseInServer(isPurge)
  await using _lock = await oneAtATime('Nothing was removed')
  const terminal = openTerminal(streams, environment)
  const plan = await planRemoval(layout, isPurge)
  show(plan, terminal)
  if (isDryRun) return 0
  if (!isSure && !(await isAgreed(plan, surroundings, terminal))) {
    terminal.print('Nothing was removed.')
    return 0
  }
  if (plan.packages) {
    mkdirSync(layout.backups, { recursive: true, mode: 0o700 })
    replaceFile(packageList(layout), plan.packages, { mode: 0o600 })
  }
  const changes = openChanges(layout.changes)
  const homes = plan.homes.map(({ path }) => path)
  const removed = await remove({ layout, changes, ...plan, homes })
  report(plan, removed, terminal)
  return removed.complaints.length ? 1 : 0
}

/**
 * sudo -i and su leave the server's control group, and die with its terminal all the same: so whoever started us is looked at, too.
 * Throws `UNINSTALL_IN_SERVER`.
 */
function refuseInServer(isPurge: boolean): void {
  for (let pid = process.pid; pid > 1; pid = parentOf(pid)) {
    if (!readIfThere(`/proc/${pid}/cgroup`).includes(`/${usersSlice}/`)) continue
    throw new ProblemError('UNINSTALL_IN_SERVER', {
      what: 'Nothing was removed',
      why: 'this terminal belongs to a server of the hub, and would end with it before the rest is done',
      fix: `Start it over ssh. Or look at what goes with --dry-run, and have systemd start it: sudo systemd-run --collect --unit=tljh-uninstall tljh-ts uninstall ${isPurge ? '--purge ' : ''}--yes. What it says is then in: sudo journalctl --unit=tljh-uninstall`,
    })
  }
}

/** 0 where that is not known. */
function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)$/m.exec(readIfThere(`/proc/${pid}/status`))?.[1] ?? 0)
}

async function planRemoval(layout: Layout, isPurge: boolean): Promise<Plan> {
  const journaled = existsSync(layout.changes) ? openChanges(layout.changes).list() : []
  const list = journaled.length ? journaled : usualChanges()
  const accounts = usersAccounts()
  const paths = findHomes(accounts)
  const homes = isPurge ? await measure(paths) : paths.map(path => ({ path, size: '?', lastChange: '?' }))
  const packages = isPurge ? undefined : await frozenPackages(layout).catch(() => undefined)
  const own = [wrapper, dirname(layout.versions), layout.classEnvironment, cacheFolder, layout.run].filter(existsSync)
  const early = list.filter(change => goesEarly(change) && isStillThere(change)).map(nameOf)
  const people = [...accounts.map(({ name }) => `account ${name}`), ...groupsOf(list)]
  const data = [dirname(layout.configFile), layout.state, layout.archives, layout.backups].filter(existsSync)
  const { config } = readConfig(readIfThere(layout.configFile))
  const extraGroups = [...(config?.unixGroups.keys() ?? [])].map(name => `group ${name}, which the configuration names`)
  const added = list.flatMap(change => (change.kind === 'packages' ? change.names : []))
  const strangers = isPurge ? strangersIn(layout) : []
  const always = [
    ...extraGroups,
    ...strangers.map(path => `${path}, which is not ours`),
    ...(added.length ? [`packages: sudo apt-get remove ${added.join(' ')}`] : []),
    'the journal’s lines, and what the system’s own tools keep of files that they change (/etc/passwd- and the like)',
  ]
  return {
    ...{ isPurge, list, accounts, homes, packages, isJournaled: journaled.length > 0 },
    goes: [
      ...new Set([
        ...early,
        ...own,
        ...(isPurge ? [...people, ...data, ...(strangers.length ? [] : [layout.prefix])] : []),
      ]),
    ],
    stays: isPurge
      ? always
      : [
          ...(homes.length ? [`${homes.length} ${homes.length === 1 ? 'home' : 'homes'} in /home`] : []),
          ...people,
          ...data,
          ...(packages ? [`${packageList(layout)}, for a later installation: --requirements FILE`] : []),
          `${layout.changes}, which says what of these a later uninstall may remove`,
          ...always,
        ],
  }
}

function show({ goes, stays, homes, accounts, isPurge, isJournaled }: Plan, terminal: Terminal): void {
  if (!isJournaled) {
    terminal.complain(
      'note: the journal of what was changed is not there, so what was in a file before is not known, nor which groups were made',
    )
  }
  terminal.print(`What goes:\n${goes.map(line => `  ${line}`).join('\n')}`)
  if (isPurge && homes.length) {
    const rows = homes.map(({ path, size, lastChange }) => `  ${path}  ${size}, last changed ${lastChange}`)
    terminal.print(`\nHomes, with all that is in them:\n${rows.join('\n')}`)
  }
  terminal.print(`\nWhat stays:\n${stays.map(line => `  ${line}`).join('\n')}`)
  if (!isPurge && accounts.length)
    terminal.print('\nNobody can log in to these accounts until the hub is installed again.')
}

async function isAgreed(plan: Plan, { streams }: CommandContext, terminal: Terminal): Promise<boolean> {
  if (!terminal.isInteractive) {
    throw new ProblemError('UNINSTALL_UNSURE', {
      what: 'Nothing was removed',
      why: 'there is nobody to ask whether that is right',
      fix: 'Start the same command with --yes',
    })
  }
  try {
    if (!plan.isPurge) return (await terminal.ask('\nTake the hub off this machine?', ['yes', 'no'])) === 'y'
    const count = plan.homes.length
    using reader = createInterface({ input: streams.stdin, output: streams.stdout })
    const answer = await reader.question(`\nTo remove all of that for good, type how many homes it is: `)
    return answer.trim() === String(count)
  } catch (error) {
    if (error instanceof Interrupted || (error instanceof Error && error.name === 'AbortError')) return false
    throw error
  }
}

function report({ isPurge, stays }: Plan, { complaints, copies }: Removed, terminal: Terminal): void {
  for (const { path, copy } of copies) terminal.print(`${path} was not as we had written it: a copy is in ${copy}`)
  for (const complaint of complaints) terminal.complain(`!! ${complaint}`)
  if (complaints.length) {
    terminal.complain(
      'The rest was done. Mend what is said above; while there is a command tljh-ts, it can be started again',
    )
    return
  }
  terminal.print(
    `The hub is off this machine.${isPurge ? '' : ` What stays is what was said (${stays.length} lines above).`}`,
  )
}

function packageList({ backups }: Layout): string {
  return join(backups, 'class-packages.txt')
}

/** Accounts that the hub made, or TLJH before it, which writes no comment. Others may be named like that, too. */
function usersAccounts(): Account[] {
  const groups = readIfThere('/etc/group').split('\n')
  const members = groups.find(line => line.startsWith(`${usersGroup}:`))?.split(':')[3] ?? ''
  return allAccounts().filter(
    ({ name, uid, comment }) =>
      comment.startsWith(accountComment) ||
      (name.startsWith('jupyter-') && uid >= 1000 && members.split(',').includes(name)),
  )
}

function allAccounts(): Account[] {
  return readIfThere('/etc/passwd')
    .split('\n')
    .flatMap(line => {
      const [name = '', , uid = '', , comment = '', home = ''] = line.split(':')
      return name ? [{ name, uid: Number(uid), comment, home: resolve('/', home) }] : []
    })
}

/** With those that no account has any more. */
function findHomes(accounts: readonly UserAccount[]): string[] {
  const others = allAccounts().filter(({ name }) => !accounts.some(account => account.name === name))
  const named = accounts.map(({ home }) => home).filter(home => home.startsWith('/home/'))
  const found = readdirIfThere('/home')
    .filter(name => /^(?:jupyter-|\.tljh-(?:removed|new)-)/.test(name))
    .map(name => join('/home', name))
    .filter(path => !others.some(({ name, uid }) => path === `/home/${name}` || (uid >= 1000 && ownerOf(path) === uid)))
  return [...new Set([...named, ...found])]
    .filter(path => existsSync(path) && !others.some(({ home }) => home === path))
    .toSorted()
}

function ownerOf(path: string): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.uid
}

/** Two at a time: the class may be at work on the same disk. */
async function measure(paths: readonly string[]): Promise<Home[]> {
  const end = Date.now() + measureAllTimeoutMs
  return await pLimit(2).map(paths, path => homeAt(path, Math.min(measureTimeoutMs, end - Date.now())))
}

async function homeAt(path: string, timeoutMs: number): Promise<Home> {
  const how = ['--summarize', '--one-file-system', '--human-readable', '--time', '--time-style=long-iso', '--', path]
  const isInTime = timeoutMs > 0
  const { stdout } = isInTime
    ? await runProgram('du', how, { timeoutMs }).catch(() => ({ stdout: '' }))
    : { stdout: '' }
  const [size = '', lastChange = '?'] = stdout.split('\t')
  return { path, size: size || '?', lastChange }
}

/** What is in our folder and not ours. */
function strangersIn(layout: Layout): string[] {
  const own = ownFolders(layout)
  return readdirIfThere(layout.prefix)
    .map(name => join(layout.prefix, name))
    .filter(path => !own.includes(path))
}

function groupsOf(list: readonly Change[]): string[] {
  return list.flatMap(change => (change.kind === 'group' || change.kind === 'account' ? [nameOf(change)] : []))
}

function isStillThere(change: Change): boolean {
  return !('path' in change) || existsSync(change.path)
}

/** What an installation makes, where its journal was lost. */
function usualChanges(): Change[] {
  const file = (path: string): Change => ({ kind: 'file', path, before: null, written: '' })
  const units = existsSync(unitFolder) ? readdirSync(unitFolder).filter(name => /^tljh-[^/]*\.\w+$/.test(name)) : []
  const files = [
    '/etc/pam.d/tljh-ts',
    '/etc/systemd/journald@tljh-users.conf',
    '/etc/sudoers.d/jupyterhub-admins',
    '/etc/polkit-1/rules.d/40-tljh-ts.rules',
    '/etc/ssh/sshd_config.d/tljh-ts.conf',
    '/usr/local/bin/tljh-config',
    '/etc/bash_completion.d/tljh-ts',
    '/etc/profile.d/tljh-ts.sh',
  ]
  return [
    ...groups.map((name): Change => ({ kind: 'group', name })),
    { kind: 'account', name: hubAccount },
    ...files.map(file),
    ...units.map(name => file(join(unitFolder, name))),
    ...dropInFolders.map((path): Change => ({ kind: 'folder', path, isOurs: true })),
    ...units.filter(name => !/@|slice$/.test(name)).map((name): Change => ({ kind: 'unit', name })),
  ]
}

function readIfThere(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}

function readdirIfThere(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}
