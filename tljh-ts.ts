#!/usr/bin/env node
/**
 * The command line: finds the command in one of the folders, and prints errors as sentences.
 *
 * Each command's code is loaded when it is called, so that the spawner, which is root, never loads the web.
 */
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { installedLayout } from './config/paths.ts'
import { ProblemError } from './problem.ts'

const usage = `Usage:
  tljh-ts install --admin NAME    puts this version in force on this machine
  tljh-ts user passwd NAME        gives a user a new password, read from standard input
  tljh-ts config COMMAND          shows, edits and checks the configuration; see: tljh-ts config help
  tljh-ts help

Started by systemd:
  tljh-ts hub                     login, pages and proxy, as tljh-hub
  tljh-ts spawner                 accounts and servers, as root
`

interface Flags {
  admin?: string
  'if-unset'?: boolean
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
    const password = made.password ?? '(as it was before)'
    process.stdout.write(
      `The hub runs.\naddress: ${made.address}\nadministrator: ${made.admin}\npassword: ${password}\n`,
    )
  },
  async user([verb, name], flags) {
    if (verb !== 'passwd' || !name) throw misused('that is no command for users', 'Write: tljh-ts user passwd NAME')
    // The files of the state folder must stay the hub's.
    if (process.getuid?.() === 0) return asHub(process.argv.slice(1))
    const { setPassword } = await import('./hub/passwd.ts')
    if (process.stdin.isTTY) process.stderr.write(`New password for ${name}, then Ctrl-D: `)
    const done = await setPassword(installedLayout, name, process.stdin, { ifUnset: flags['if-unset'] === true })
    process.stdout.write(`The password of ${name}: ${done}\n`)
  },
  async help() {
    process.stdout.write(usage)
  },
}

function asHub(args: string[]): void {
  const { status, error } = spawnSync('runuser', ['-u', 'tljh-hub', '--', process.execPath, ...args], {
    stdio: 'inherit',
  })
  if (error) throw error
  process.exitCode = status ?? 1
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

async function main(): Promise<void> {
  try {
    const [first, ...rest] = process.argv.slice(2)
    if (first === 'config') return await config(rest)
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: { admin: { type: 'string' }, 'if-unset': { type: 'boolean' } },
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
