/**
 * `tljh-ts status`: a line for each layer, from the machine to the users' servers, which says whether it is well, and where it is not, why and
 * what to do. It asks, and changes nothing. Exit code 1: something does not work.
 */
import { type CommandContext, misused, readCommandLine } from '../../cli/arguments.ts'
import { openTerminal } from '../../cli/terminal.ts'
import { certificateChecks } from './certificate.ts'
import { installationChecks } from './installation.ts'
import { type Health, runChecks, type StatusLine } from './lines.ts'
import { machineChecks } from './machine.ts'
import { portChecks } from './ports.ts'
import { serviceChecks } from './services.ts'

const usage = `Usage: sudo tljh-ts status [--json]

Says of each part whether it is well (✔), will not be for long (!), or does not work (✖), and what to do.

  --json    for programs
`

const marks: Record<Health, string> = { good: '✔', warning: '!', bad: '✖' }
/** ANSI: green, yellow, red. */
const colours: Record<Health, number> = { good: 32, warning: 33, bad: 31 }

export async function runStatus(args: string[], { layout, streams, environment }: CommandContext): Promise<number> {
  const terminal = openTerminal(streams, environment)
  const given = readCommandLine(args, { usage, options: { json: { type: 'boolean' } }, count: [0, 0] })
  if (!given) {
    terminal.print(usage)
    return 0
  }
  if (process.getuid?.() !== 0) throw misused('journals and configuration are root’s to read', 'Start it with sudo')
  const ofHub = [...serviceChecks(layout), ...portChecks(layout), ...certificateChecks(layout)]
  const lines = await runChecks([...installationChecks(layout), ...ofHub, ...machineChecks(layout)])
  const isWell = lines.every(({ health }) => health !== 'bad')
  if (given.values.json) terminal.print(JSON.stringify({ ok: isWell, lines }, null, 2))
  else terminal.print(lines.map(line => shown(line, terminal.hasColour)).join('\n'))
  return isWell ? 0 : 1
}

function shown({ health, text, why, fix }: StatusLine, hasColour: boolean): string {
  const mark = hasColour ? `\x1b[${colours[health]}m${marks[health]}\x1b[0m` : marks[health]
  return [`${mark} ${text}`, ...(why ? [`    why: ${why}`] : []), ...(fix ? [`    what to do: ${fix}`] : [])].join('\n')
}
