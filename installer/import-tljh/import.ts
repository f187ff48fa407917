/**
 * `tljh-ts import-tljh`: takes over a machine that runs TLJH, whose code lies in the same folder as ours. First everything is read and shown,
 * and nothing is changed before somebody has said yes.
 *
 * From then on: what was read is written down (PREFIX/before-import/import.json, for root alone) → TLJH is stopped → its units, programs,
 * state and configuration are moved into PREFIX/before-import → tljh-ts install → passwords. Each step can be done again, so the same
 * command completes what was cut off, from what was written down. Nothing of TLJH is deleted, and no home is touched; the Python environment
 * of the users stays where it is, with their packages, unless a new one is asked for.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type CommandContext, misused, readCommandLine } from '../../cli/arguments.ts'
import { Interrupted, openTerminal, type Terminal } from '../../cli/terminal.ts'
import { visible } from '../../config/text/findings.ts'
import { accountComment, parseUserName, type UserName, unixName, userInComment } from '../../config/users/names.ts'
import { codeFolder, type Layout } from '../../machine/layout.ts'
import { about, replaceFile } from '../../machine/replace-file.ts'
import { runProgram } from '../../machine/run-program.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'
import { oneAtATime } from '../installation/one-at-a-time.ts'
import { type ImportPlan, planImport } from './plan.ts'
import { isTljh, readOldHub } from './reading.ts'

const usage = `Usage: sudo tljh-ts import-tljh [--dry-run] [--yes] [--from FOLDER] [--admin NAME] [--new-environment] [OPTION…]

Takes over a machine that runs The Littlest JupyterHub: users with their passwords, administrators, configuration, homes. It shows what
becomes of what, and asks. TLJH is stopped then, and kept in /opt/tljh/before-import. If it is cut off, the same command completes it.

  --dry-run           shows what would be done, and changes nothing
  --yes               does not ask
  --from FOLDER       where TLJH lies, if that is not /opt/tljh
  --admin NAME        an administrator, beside those whom TLJH knows
  --new-environment   makes a new Python environment for the users, instead of going on with TLJH's

These are handed on to tljh-ts install, which says what they mean: --requirements, --no-progress-page, --no-self-test, and of install.sh
--installed-packages.
`

const options = {
  'dry-run': { type: 'boolean', default: false },
  yes: { type: 'boolean', default: false },
  from: { type: 'string' },
  admin: { type: 'string', multiple: true },
  'new-environment': { type: 'boolean', default: false },
  requirements: { type: 'string' },
  'no-progress-page': { type: 'boolean', default: false },
  'no-self-test': { type: 'boolean', default: false },
  'installed-packages': { type: 'string', multiple: true },
} as const

const unitFolder = '/etc/systemd/system'
const units = ['jupyterhub.service', 'traefik.service']
/** Of our own, beside which TLJH's programs lie. */
const ourFolders = new Set(['versions', 'current', 'changes.jsonl'])

/** What is written down before anything is changed. */
interface Begun {
  plan: ImportPlan
  from: string
  hasNewEnvironment: boolean
  /** It changes nothing any more, and all that counts has been read. */
  isStopped: boolean
  /** All of TLJH is in its new place; what lies in the old ones now is ours. */
  isMoved: boolean
}

