/**
 * The end of an installation: the services run, the hub answers, the administrators can get in, and a server starts.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Config, parseConfig } from '../../config/meaning/config.ts'
import { fromHere, placeFromHere } from '../../config/meaning/hub-address.ts'
import { storingKinds } from '../../config/schema/auth.ts'
import type { UserName } from '../../config/users/names.ts'
import type { Layout } from '../../machine/layout.ts'
import { replaceFile } from '../../machine/replace-file.ts'
import { type CommandResult, runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { get } from '../installation/health.ts'
import { programIn, runningUnits, startServices } from '../installation/units.ts'

export interface NamedAdmin {
  name: UserName
  /** Empty: they choose one with a code. */
  password: string
}

export interface InvitedAdmin {
  name: UserName
  /** With which they choose a password; undefined where there is one already, or passwords are kept elsewhere. */
  invitation: { code: string; link: string } | undefined
}

/** Whoever installs is there to use it. */
export const codeDays = 3
const answerTimeoutMs = 60_000
const pauseMs = 50
/** It starts a server, on a machine that may be small. */
const selfTestTimeoutMs = 10 * 60_000

/**
 * Starts them; those that run are started anew where `isChanged`.
 * @param beforeSockets called just before systemd takes the address
 */
export async function ensureServices(
  layout: Layout,
  { isChanged, beforeSockets }: { isChanged: boolean; beforeSockets: () => Promise<void> },
): Promise<boolean> {
  const { stdout } = await runProgram('systemctl', ['is-active', ...runningUnits])
  const areActive = stdout
    .trim()
    .split('\n')
    .every(state => state === 'active')
  if (areActive && !isChanged) return false
  await beforeSockets()
  await startServices(layout)
  return true
}

/** Waits until the hub answers at its address. Throws `INSTALL_HUB_SILENT`, with the last lines of the journal. */
export async function hubAnswers(config: Config): Promise<void> {
  const where = placeFromHere(config.http)
  const target = { ...fromHere(config.http), path: `${config.baseUrl}hub/health` }
  const deadline = Date.now() + answerTimeoutMs
  let why = ''
  while (Date.now() < deadline) {
    try {
      await get(target)
      return
    } catch (error) {
      why = error instanceof Error ? error.message : String(error)
      // With TLS, this port may lead to the other.
      if (config.http.tls && /^status 3/.test(why)) return
    }
    await delay(pauseMs)
  }
  const { stdout } = await runProgram('journalctl', [
    ...['--unit=tljh-hub', '--unit=tljh-spawner', '--boot', '--lines=15', '--no-pager', '--output=cat'],
  ])
  throw new ProblemError('INSTALL_HUB_SILENT', {
    what: `The hub was started, and does not answer at ${where}`,
    why: `${why}. The last lines of its journal:\n${stdout.trimEnd().replace(/^/gm, '    ')}`,
    fix: 'Mend what they say, and start the same command again. More of them: sudo journalctl -u tljh-hub -u tljh-spawner',
  })
}

/** Passwords for those who were given one and have none, codes for the others who have none. Nobody gets to be the administrator by being the first at the page. */
export async function inviteAdmins(layout: Layout, named: readonly NamedAdmin[]): Promise<InvitedAdmin[]> {
  const { auth, users } = parseConfig(readFileSync(layout.configFile))
  const admins = named.length ? named : [...users.admin].map(name => ({ name, password: '' }))
  const keepsPasswords = auth.kinds.some(kind => storingKinds.includes(kind))
  const invited: InvitedAdmin[] = []
  for (const { name, password } of admins) {
    if (password) await tljhTs(layout, ['user', 'passwd', name, '--if-unset'], `${password}\n`)
    invited.push({ name, invitation: keepsPasswords ? await invite(layout, name) : undefined })
  }
  return invited
}

/** Answers what it printed. Throws `INSTALL_SELF_TEST`. */
export async function selfTest(layout: Layout): Promise<void> {
  const { code, stdout, stderr } = await runTljhTs(layout, ['self-test'], '', selfTestTimeoutMs)
  if (code === 0) return
  throw new ProblemError('INSTALL_SELF_TEST', {
    what: 'The hub is installed and runs, but a server that was started to see whether all works did not',
    why: `the self-test says:\n${`${stdout}\n${stderr}`.trim().replace(/^/gm, '    ')}`,
    fix: 'Mend what it says, and see whether it helped: sudo tljh-ts self-test',
  })
}

/** A note in our folder that lasts from the first change to the last. Answers whether an earlier run has left it. */
export function beginChanges(layout: Layout): boolean {
  const note = unfinishedNote(layout)
  const isLeft = existsSync(note)
  if (!isLeft) replaceFile(note, '', { mode: 0o644 })
  return isLeft
}

/** From now on, another version is an upgrade. */
export function endChanges(layout: Layout): void {
  if (!isInstalled(layout)) replaceFile(completeNote(layout), '', { mode: 0o644 })
  rmSync(unfinishedNote(layout), { force: true })
}

/** Whether an installation was ever completed. */
export function isInstalled(layout: Layout): boolean {
  return existsSync(completeNote(layout))
}

function completeNote({ versions }: Layout): string {
  return join(dirname(versions), 'installed')
}

function unfinishedNote({ versions }: Layout): string {
  return join(dirname(versions), 'installing')
}

async function invite(layout: Layout, admin: UserName): Promise<InvitedAdmin['invitation']> {
  const { stdout } = await tljhTs(
    layout,
    ['user', 'invite', admin, '--if-unset', `--expires=${codeDays}`, '--json'],
    '',
  )
  const [made] = JSON.parse(stdout) as { code?: string; link?: string }[]
  return made?.code && made.link ? { code: made.code, link: made.link } : undefined
}

async function tljhTs(layout: Layout, args: readonly string[], input: string): Promise<CommandResult> {
  const result = await runTljhTs(layout, args, input, 60_000)
  if (result.code === 0) return result
  throw new ProblemError('INSTALL_ADMIN', {
    what: 'The hub runs, but its administrator has no way in yet',
    why: `tljh-ts ${args.slice(0, 3).join(' ')}: ${result.stderr || result.stdout.trim()}`,
    fix: 'Mend what it says, and start the same command again',
  })
}

/** What needs the hub's or the spawner's code is a command of its own. */
function runTljhTs({ hub }: Layout, args: readonly string[], input: string, timeoutMs: number): Promise<CommandResult> {
  const [node, ...program] = programIn(hub)
  return runProgram(node, [...program, ...args], { input, timeoutMs })
}
