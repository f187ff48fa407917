/** `tljh-ts upgrade` and `tljh-ts rollback`: the command lines, and what is asked and said. */
import { type CommandContext, readCommandLine } from '../../cli/arguments.ts'
import { openTerminal, type Terminal } from '../../cli/terminal.ts'
import type { Layout } from '../../machine/layout.ts'
import { ProblemError } from '../../problem.ts'
import { oneAtATime } from '../installation/one-at-a-time.ts'
import { layOutOwn, type SwitchOptions, settleUpgrade } from './switch.ts'
import { ownVersion, planRollback, planUpgrade, prepareUpgrade, rollBack, upgrade } from './upgrade.ts'

const upgradeUsage = `Usage: tljh-ts upgrade [VERSION] [--check] [--yes]

Puts a newer version in force: the newest, or the one that is named (1.2.3, or 1.2 for the newest of those). Servers and kernels run
on, nobody is logged out, and pages wait for a moment. Where the new version does not work here, the one before comes back by itself.

  --check   only says whether there is a newer version
  --yes     does not ask
`

const rollbackUsage = `Usage: tljh-ts rollback [--yes]

Puts the version in force again that was before the last upgrade, or undoes an upgrade that was broken off. Servers and kernels run on.

  --yes     does not ask, also where something is lost
`

export async function runUpgrade(args: readonly string[], { layout, streams, environment }: CommandContext) {
  const flag = { type: 'boolean', default: false } as const
  const options = { check: flag, yes: flag, 'put-in-force': flag }
  const given = readCommandLine(args, { usage: upgradeUsage, options, count: [0, 1] })
  const terminal = openTerminal(streams, environment)
  if (!given) return said(terminal, upgradeUsage)
  mustBeRoot('upgrade', args)
  if (given.values['put-in-force']) {
    // For this very command, which another version runs.
    await layOutOwn(layout)
    return 0
  }
  await using _alone = await oneAtATime('Nothing was upgraded')
  const switching = quietly(layout, terminal)
  await settleUpgrade(switching)
  const plan = await planUpgrade(layout, given.positionals[0], environment)
  if (!plan) return said(terminal, `${ownVersion(layout)} is in force, and there is nothing newer.`)
  const { from, to } = plan
  if (given.values.check)
    return said(terminal, `${to} is there, ${from} is in force. To upgrade: sudo tljh-ts upgrade ${to}`)
  terminal.print(
    `${from} will be upgraded to ${to}. Servers and kernels run on; pages wait a moment while the hub restarts.`,
  )
  if (!(await agreed(terminal, given.values.yes))) return said(terminal, 'Nothing was changed.')
  for (const warning of await prepareUpgrade(plan, switching)) terminal.complain(`warning: ${warning}`)
  tellEnded(terminal, await upgrade(plan, switching))
  return said(terminal, `${to} is in force. To go back to ${from}: sudo tljh-ts rollback`)
}

export async function runRollback(args: readonly string[], { layout, streams, environment }: CommandContext) {
  const options = { yes: { type: 'boolean', default: false } } as const
  const given = readCommandLine(args, { usage: rollbackUsage, options, count: [0, 0] })
  const terminal = openTerminal(streams, environment)
  if (!given) return said(terminal, rollbackUsage)
  mustBeRoot('rollback', args)
  await using _alone = await oneAtATime('Nothing was rolled back')
  const switching = quietly(layout, terminal)
  // What was broken off is undone, and that is what was asked for.
  if (await settleUpgrade(switching, { undoes: true })) return 0
  const plan = await planRollback(layout)
  const { from, to, losses } = plan
  terminal.print(`${from} will be replaced by ${to}, which was before it. Servers and kernels run on.`)
  for (const loss of losses) terminal.print(`${loss}.`)
  if (losses.length && !terminal.isInteractive && !given.values.yes) {
    throw new ProblemError('ROLLBACK_LOSES', {
      what: `${from} stays in force`,
      why: 'something would be lost (see above), and nobody is there to be asked',
      fix: 'If that is meant: sudo tljh-ts rollback --yes',
    })
  }
  if (!(await agreed(terminal, given.values.yes))) return said(terminal, 'Nothing was changed.')
  tellEnded(terminal, await rollBack(plan, switching))
  return said(terminal, `${to} is in force.`)
}

function mustBeRoot(command: string, args: readonly string[]): void {
  if (process.getuid?.() === 0) return
  throw new ProblemError('UPGRADE_ROOT', {
    what: 'Nothing was done',
    why: 'only root can put another version in force',
    fix: `Write: sudo tljh-ts ${[command, ...args].join(' ')}`,
  })
}

/** Whoever calls may sit in a terminal of JupyterLab, whose connection ends in the middle: that stops nothing. */
function quietly(layout: Layout, terminal: Terminal): SwitchOptions {
  process.on('SIGHUP', () => undefined)
  return { layout, report: line => terminal.print(line) }
}

/** Without a terminal there is nobody to ask, and the command was meant. */
async function agreed(terminal: Terminal, isSure: boolean): Promise<boolean> {
  if (isSure || !terminal.isInteractive) return true
  return (await terminal.ask('Go on?', ['yes', 'no'])) === 'y'
}

function tellEnded(terminal: Terminal, users: readonly string[]): void {
  if (users.length) terminal.complain(`warning: servers of these users have ended meanwhile: ${users.join(', ')}`)
}

function said(terminal: Terminal, text: string): number {
  terminal.print(text)
  return 0
}
