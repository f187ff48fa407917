/**
 * Temporary accounts: each is made for one visit, and goes with it. A visit ends when its session does (logout), or when nothing was heard of it for an
 * hour; then its server is stopped, and the account deleted with its files. That hour is not by the machine's clock, which can be set ahead:
 * somebody's work would be gone.
 *
 * What was begun and cut off is taken up at the next look: that there was such an account is in the state file (hub/credentials/last-logins.ts) until it is gone.
 */
import type { UserName } from '../../config/users/names.ts'
import type { SpawnerClient } from '../../spawner/client/client.ts'
import type { Servers } from '../../spawner/client/servers.ts'
import type { Sessions } from '../access/sessions.ts'
import type { Logins } from '../credentials/last-logins.ts'

export interface TemporaryAccountsOptions {
  sessions: Sessions
  logins: Logins
  servers: Servers
  spawner: Pick<SpawnerClient, 'forget'>
  log: (line: string) => void
}

export interface TemporaryAccounts {
  /** Ends the visits that are over. */
  sweep(): Promise<void>
}

const awayMs = 3600_000
const stopPatienceMs = 30_000

export function createTemporaryAccounts({
  sessions,
  logins,
  servers,
  spawner,
  log,
}: TemporaryAccountsOptions): TemporaryAccounts {
  let sweeping: Promise<void> | undefined

  async function sweepAll(): Promise<void> {
    for (const [user, { way }] of logins.all()) {
      if (way === 'temporary') await end(user).catch(error => log(`temporary account ${user}: ${error}`))
    }
  }

  async function end(user: UserName): Promise<void> {
    if (sessions.hasAny(user) && sessions.idleMs(user) <= awayMs) return
    if (sessions.hasAny(user)) sessions.endAllOf(user)
    if (!(await isStopped(user))) return
    await spawner.forget(user)
    logins.forget(user)
    log(`the temporary account ${user} is gone`)
  }

  /** Stops the server; what takes longer than usual is looked at again at the next sweep. */
  async function isStopped(user: UserName): Promise<boolean> {
    const { kind } = servers.get(user)
    if (kind === 'ready' || kind === 'starting') await servers.stop(user)
    for await (const server of servers.watch(user, AbortSignal.timeout(stopPatienceMs))) {
      if (server.kind === 'stopped' || server.kind === 'failed') return true
    }
    return false
  }

  return {
    sweep() {
      // Later: a session that is ended here asks for a sweep, too.
      sweeping ??= Promise.resolve()
        .then(sweepAll)
        .finally(() => {
          sweeping = undefined
        })
      return sweeping
    },
  }
}
