/**
 * What systemd and shells know of the version that is in force: unit files, `tljh-ts` and `tljh-config` in /usr/local/bin, completion.
 *
 * The code that runs writes what belongs to it, so each version brings its own: an installation, an upgrade and a rollback all call
 * `ensureUnits` of the version that they put in force. All paths in them lead over PREFIX/hub/current.
 */
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseConfig } from '../../config/meaning/config.ts'
import { codeFolder, type Layout, layoutIn } from '../../machine/layout.ts'
import { type CommandResult, runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import {
  furtherSockets,
  guardPorts,
  mainSocket,
  placesOf,
  portHolder,
  settleSockets,
  unitsWithDropIns,
} from '../../systemd/hub-sockets.ts'
import type { Changes } from './changes.ts'

export const unitFolder = '/etc/systemd/system'
const source = join(import.meta.dirname, '../units')

export const sockets = [mainSocket, 'tljh-spawner.socket', 'tljh-pam.socket']
const spawnerService = 'tljh-spawner.service'
const hubService = 'tljh-hub.service'
export const services = [spawnerService, hubService]
const timers = readdirSync(source).filter(name => name.endsWith('.timer'))
/** What runs, or listens, on a machine where all is well. */
export const runningUnits = [portHolder, ...sockets, ...timers, ...services]
/** With those that only some configurations have running. */
export const allUnits = [...runningUnits, ...furtherSockets]

/** As they stand in the files in `source`. */
const { prefix: usualPrefix } = layoutIn('/opt/tljh')
const completionFolder = '/etc/bash_completion.d'
/** The spawner writes in them where the hub listens. */
export const dropInFolders = unitsWithDropIns.map(unit => join(unitFolder, `${unit}.d`))

/**
 * Writes the files of the version that runs, and removes those that it does not have any more. systemd has read them when this
 * resolves, and starts them at the next boot; nothing is started or stopped now, but for what is removed. Answers whether anything was changed.
 */
export async function ensureUnits(layout: Layout, changes: Changes): Promise<boolean> {
  const done: boolean[] = []
  for (const name of readdirSync(source)) {
    const text = readFileSync(join(source, name), 'utf8').replaceAll(usualPrefix, layout.prefix)
    done.push(await changes.writeFile(join(unitFolder, name), text, 0o644))
  }
  done.push(await removeFormerUnits(changes))
  const program = `exec ${programIn(layout.hub).join(' ')}`
  const bin = '/usr/local/bin'
  done.push(await changes.writeFile(join(bin, 'tljh-ts'), `#!/bin/sh\n${program} "$@"\n`, 0o755))
  // What TLJH's users type, and the place where their scripts look for it.
  done.push(await changes.writeFile(join(bin, 'tljh-config'), `#!/bin/sh\n${program} config "$@"\n`, 0o755))
  if (!isOnTop('/usr/bin/tljh-config')) {
    done.push(await changes.makeSymlink('/usr/bin/tljh-config', join(bin, 'tljh-config')))
  }
  for (const folder of dropInFolders) done.push(await changes.makeFolder(folder, { mode: 0o755, isOurs: true }))
  done.push(await changes.makeFolder(completionFolder, { mode: 0o755, isOurs: false }))
  done.push(await changes.writeFile(join(completionFolder, 'tljh-ts'), await completion(), 0o644))
  for (const unit of allUnits) done.push(await changes.enableUnit(unit))
  await must('systemctl', ['daemon-reload'])
  return done.includes(true)
}

/**
 * Has the sockets listen where the configuration says, and starts hub and spawner anew, which puts the code in force that now lies at
 * PREFIX/hub/current. A socket whose address stays is open all the time. Resolves when both are ready. Throws `INSTALL_SERVICES`.
 */
export async function startServices({ configFile }: Layout): Promise<void> {
  const { http, visitPort } = parseConfig(readFileSync(configFile))
  const { stdout } = await runProgram('systemctl', ['is-active', spawnerService])
  const isStopped = ['inactive', 'failed'].includes(stdout.trim())
  await must('systemctl', ['start', ...sockets.filter(unit => unit !== mainSocket), ...timers])
  const [problem] = await settleSockets(placesOf({ ...http, visitPort }), { restartsHub: true })
  if (problem) throw new ProblemError('INSTALL_SERVICES', problem)
  // Where none ran, the hub's first question has started the one of this code.
  await must('systemctl', [isStopped ? 'start' : 'restart', spawnerService])
  await must('systemctl', ['start', hubService])
}

/** Keeps the hub's ports from other programs, wherever it listens now. */
export async function guardOwnPorts({ configFile }: Layout): Promise<void> {
  if (!existsSync(configFile)) return
  const { http, visitPort } = parseConfig(readFileSync(configFile))
  await guardPorts(placesOf({ ...http, visitPort }))
}

async function removeFormerUnits(changes: Changes): Promise<boolean> {
  const present = new Set(readdirSync(source))
  let isChanged = false
  for (const change of changes.list()) {
    if (change.kind !== 'file' || !change.path.startsWith(`${unitFolder}/`)) continue
    const name = change.path.slice(unitFolder.length + 1)
    if (name.includes('/') || present.has(name)) continue
    // A template (with its @) has nothing that could be stopped under its own name.
    if (!name.includes('@')) await runProgram('systemctl', ['disable', '--now', '--quiet', name], { timeoutMs: 60_000 })
    for (const other of changes.list()) if (other.kind === 'unit' && other.name === name) await changes.undo(other)
    await changes.undo(change)
    isChanged = true
  }
  return isChanged
}

/** The command line of the code in a folder, with its own Node.js. */
export function programIn(folder: string): [file: string, ...args: string[]] {
  const node = join(folder, 'node_modules/node/bin/node')
  return [node, '--disable-warning=ExperimentalWarning', join(folder, 'tljh-ts.ts')]
}

/** Somebody else's file is there: TLJH has one of its own, which stays until it is taken over. */
function isOnTop(path: string): boolean {
  return existsSync(path) && !lstatSync(path).isSymbolicLink()
}

/** As this version's own command line prints it. */
async function completion(): Promise<string> {
  return (await must(process.execPath, [join(codeFolder, 'tljh-ts.ts'), 'config', 'completion'])).stdout
}

async function must(file: string, args: readonly string[]): Promise<CommandResult> {
  const result = await runProgram(file, args, { timeoutMs: 90_000 })
  if (result.code === 0) return result
  const journal = ['--unit=tljh-hub', '--unit=tljh-spawner', '--boot', '--lines=10', '--no-pager', '--output=cat']
  const { stdout: last } = await runProgram('journalctl', journal)
  throw new ProblemError('INSTALL_SERVICES', {
    what: 'The services could not be started',
    why:
      `${[file, ...args].join(' ')}: ${result.stderr || `code ${result.code}`}` +
      (last.trim() && `\nThe last lines of their journal:\n${last.trimEnd().replace(/^/gm, '    ')}`),
    fix: 'Mend what they say, and start the same command again. More of them: sudo journalctl -u tljh-hub -u tljh-spawner',
  })
}
