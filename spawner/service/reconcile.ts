/**
 * Keeps what runs in line with the configuration: limits of servers, who is an administrator, who may have a server at all,
 * where the hub listens.
 *
 * The file is what counts. It is looked at when somebody asks (after a change by `tljh-ts config`) and every second, so a
 * change by hand, and one whose author was killed half-way, comes into force all the same. What is done is the plan that
 * was shown (config/change/plan.ts).
 */
import { existsSync, readFileSync } from 'node:fs'
import { applyConfig } from '../../config/change/apply.ts'
import { versions } from '../../config/change/history.ts'
import type { ConfigFile } from '../../config/change/in-force.ts'
import { lockConfig } from '../../config/change/lock.ts'
import { type Plan, planChange } from '../../config/change/plan.ts'
import type { ConfigProposal } from '../../config/change/services.ts'
import { type Config, parseConfig, versionOf } from '../../config/meaning/config.ts'
import { isAdmin, mayEnter } from '../../config/meaning/who-may-enter.ts'
import { oneAfterAnother } from '../../machine/one-after-another.ts'
import { ProblemError } from '../../problem.ts'
import type { Audit, AuditEntry } from '../../systemd/audit/audit.ts'
import type { Accounts } from '../accounts/ensure.ts'
import type { Event } from '../client/protocol.ts'
import { createListening } from './listening.ts'
import type { WatchedServers } from './servers.ts'
import type { Configuration } from './verbs.ts'

export interface ReconcilerOptions {
  configFile: string
  config: ConfigFile
  servers: WatchedServers
  accounts: Accounts
  audit: Audit
  log: (line: string) => void
}

export interface Reconciler extends Configuration {
  /** Stops servers that the configuration, changed while no spawner ran, no longer allows. */
  catchUp(): Promise<void>
  /** Looks at the file every second, until the function that is returned is called. */
  watch(): () => void
  /** To be called when one of the hub's sockets may have failed. */
  lookAtSockets(): void
  /** The same, in a while. */
  lookAtSocketsSoon(): void
}

const lookEveryMs = 1_000

export function createReconciler({ configFile, config, servers, accounts, audit, log }: ReconcilerOptions): Reconciler {
  let applied = config.current()
  let hubVersion: string | undefined
  const inTurn = oneAfterAnother()
  const listening = createListening({
    wanted: config.current,
    inTurn,
    onRestart: () => {
      hubVersion = undefined
    },
    log,
  })
  const listeners = new Set<(event: Event) => void>()

  async function bringInLine(isAtOnce: boolean): Promise<void> {
    const wanted = config.current()
    if (wanted.version === applied.version) return
    const before = applied
    const plan = planChange(before, wanted, await servers.running(), { isAtOnce })
    applied = wanted
    log(`configuration ${wanted.version.slice(0, 12)} is in force: ${plan.lines.join('; ') || 'nothing to do'}`)
    for (const listener of listeners) listener({ config: wanted.version })
    audit.record(entryFor(wanted.version, plan))
    await carryOut(plan, wanted)
  }

  /** Who did it is in the history, unless the file was edited by hand. */
  function entryFor(version: string, { lines }: Plan): AuditEntry {
    const made = versions(configFile).findLast(({ text }) => versionOf(text) === version)
    const who = made?.who ?? 'somebody'
    const how = made ? `${made.how}, version ${made.number}` : 'by hand'
    return {
      kind: 'config',
      who,
      message: `${who} changed the configuration (${how}): ${lines.join('; ') || 'nothing to do'}`,
    }
  }

  /** One thing that fails keeps nothing else from being done. */
  async function carryOut(plan: Plan, wanted: Config): Promise<void> {
    const results = await Promise.allSettled([
      ...plan.limitsNow.map(user => servers.setLimits(user, wanted)),
      ...plan.promoted.map(user => accounts.setAdmin(user, true)),
      ...plan.demoted.map(user => accounts.setAdmin(user, false)),
      ...plan.memberships.map(({ user, group, isIn }) => accounts.setMember(user, group, isIn)),
      ...plan.stopped.map(async user => void servers.stop(user)),
    ])
    for (const result of results) if (result.status === 'rejected') log(`change of the configuration: ${result.reason}`)
    await listening.settle({ restartsHub: plan.baseUrlChanges })
  }

  function look(isAtOnce: boolean): Promise<void> {
    return inTurn(() => bringInLine(isAtOnce))
  }

  return {
    async status() {
      return { spawner: applied.version, hub: hubVersion, running: await servers.running() }
    },
    async reload({ isAtOnce }) {
      await look(isAtOnce)
      // Who asks is told of an address that is not to be had, also where the move was begun a moment before.
      await inTurn(() => listening.settle())
    },
    hubRuns(version) {
      hubVersion = version
    },
    async propose(admin, body) {
      const { text, baseVersion, isAtOnce, how = 'edit in the browser' } = readProposal(body)
      await using _lock = await lockConfig(configFile, { who: admin, how })
      const onDisk = existsSync(configFile) ? readFileSync(configFile) : ''
      if (versionOf(onDisk) !== baseVersion) throw changedMeanwhile()
      const change = { text, config: parseConfig(text), who: admin, how, isAtOnce }
      const services = { status: this.status, reload: this.reload }
      const { number } = await applyConfig(change, { configFile, services, checksPage: false })
      log(`${admin} brought version ${number} of the configuration into force`)
      return { number }
    },
    follow(listener) {
      listeners.add(listener)
      listener({ config: applied.version })
      return () => listeners.delete(listener)
    },
    catchUp: () =>
      inTurn(async () => {
        for (const { user, isPrivileged } of await servers.running()) {
          const hasTooMuch = isPrivileged && !isAdmin(applied, user)
          if (mayEnter(applied, user) && !hasTooMuch) continue
          servers.stop(user)
          // On a full disk, the group's file cannot be written; the next start tries again.
          await accounts.setAdmin(user, isAdmin(applied, user)).catch(error => log(`rights of ${user}: ${error}`))
        }
      }),
    watch() {
      const timer = setInterval(() => {
        look(false).catch(error => log(`change of the configuration: ${textOf(error)}`))
      }, lookEveryMs)
      return () => {
        clearInterval(timer)
        listening.close()
      }
    },
    lookAtSockets: listening.look,
    lookAtSocketsSoon: listening.lookSoon,
  }
}

function textOf(error: unknown): string {
  if (error instanceof ProblemError) return error.message
  return String(error instanceof Error ? error.stack : error)
}

/** The hub has checked it, and may have been taken over. */
function readProposal(body: string): Omit<ConfigProposal, 'admin'> {
  try {
    const { text, baseVersion, isAtOnce, how } = JSON.parse(body) as Partial<ConfigProposal>
    if (typeof text === 'string' && typeof baseVersion === 'string')
      return { text, baseVersion, isAtOnce: isAtOnce === true, ...(isPlain(how) ? { how } : {}) }
  } catch {
    // Not JSON: refused like everything else that is no proposal.
  }
  throw new ProblemError('PROPOSAL', {
    what: 'That is no configuration to propose',
    why: 'it is not JSON with text and baseVersion',
    fix: 'See spawner/client/protocol.ts',
  })
}

/** A line of the history that is what it says. */
function isPlain(how: unknown): how is string {
  return typeof how === 'string' && /^[a-z0-9 ._@-]{1,120}$/.test(how)
}

function changedMeanwhile(): ProblemError {
  return new ProblemError('CONFIG_CHANGED', {
    what: 'The configuration was not changed',
    why: 'somebody has changed it since you began',
    fix: 'Look at what is in force now, and make your change in it',
  })
}
