/**
 * Keeps what runs in line with the configuration: limits of servers, who is an administrator, who may have a server at all,
 * where the hub listens.
 *
 * The file is what counts. It is looked at when somebody asks (after a change by `tljh-ts config`) and every second, so a
 * change by hand, and one whose author was killed half-way, comes into force all the same. What is done is the plan that
 * was shown (config/plan.ts).
 */
import { runCommand } from '../commands.ts'
import type { Config } from '../config/config.ts'
import type { ConfigFile } from '../config/file.ts'
import { type Plan, planChange } from '../config/plan.ts'
import { setListenAddress } from '../systemd/address.ts'
import type { Accounts } from './accounts.ts'
import type { Configuration } from './listener.ts'
import type { Event } from './protocol.ts'
import type { WatchedServers } from './servers.ts'

export interface LiveOptions {
  config: ConfigFile
  servers: WatchedServers
  accounts: Accounts
  log: (line: string) => void
}

export interface LiveConfiguration extends Configuration {
  /** Looks at the file every second, until the function that is returned is called. */
  watch(): () => void
}

const lookEveryMs = 1_000
const restartTimeoutMs = 60_000

export function createLive({ config, servers, accounts, log }: LiveOptions): LiveConfiguration {
  let applied = config.current()
  let hubVersion: string | undefined
  let last: Promise<void> = Promise.resolve()
  const listeners = new Set<(event: Event) => void>()

  async function bringInLine(isAtOnce: boolean): Promise<void> {
    const wanted = config.current()
    if (wanted.version === applied.version) return
    const before = applied
    const plan = planChange(before, wanted, await servers.running(), { isAtOnce })
    applied = wanted
    log(`configuration ${wanted.version.slice(0, 12)} is in force: ${plan.lines.join('; ') || 'nothing to do'}`)
    for (const listener of listeners) listener({ config: wanted.version })
    await carryOut(plan, wanted)
  }

  /** One thing that fails keeps nothing else from being done. */
  async function carryOut(plan: Plan, wanted: Config): Promise<void> {
    const results = await Promise.allSettled([
      ...plan.limitsNow.map(user => servers.setLimits(user, wanted)),
      ...plan.promoted.map(user => accounts.setAdmin(user, true)),
      ...plan.demoted.map(user => accounts.setAdmin(user, false)),
      ...plan.stopped.map(async user => void servers.stop(user)),
    ])
    for (const result of results) if (result.status === 'rejected') log(`change of the configuration: ${result.reason}`)
    const moves = setListenAddress('tljh-hub.socket', wanted.http)
    if (moves || plan.baseUrlChanges) await restartHub(moves)
  }

  /** A path changes with the hub alone; its socket need not be given up for that. */
  async function restartHub(withSocket: boolean): Promise<void> {
    hubVersion = undefined
    const steps = withSocket
      ? [['daemon-reload'], ['stop', 'tljh-hub.service'], ['restart', 'tljh-hub.socket'], ['start', 'tljh-hub.service']]
      : [['restart', 'tljh-hub.service']]
    for (const step of steps) {
      const { code, stderr } = await runCommand('systemctl', step, { timeoutMs: restartTimeoutMs })
      if (code !== 0) log(`systemctl ${step.join(' ')}: ${stderr}`)
    }
  }

  /** One change after another. */
  function look(isAtOnce: boolean): Promise<void> {
    last = last.then(() => bringInLine(isAtOnce))
    return last
  }

  return {
    async status() {
      return { spawner: applied.version, hub: hubVersion, running: await servers.running() }
    },
    reload: ({ isAtOnce }) => look(isAtOnce),
    hubRuns(version) {
      hubVersion = version
    },
    follow(listener) {
      listeners.add(listener)
      listener({ config: applied.version })
      return () => listeners.delete(listener)
    },
    watch() {
      const timer = setInterval(() => {
        look(false).catch(error => log(`change of the configuration: ${error instanceof Error ? error.stack : error}`))
      }, lookEveryMs)
      return () => clearInterval(timer)
    },
  }
}
