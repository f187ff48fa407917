/**
 * `tljh-ts restore FILE`: makes the hub of a backup out of the one that is here, be it fresh or in use. Nothing is changed before the backup
 * was read to its end, the plan was shown and somebody has said yes.
 *
 * Each step is such that it can be done again, and the homes that are in place are noted, so the same command completes what was cut off.
 * The hub goes on until all is there, and is then restarted behind its sockets; it takes the database over itself (hub/state/database.ts,
 * `adoptState`).
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type CommandContext, misused, readCommandLine } from '../../cli/arguments.ts'
import { Interrupted, openTerminal } from '../../cli/terminal.ts'
import { applyConfig } from '../../config/change/apply.ts'
import { addVersion, type Version, versions } from '../../config/change/history.ts'
import { lockConfig } from '../../config/change/lock.ts'
import type { Layout } from '../../machine/layout.ts'
import { replaceFile } from '../../machine/replace-file.ts'
import { ownVersion } from '../../machine/version.ts'
import { ProblemError } from '../../problem.ts'
import { installPackages } from '../environment/class-packages.ts'
import { ailment } from '../installation/health.ts'
import { oneAtATime } from '../installation/one-at-a-time.ts'
import { putAsHub, restoreState } from '../installation/state-copy.ts'
import { startServices } from '../installation/units.ts'
import { makeBackup } from './backup.ts'
import { openHomePrograms } from './home-programs.ts'
import { type AccountPlan, makeAccount } from './restore-accounts.ts'
import { putHomes } from './restore-homes.ts'
import { type Progress, planRestore, type RestorePlan, restoreFolder } from './restore-plan.ts'

const usage = `Usage: sudo tljh-ts restore FILE [--dry-run] [--yes] [--without-homes]

Makes the hub that a backup holds: the same users with the same passwords, configuration with its history, files, limits. It shows
what it will do and asks. What is here is backed up first. If it is cut off, the same command completes it.

  --dry-run         shows what would be done, and changes nothing
  --yes             does not ask
  --without-homes   leaves all homes as they are
`

const options = {
  'dry-run': { type: 'boolean', default: false },
  yes: { type: 'boolean', default: false },
  'without-homes': { type: 'boolean', default: false },
} as const

/** How long hub and spawner may take to be up. */
const startTimeoutMs = 60_000

export async function runRestore(
  args: readonly string[],
  { layout, streams, environment }: CommandContext,
): Promise<number> {
  const given = readCommandLine(args, { usage, options, count: [1, 1] })
  const terminal = openTerminal(streams, environment)
  if (!given) {
    terminal.print(usage)
    return 0
  }
  const { values, positionals } = given
  mustBePossible(layout, args)
  await using _lock = await oneAtATime('Nothing was restored')
  const file = resolve(positionals[0] ?? '')
  if (!existsSync(file)) throw notDone(`there is no ${file}`, 'Check the name')
  using _laidOut = whatIsLaidOut(layout)
  const plan = await planRestore(layout, file, !values['without-homes'])
  terminal.print(plan.lines.join('\n'))
  if (values['dry-run']) {
    terminal.print('Nothing was changed (--dry-run).')
    return 0
  }
  if (!values.yes) {
    if (!terminal.isInteractive) throw misused('there is nobody to ask', 'Look at the plan, and add --yes')
    const answer = await terminal.ask('Restore it?', ['yes', 'no']).catch(error => {
      if (error instanceof Interrupted) return 'n'
      throw error
    })
    if (answer !== 'y') {
      terminal.print('Nothing was changed.')
      return 1
    }
  }
  const who = environment.SUDO_USER || 'root'
  return await carryOut(plan, { layout, environment, who, say: line => terminal.complain(line) })
}

/** Goes at the end, with the password hashes that are in it, unless something was changed and there is more to do. */
function whatIsLaidOut(layout: Layout): Disposable {
  return {
    [Symbol.dispose]() {
      const folder = restoreFolder(layout)
      if (!existsSync(join(folder, 'progress.json'))) rmSync(folder, { recursive: true, force: true })
    },
  }
}

interface Doing {
  layout: Layout
  environment: NodeJS.ProcessEnv
  who: string
  say(line: string): void
}

/** Answers 1 where something could not be put back; all the rest is there. */
async function carryOut(plan: RestorePlan, doing: Doing): Promise<number> {
  const { layout, say } = doing
  const content = join(plan.folder, 'content')
  let isWhole = true
  const notAll = (line: string) => {
    isWhole = false
    say(line)
  }
  await keepWhatIsHere(plan, doing)
  await putAccounts(plan, say)
  if (plan.homes.length) {
    say('homes')
    using programs = openHomePrograms(layout)
    const users = new Map(plan.accounts.map(({ account }) => [account.name, account.user]))
    await putHomes(plan.homes, plan.archives, {
      programs,
      userOf: account => users.get(account) ?? '',
      stamp: plan.progress.stamp,
      report: notAll,
      placing: placing => note(plan, { placing }),
      done: account => note(plan, { homes: [...plan.progress.homes, account], placing: undefined }),
    })
  }
  say('configuration')
  await putConfig(plan, doing)
  say('passwords and what else the hub remembers')
  await putState(layout, join(content, 'state'))
  if (plan.hasOtherPackages) {
    say('packages of the class environment')
    const why = await installPackages(layout, join(content, 'environment/requirements.lock'), doing.environment)
    if (why !== undefined) notAll(packagesProblem(content, layout, why))
  }
  // From here on, the same command is a new restore: it must not pass over homes in which somebody has worked since.
  rmSync(plan.folder, { recursive: true, force: true })
  say('services')
  await startServices(layout)
  const why = await ailment(layout, ownVersion(), startTimeoutMs)
  if (why !== undefined) throw notUp(why, plan.progress.before)
  say(`Restored${isWhole ? '' : ', but for what is said above'}. What was here before is in ${plan.progress.before}`)
  return isWhole ? 0 : 1
}