export async function runImportTljh(args: readonly string[], surroundings: CommandContext): Promise<number> {
  const { layout, streams, environment } = surroundings
  const given = readCommandLine(args, { usage, options, count: [0, 0] })
  const terminal = openTerminal(streams, environment)
  if (!given) {
    terminal.print(usage)
    return 0
  }
  if (process.getuid?.() !== 0) throw notDone('it was not started as root', 'Write: sudo tljh-ts import-tljh')
  const busy = { file: '/run/tljh-ts-import.lock', why: 'another take-over is under way on this machine' }
  await using _lock = await oneAtATime('Nothing was taken over', busy)
  const { values } = given
  const { requirements } = values
  if (requirements !== undefined && !/^https?:\/\//.test(requirements) && !existsSync(requirements))
    throw notDone(`there is no file ${requirements}, which --requirements names`, 'Check the name')
  const earlier = begunIn(layout)
  if (earlier) terminal.print('A take-over of TLJH was cut off; this completes it.\n')
  const begun = earlier ?? (await begin(values.from ?? layout.prefix, values))
  terminal.print([...begun.plan.lines, ...whatIsDone(begun, layout)].map(visible).join('\n'))
  if (values['dry-run']) {
    terminal.print('\nNothing was changed (--dry-run).')
    return 0
  }
  if (!values.yes && !(await isWanted(terminal))) {
    terminal.print('Nothing was changed.')
    return 1
  }
  await moveAside(begun, layout)
  return await install(begun, handedOn(values), surroundings, terminal)
}

/** What of our command line is the installation's. */
function handedOn(values: {
  requirements?: string
  'no-progress-page': boolean
  'no-self-test': boolean
  'installed-packages'?: string[]
}): string[] {
  return [
    ...(values.requirements === undefined ? [] : ['--requirements', values.requirements]),
    ...(['no-progress-page', 'no-self-test'] as const).flatMap(name => (values[name] ? [`--${name}`] : [])),
    ...(values['installed-packages'] ?? []).flatMap(names => ['--installed-packages', names]),
  ]
}

async function begin(
  from: string,
  { admin = [], 'new-environment': hasNewEnvironment }: { admin?: string[]; 'new-environment': boolean },
): Promise<Begun> {
  if (!isTljh(from)) throw notDone(`there is no TLJH in ${from}`, 'Name its folder with --from')
  const plan = planImport(await readOldHub(from), admin.map(parseUserName))
  return { plan, from, hasNewEnvironment, isStopped: false, isMoved: false }
}

function* whatIsDone({ from, hasNewEnvironment, plan }: Begun, layout: Layout): Iterable<string> {
  yield ''
  yield `TLJH is stopped, with all servers that it runs, and kept in ${keptIn(layout)}. No home is touched.`
  yield hasNewEnvironment
    ? `The users get a new Python environment; TLJH's is kept as well.`
    : `The users' Python environment, ${from}/user, stays, and JupyterLab is added where it is missing. Its programs run as root from then on; if the folder comes from somebody whom you don't trust, add --new-environment.`
  if (plan.packages) yield `Its packages are listed in ${join(keptIn(layout), 'requirements.txt')}.`
  yield `Passwords count as they are; each is kept in a stronger way (argon2id) when its owner logs in.`
}

async function isWanted(terminal: Terminal): Promise<boolean> {
  if (!terminal.isInteractive) throw misused('there is nobody to ask', 'Look at the plan, and add --yes')
  try {
    return (await terminal.ask('Take it over?', ['yes', 'no'])) === 'y'
  } catch (error) {
    if (error instanceof Interrupted) return false
    throw error
  }
}

function keptIn({ prefix }: Layout): string {
  return join(prefix, 'before-import')
}

function begunIn(layout: Layout): Begun | undefined {
  const file = join(keptIn(layout), 'import.json')
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Begun) : undefined
}

/** Flushed before it counts. There are password hashes in it. */
function note(begun: Begun, layout: Layout): void {
  const file = join(keptIn(layout), 'import.json')
  replaceFile(file, JSON.stringify(begun))
}

async function moveAside(begun: Begun, layout: Layout): Promise<void> {
  const kept = keptIn(layout)
  mkdirSync(kept, { recursive: true, mode: 0o700 })
  if (begun.isMoved) return
  note(begun, layout)
  replaceFile(join(kept, 'requirements.txt'), begun.plan.packages)
  replaceFile(join(kept, 'config.new.yaml'), begun.plan.configText)
  // The servers of users are units of TLJH's making: they end with it, before others of the same users begin.
  await runProgram('systemctl', ['disable', '--now', '--quiet', ...units], { timeoutMs: 90_000 })
  await runProgram('systemctl', ['stop', 'jupyter-*.service'], { timeoutMs: 90_000 })
  await mustBeStopped([...units, 'jupyter-*.service'])
  if (!begun.isStopped) {
    // Somebody may have changed a password since the plan was shown. From here on it lies where it was moved to.
    begun.plan.hashes = planImport(await readOldHub(begun.from), begun.plan.admins).hashes
    note(Object.assign(begun, { isStopped: true }), layout)
  }
  for (const unit of units.flatMap(unit => [unit, `${unit}.d`])) move(join(unitFolder, unit), join(kept, 'units', unit))
  await runProgram('systemctl', ['daemon-reload'])
  move('/etc/sudoers.d/jupyterhub-admins', join(kept, 'sudoers.d/jupyterhub-admins'))
  move('/usr/bin/tljh-config', join(kept, 'bin/tljh-config'))
  const { from, hasNewEnvironment } = begun
  for (const name of readdirSync(join(from, 'hub'))) {
    if (!ourFolders.has(name)) move(join(from, 'hub', name), join(kept, 'hub', name))
  }
  for (const name of ['state', 'config', 'installer.log']) move(join(from, name), join(kept, name))
  if (hasNewEnvironment) move(join(from, 'user'), join(kept, 'user'))
  note(Object.assign(begun, { isMoved: true }), layout)
}

