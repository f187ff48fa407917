#!/usr/bin/env node
/**
 * The command line: finds the command in one of the folders, and prints errors as sentences.
 *
 * Each command's code is loaded when it is called, so that the spawner, which is root, never loads the web.
 */
import { misused, readCommandLine } from './cli/arguments.ts'
import { inWords } from './machine/disk.ts'
import { installedLayout } from './machine/layout.ts'
import { ProblemError } from './problem.ts'

const usage = `Usage:
  tljh-ts status                  says whether all is well, and what to do where it is not
  tljh-ts user COMMAND            lets people in, gives them codes, sees them off; see: tljh-ts user help
  tljh-ts config COMMAND          shows, edits and checks the configuration; see: tljh-ts config help
  tljh-ts audit                   says who logged in, who changed what; see: tljh-ts audit --help
  tljh-ts backup, restore         keeps everything in one file, and makes the same hub of it
  tljh-ts upgrade, rollback       puts a newer version in force, or the one before
  tljh-ts self-test               starts a server as nobody in particular, and runs a cell in it
  tljh-ts install --admin NAME    puts this version in force on this machine
  tljh-ts import-tljh             takes over a machine that runs TLJH
  tljh-ts uninstall               takes it off this machine; homes stay

Each of them tells more with --help.

Started by systemd:
  tljh-ts hub                     login, pages and proxy, as tljh-hub
  tljh-ts spawner                 accounts and servers, as root
`

/** Each command, by the module that has it. */
const commands: Record<string, (args: string[]) => Promise<number | undefined>> = {
  async hub() {
    const { runHub } = await import('./hub/hub.ts')
    // WebSockets are still open, or after a failure half of what it is made of, and end with the process.
    try {
      await runHub(installedLayout, process.env, log)
    } catch (reason) {
      tell(reason)
      try {
        const { serveOutOfService } = await import('./hub/out-of-service.ts')
        await serveOutOfService({ layout: installedLayout, environment: process.env, log, reason })
      } catch (error) {
        tell(error)
        process.exit(1)
      }
    }
    process.exit()
  },
  async spawner() {
    const { runSpawner } = await import('./spawner/service/spawner.ts')
    await runSpawner(installedLayout, process.env, log)
    return undefined
  },
  config,
  user,
  audit,
  install: async args => (await import('./installer/install-command.ts')).runInstall(args, surroundings),
  uninstall: async args => (await import('./installer/uninstall.ts')).runUninstall(args, surroundings),
  upgrade: async args => (await import('./installer/upgrade/command.ts')).runUpgrade(args, surroundings),
  rollback: async args => (await import('./installer/upgrade/command.ts')).runRollback(args, surroundings),
  backup: async args => (await import('./installer/backup/command.ts')).runBackup(args, surroundings),
  restore: async args => (await import('./installer/backup/restore.ts')).runRestore(args, surroundings),
  'import-tljh': async args => (await import('./installer/import-tljh/import.ts')).runImportTljh(args, surroundings),
  status: async args => (await import('./installer/status/status.ts')).runStatus(args, surroundings),
  'self-test': async args => (await import('./spawner/self-test/command.ts')).runSelfTest(args, surroundings),
  /** For the compile cache (installer/installation/compile-cache.ts): reads a service's code, and does nothing with it. */
  async load([service]) {
    await (service === 'hub' ? import('./hub/all-modules.ts') : import('./spawner/service/spawner.ts'))
    return undefined
  },
  /** For `upgrade`: what a version that is not in force yet can tell of itself. */
  'check-version': async args => (await import('./hub/check-version.ts')).runCheckVersion(args, surroundings),
  async help() {
    process.stdout.write(usage)
    return undefined
  },
}

const surroundings = { layout: installedLayout, streams: process, environment: process.env }

const auditUsage = `Usage: tljh-ts audit [--user NAME] [--kind KIND] [--since TIME] [--until TIME] [--lines COUNT] [--json]

Kinds: login, login-refused, logout, password, code, second-factor, sign-up, account, visit, server, config.
Times are written like: yesterday, -2h, "2026-11-21 09:00". Without --lines, the last 200.
`

async function audit(args: string[]): Promise<undefined> {
  const text = { type: 'string' } as const
  const options = { user: text, kind: text, since: text, until: text, lines: { ...text, default: '200' } }
  const flags = { json: { type: 'boolean', default: false } } as const
  const given = readCommandLine(args, { usage: auditUsage, options: { ...options, ...flags }, count: [0, 0] })
  if (!given) return void process.stdout.write(auditUsage)
  const { values } = given
  const count = Number(values.lines)
  if (!(Number.isInteger(count) && count > 0)) throw misused('--lines is not a number', 'Write it like --lines 50')
  const { auditKinds } = await import('./systemd/audit/audit.ts')
  if (values.kind && !auditKinds.some(kind => kind === values.kind)) {
    throw misused(`there is no kind ${JSON.stringify(values.kind)}`, `Write one of: ${auditKinds.join(', ')}`)
  }
  const { readAudit, showAudit } = await import('./systemd/audit/read.ts')
  const records = await readAudit({ ...values, count })
  if (values.json) process.stdout.write(`${JSON.stringify(records, null, 2)}\n`)
  else process.stdout.write(records.length ? `${showAudit(records)}\n` : 'Nothing of that kind is in the audit log.\n')
}

/** One line of the journal. What came from outside cannot begin another, nor colour a terminal. */
function log(line: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  process.stderr.write(`${line.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g, '?')}\n`)
}

/** It has options and verbs of its own. */
async function config(args: string[]): Promise<number> {
  const { runConfig } = await import('./config/command/command.ts')
  const { connectSpawner } = await import('./spawner/client/client.ts')
  const { configFile, spawnerSocket } = installedLayout
  const spawner = connectSpawner(spawnerSocket)
  try {
    const { services } = spawner
    return await runConfig(args, { configFile, services, streams: process, environment: process.env })
  } finally {
    spawner.close()
  }
}

/** Likewise. Whoever does it is root, and has both the hub's part and the spawner's in hand. */
async function user(args: string[]): Promise<number> {
  const { runUser } = await import('./hub/admin/user-command.ts')
  const { connectSpawner } = await import('./spawner/client/client.ts')
  const { thisMachine } = await import('./spawner/accounts/from-command-line.ts')
  const spawner = connectSpawner(installedLayout.spawnerSocket)
  using machine = thisMachine(installedLayout)
  try {
    const { services, list: servers } = spawner
    const layout = installedLayout
    const io = { streams: process, environment: process.env }
    return await runUser(args, { layout, services, servers, machine, ...io })
  } finally {
    spawner.close()
  }
}

async function main(): Promise<void> {
  try {
    const [name = 'help', ...args] = process.argv.slice(2)
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (!command) throw misused(`there is no command ${JSON.stringify(name)}`, 'See: tljh-ts help')
    const exitCode = await command(args)
    if (exitCode !== undefined) process.exitCode = exitCode
  } catch (error) {
    tell(error)
    process.exitCode = 1
  }
}

function tell(thrown: unknown): void {
  const error = inWords(thrown)
  if (error instanceof ProblemError) log(`${error.what}\n  why: ${error.why}\n  what to do: ${error.fix}`)
  else log(error instanceof Error ? String(error.stack) : String(error))
}

await main()