/**
 * Those that are missing are noted first, so that one that is half made is known for one of them. Who keeps the old numbers is made before
 * who gets the next that are free, which could be the same.
 */
async function putAccounts(plan: RestorePlan, say: (line: string) => void): Promise<void> {
  const missing = plan.accounts.filter(({ isThere }) => !isThere)
  note(plan, { accounts: missing.map(({ account }) => account.name) })
  const getsNumbers = ({ uid, gid }: AccountPlan) => Number(uid === undefined || gid === undefined)
  for (const account of missing.toSorted((a, b) => getsNumbers(a) - getsNumbers(b))) await makeAccount(account, say)
}

async function keepWhatIsHere(plan: RestorePlan, { layout, say }: Doing): Promise<void> {
  const { before } = plan.progress
  if (before !== undefined && existsSync(before)) return
  say('a backup of what is here')
  const made = await makeBackup(layout, { output: layout.backups, hasHomes: false, keep: undefined, report: say })
  note(plan, { before: made.file })
}

/** Flushed before it counts. */
function note(plan: RestorePlan, news: Partial<Progress>): void {
  Object.assign(plan.progress, news)
  replaceFile(join(plan.folder, 'progress.json'), JSON.stringify(plan.progress))
}

/** The versions of the backup come behind those that are here, each once, and the last of them into force. */
async function putConfig({ folder, configText, config, file }: RestorePlan, { layout, who }: Doing): Promise<void> {
  const { configFile } = layout
  const how = `restore ${file}`
  await using _lock = await lockConfig(configFile, { who, how: `tljh-ts ${how}` })
  const saved = join(folder, 'content/config')
  const here = versions(configFile)
  const isHere = (one: Version) => here.some(({ time, text }) => time === one.time && text === one.text)
  for (const { number: _number, ...version } of versions(join(saved, 'config.yaml')).filter(one => !isHere(one))) {
    addVersion(configFile, version)
  }
  await applyConfig({ text: configText, config, who, how }, { configFile, services: undefined })
  for (const name of await filesIn(saved)) {
    const isOurs = name === 'config.yaml' || name.startsWith('history/')
    if (isOurs) continue
    const target = join(dirname(configFile), name)
    mkdirSync(dirname(target), { recursive: true, mode: 0o750 })
    replaceFile(target, readFileSync(join(saved, name)))
  }
}

async function putState(layout: Layout, folder: string): Promise<void> {
  const database = join(folder, 'hub.sqlite')
  if (existsSync(database)) {
    {
      // A session that was ended since then must not be one again.
      using db = new DatabaseSync(database)
      db.exec('DELETE FROM sessions; PRAGMA journal_mode = DELETE')
    }
    await restoreState(layout, database)
  }
  for (const name of await filesIn(folder)) {
    if (!name.startsWith('hub.sqlite')) await putAsHub(join(folder, name), join(layout.state, name))
  }
}

async function filesIn(folder: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  return found.flatMap(entry => (entry.isFile() ? [relative(folder, join(entry.parentPath, entry.name))] : []))
}

/** The list is put where it stays. */
function packagesProblem(content: string, layout: Layout, why: string): string {
  const kept = join(layout.backups, 'requirements.lock')
  replaceFile(kept, readFileSync(join(content, 'environment/requirements.lock')))
  return `note: the packages of the class environment were not installed: ${why}\n  The list is in ${kept}. Later: sudo ${layout.classEnvironment}/bin/python -m pip install -r ${kept}`
}

function mustBePossible({ configFile }: Layout, args: readonly string[]): void {
  if (process.getuid?.() !== 0)
    throw notDone('it was not started as root', `Write: sudo tljh-ts restore ${args.join(' ')}`)
  if (existsSync(configFile)) return
  throw notDone(
    'there is no hub on this machine yet',
    'Install it first, with any administrator; that one is replaced: sudo tljh-ts install --admin NAME',
  )
}

function notUp(why: string, before: string | undefined): ProblemError {
  return new ProblemError('RESTORE_SERVICES', {
    what: 'All of the backup was put in place, but the hub is not up',
    why,
    fix: `Mend that, and start it: sudo systemctl restart tljh-hub tljh-spawner. What was here before: ${before}`,
  })
}

function notDone(why: string, fix: string): ProblemError {
  return new ProblemError('RESTORE_STOPPED', { what: 'The backup was not restored, or not all of it', why, fix })
}
