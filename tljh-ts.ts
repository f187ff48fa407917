#!/usr/bin/env node
/**
 * The command line: finds the command in one of the folders, and prints errors as sentences.
 *
 * Each command's code is loaded when it is called, so that the spawner, which is root, never loads the web.
 */
import { parseArgs } from 'node:util'
import { installedLayout } from './config/paths.ts'
import { ProblemError } from './problem.ts'

const usage = `Usage:
  tljh-ts install --admin NAME[:PASSWORD]
                                  puts this version in force on this machine
  tljh-ts user COMMAND            lets people in, gives them codes, sees them off; see: tljh-ts user help
  tljh-ts config COMMAND          shows, edits and checks the configuration; see: tljh-ts config help
  tljh-ts audit                   says who logged in, who changed what; see: tljh-ts audit --help
  tljh-ts help

Started by systemd:
  tljh-ts hub                     login, pages and proxy, as tljh-hub
  tljh-ts spawner                 accounts and servers, as root
`

interface Flags {
  admin?: string
}

const commands: Record<string, (args: string[], flags: Flags) => Promise<void>> = {
  async hub() {
    const { runHub } = await import('./hub/hub.ts')
    await runHub(installedLayout, process.env, log)
    // WebSockets are still open, and end with the process.
    process.exit()
  },
  async spawner() {
    const { runSpawner } = await import('./spawner/spawner.ts')
    await runSpawner(installedLayout, process.env, log)
  },
  async install(_args, { admin }) {
    if (!admin) throw misused('no administrator was named', 'Name one: tljh-ts install --admin NAME')
    const { install } = await import('./installer/install.ts')
    const made = await install(installedLayout, admin, step => process.stderr.write(`${step}\n`))
    const way = made.invitation
      ? `one-time code: ${made.invitation.code}\nlink: ${made.invitation.link}\nChoose the password of ${made.admin} there within 3 days. A new code: sudo tljh-ts user invite ${made.admin}`
      : 'password: (as it was before)'
    process.stdout.write(`The hub runs.\naddress: ${made.address}\nadministrator: ${made.admin}\n${way}\n`)
  },
  async help() {
    process.stdout.write(usage)
  },
}

const auditUsage = `Usage: tljh-ts audit [--user NAME] [--kind KIND] [--since TIME] [--until TIME] [--lines COUNT] [--json]

Kinds: login, login-refused, logout, password, code, second-factor, sign-up, account, visit, server, config.
Times are written like: yesterday, -2h, "2026-11-21 09:00". Without --lines, the last 200.
`

async function audit(args: string[]): Promise<void> {
  const text = { type: 'string' } as const
  const options = { user: text, kind: text, since: text, until: text, lines: { ...text, default: '200' } }
  const flags = { json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } } as const
  const { values, positionals } = parseArgs({ args, options: { ...options, ...flags }, allowPositionals: true })
  if (values.help || positionals[0] === 'help') return void process.stdout.write(auditUsage)
  const count = Number(values.lines)
  if (!(Number.isInteger(count) && count > 0)) throw misused('--lines is not a number', 'Write it like --lines 50')
  const { auditKinds } = await import('./systemd/audit.ts')
  if (values.kind && !auditKinds.some(kind => kind === values.kind)) {
    throw misused(`there is no kind ${JSON.stringify(values.kind)}`, `Write one of: ${auditKinds.join(', ')}`)
  }
  const { readAudit, showAudit } = await import('./systemd/audit-log.ts')
  const records = await readAudit({ ...values, count })
  if (values.json) process.stdout.write(`${JSON.stringify(records, null, 2)}\n`)
  else process.stdout.write(records.length ? `${showAudit(records)}\n` : 'Nothing of that kind is in the audit log.\n')
}

/** One line of the journal. What came from outside cannot begin another, nor colour a terminal. */
function log(line: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  process.stderr.write(`${line.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g, '?')}\n`)
}

function misused(why: string, fix: string): ProblemError {
  return new ProblemError('USAGE', { what: 'Nothing was done', why, fix })
}

/** It has options and verbs of its own. */
async function config(args: string[]): Promise<void> {
  const { runConfig } = await import('./config/commands.ts')
  const { connectSpawner } = await import('./spawner/client.ts')
  const { configFile, spawnerSocket } = installedLayout
  const spawner = connectSpawner(spawnerSocket)
  try {
    const { services } = spawner
    process.exitCode = await runConfig(args, { configFile, services, streams: process, environment: process.env })
  } finally {
    spawner.close()
  }
}

/** Likewise. Whoever does it is root, and has both the hub's part and the spawner's in hand. */
async function user(args: string[]): Promise<void> {
  const { runUser } = await import('./hub/user-commands.ts')
  const { connectSpawner } = await import('./spawner/client.ts')
  const { thisMachine } = await import('./spawner/this-machine.ts')
  const spawner = connectSpawner(installedLayout.spawnerSocket)
  using machine = thisMachine(installedLayout)
  try {
    const { services, list: servers } = spawner
    const layout = installedLayout
    const io = { streams: process, environment: process.env }
    process.exitCode = await runUser(args, { layout, services, servers, machine, ...io })
  } finally {
    spawner.close()
  }
}

async function main(): Promise<void> {
  try {
    const [first, ...rest] = process.argv.slice(2)
    if (first === 'config') return await config(rest)
    if (first === 'user') return await user(rest)
    if (first === 'audit') return await audit(rest)
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: { admin: { type: 'string' } },
    })
    const [name = 'help', ...args] = positionals
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (!command) throw misused(`there is no command ${JSON.stringify(name)}`, 'See: tljh-ts help')
    await command(args, values)
  } catch (error) {
    if (error instanceof ProblemError) {
      log(`${error.what}\n  why: ${error.why}\n  what to do: ${error.fix}`)
    } else if (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) {
      log(`Nothing was done\n  why: ${error.message}\n  what to do: See: tljh-ts help`)
    } else {
      log(error instanceof Error ? String(error.stack) : String(error))
    }
    process.exitCode = 1
  }
}

await main()
