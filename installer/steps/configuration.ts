/**
 * The configuration of an installation: what is there with the administrators that were named added, else what was given, else the first.
 *
 * What is wanted is worked out and checked before anything on the machine is changed, and brought into force later, through the
 * history that every change goes through.
 */
import { chmodSync, chownSync, existsSync, readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Terminal } from '../../cli/terminal.ts'
import { applyConfig } from '../../config/change/apply.ts'
import { lockConfig } from '../../config/change/lock.ts'
import { printFindings } from '../../config/change/proposal.ts'
import { endpointsOf, parseConfig, readConfig } from '../../config/meaning/config.ts'
import { checkMachine, factsOfMachine } from '../../config/meaning/machine-checks.ts'
import { frontSocket } from '../../config/schema/networks.ts'
import { addItem } from '../../config/text/edit.ts'
import { type Finding, hasErrors, sortFindings } from '../../config/text/findings.ts'
import type { UserName } from '../../config/users/names.ts'
import { type Endpoint, obstacleTo } from '../../machine/endpoints.ts'
import type { Layout } from '../../machine/layout.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'

export interface WantedConfig {
  admins: readonly UserName[]
  /** The file that was given; undefined: none. */
  file: string | undefined
  isBehindProxy: boolean
  /** Where this installation listens already. */
  own: readonly Endpoint[]
}

const first = `# The hub's configuration. Change it with: sudo tljh-ts config edit
users:
  admin: []
  # Who may log in beside the administrators. Add them with: sudo tljh-ts user add NAME
  allowed: []
# What each user's server may use. Without a line, as much as the machine has.
limits:
  # memory: 1G
  # cpu: 2
`

const behindProxy = `# Another web server of this machine hands requests on to this address.
http:
  mode: behind-proxy
  address: ${frontSocket}
  # The group of the web server, which alone may connect. Without a line, that of nginx and Apache: www-data.
  # socket_group: caddy
`

/**
 * The text that is to be in force. Nothing is changed. Throws `INSTALL_CONFIG` where it is not valid (after all that is wrong has
 * been shown), where another is in force than the one that was given, and where there would be no administrator.
 */
export function wantedConfig(wanted: WantedConfig, { configFile }: Layout, terminal: Terminal): string {
  const { admins, file, isBehindProxy, own } = wanted
  const inForce = existsSync(configFile) ? readFileSync(configFile, 'utf8') : undefined
  const given = file === undefined ? undefined : read(file)
  if (given !== undefined) check(given, file ?? '', configFile, own, terminal)
  const base = inForce ?? given ?? (isBehindProxy ? first + behindProxy : first)
  if (given !== undefined && inForce !== undefined && inForce !== given && inForce !== withAdmins(given, admins)) {
    throw problem(
      `another configuration is in force on this machine, and ${file} was not looked into further`,
      `If it is to replace that one: sudo tljh-ts config apply ${file}. Else start the same command without --config`,
    )
  }
  if (given === undefined) check(base, configFile, configFile, own, terminal)
  const text = withAdmins(base, admins)
  if (parseConfig(text).users.admin.size === 0) {
    throw problem('nobody would be an administrator of the hub', 'Name one: --admin NAME')
  }
  return text
}

/** Where this installation listens already, for a configuration that is checked meanwhile. */
export async function ownEndpoints({ configFile }: Layout): Promise<Endpoint[]> {
  const { code } = await runProgram('systemctl', ['is-active', '--quiet', 'tljh-hub.socket'])
  if (code !== 0) return []
  const { config } = readConfig(existsSync(configFile) ? readFileSync(configFile) : '')
  return config ? endpointsOf(config) : [{ address: '', port: 80 }]
}

/** Brings it into force. Answers whether it was another. */
export async function ensureConfig(text: string, { configFile }: Layout): Promise<boolean> {
  const before = existsSync(configFile) ? readFileSync(configFile, 'utf8') : undefined
  // Somebody may have put it there for this: the hub has to read it, and nobody else.
  const isClosed = before !== undefined && closeToOthers(configFile)
  if (before === text) return isClosed
  await using _lock = await lockConfig(configFile, { who: 'root', how: 'tljh-ts install' })
  await applyConfig(
    { text, config: parseConfig(text), who: 'root', how: 'install' },
    { configFile, services: undefined },
  )
  return true
}

function closeToOthers(configFile: string): boolean {
  const { gid } = statSync(dirname(configFile))
  const found = statSync(configFile)
  if (found.uid === 0 && found.gid === gid && (found.mode & 0o7777) === 0o640) return false
  chownSync(configFile, 0, gid)
  chmodSync(configFile, 0o640)
  return true
}

function withAdmins(text: string, admins: readonly UserName[]): string {
  const known = parseConfig(text).users.admin
  return [...new Set(admins)]
    .filter(admin => !known.has(admin))
    .reduce((changed, admin) => addItem(changed, ['users', 'admin'], admin), text)
}

function check(text: string, name: string, configFile: string, own: readonly Endpoint[], terminal: Terminal): void {
  const { read, config, findings } = readConfig(text)
  // Where it does not listen yet, nobody may; a port that is the default is in no file.
  const machine = factsOfMachine(configFile, own)
  const found: Finding[] = [...findings, ...(config ? checkMachine(read, machine) : [])]
  if (!hasErrors(found)) {
    const taken = config && endpointsOf(config).find(wanted => obstacleTo(wanted, machine.others))
    if (taken !== undefined) throw isTaken(taken.port)
    return
  }
  printFindings(sortFindings(found), text, name, terminal)
  const count = found.filter(({ severity }) => severity === 'error').length
  throw problem(
    `${name} has ${count === 1 ? 'a mistake' : `${count} mistakes`}`,
    'Mend what is said above, and start the same command again. Nothing was changed',
  )
}

function isTaken(port: number): ProblemError {
  return problem(
    `another program of this machine listens on port ${port}`,
    `See which: sudo ss --listening --tcp --processes sport = :${port}. Stop it, or, if it is a web server that is to stay, start the ` +
      'same command with --behind-proxy',
  )
}

function read(file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file))
  } catch (cause) {
    throw problem(`${file} could not be read: ${cause instanceof Error ? cause.message : cause}`, 'Check its name')
  }
}

function problem(why: string, fix: string): ProblemError {
  return new ProblemError('INSTALL_CONFIG', { what: 'Nothing was installed', why, fix })
}