/** `systemctl` fails where a unit is not there, too; what counts is that none runs. */
async function mustBeStopped(patterns: readonly string[]): Promise<void> {
  const running = ['--plain', '--no-legend', '--state=active,activating,deactivating,reloading']
  const { stdout } = await runProgram('systemctl', ['list-units', ...running, ...patterns])
  const names = stdout.split('\n').flatMap(line => line.trim().split(/\s+/)[0] || [])
  if (names.length === 0) return
  throw notDone(
    `${names.join(', ')} cannot be stopped`,
    `Stop it: sudo systemctl stop ${names.join(' ')}. Then give the same command again`,
  )
}

/** Where it was moved already, what is in the old place is moved no more. */
function move(from: string, to: string): void {
  try {
    mkdirSync(dirname(to), { recursive: true, mode: 0o700 })
    renameSync(from, to)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'ENOENT') return
    if (isDiskFull(cause)) throw about(to, cause)
    const why = code === 'EXDEV' ? `${from} and ${to} are on different disks` : String(cause)
    throw notDone(why, `Move ${from} to ${to} yourself, and give the same command again`)
  }
}

async function install(
  begun: Begun,
  options: readonly string[],
  { layout, streams }: CommandContext,
  terminal: Terminal,
): Promise<number> {
  const { plan } = begun
  for (const user of plan.owners ?? []) await noteOwner(user)
  const configuration = existsSync(layout.configFile) ? [] : ['--config', join(keptIn(layout), 'config.new.yaml')]
  const admins = plan.admins.flatMap(user => ['--admin', user])
  const program = [...process.execArgv, join(codeFolder, 'tljh-ts.ts')]
  const child = spawn(process.execPath, [...program, 'install', ...admins, ...configuration, ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const printed = text(child.stdout)
  const [code] = await once(child, 'close')
  if (!existsSync(layout.configFile) || (code !== 0 && !/^address: /m.test(await printed))) {
    throw notDone(
      'the installation stopped (see above)',
      'Mend that, and give the same command again: it goes on where it was',
    )
  }
  const taken = await runProgram(process.execPath, [...program, 'user', 'import-hashes'], {
    input: JSON.stringify(plan.hashes),
  })
  if (taken.code !== 0) throw notDone(taken.stderr, 'Mend that, and give the same command again')
  streams.stdout.write(withoutCodes(await printed, new Set(plan.hashes.map(({ user }) => String(user)))))
  terminal.print(
    [
      ...taken.stdout.trimEnd().split('\n'),
      `TLJH is in ${keptIn(layout)}; when all is well, it can be deleted: sudo rm -r ${keptIn(layout)}`,
      `Who has no password yet gets a code: sudo tljh-ts user invite NAME`,
    ].join('\n'),
  )
  // What begins now is another take-over.
  rmSync(join(keptIn(layout), 'import.json'))
  return code === 0 ? 0 : 1
}

/** TLJH’s accounts do not say whose they are. From here on each does, as those that the hub makes (spawner/accounts/ensure.ts). */
async function noteOwner(user: UserName): Promise<void> {
  const account = unixName(user)
  const { code, stdout } = await runProgram('getent', ['passwd', account])
  const comment = stdout.split(':')[4] ?? ''
  if (code !== 0 || userInComment(comment) !== undefined) return
  const { code: failure, stderr } = await runProgram('usermod', ['--comment', `${accountComment}${user}`, account])
  if (failure === 0) return
  throw notDone(
    `it could not be written down that the account ${account} is ${user}’s: ${stderr || `usermod ended with code ${failure}`}`,
    'Mend that, and give the same command again: it goes on where it was',
  )
}

/** Who has kept the password needs no code, and has none any more. */
function withoutCodes(printed: string, hasPassword: ReadonlySet<string>): string {
  let isHidden = false
  const lines = printed.split('\n').flatMap(line => {
    const admin = /^administrator: (.+)$/.exec(line)?.[1]
    if (admin !== undefined) {
      isHidden = hasPassword.has(admin)
      return isHidden ? [line, 'password: (as it was with TLJH)'] : [line]
    }
    if (line === '' || /^[A-Z][^:]*:$/.test(line)) isHidden = false
    return isHidden ? [] : [line]
  })
  const rest = lines.join('\n')
  return /^link: /m.test(rest) ? rest : rest.replace(' by the link above', '')
}

function notDone(why: string, fix: string): ProblemError {
  return new ProblemError('IMPORT_STOPPED', { what: 'TLJH was not taken over, or not all of it', why, fix })
}
