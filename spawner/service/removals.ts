/**
 * Accounts that go: by the verbs `archive` and `forget` (spawner/service/verbs.ts), one after the other for each user. While one goes, its server
 * does not start.
 */
import type { UserName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import type { Accounts } from '../accounts/ensure.ts'
import type { AccountRemoval } from '../accounts/remove.ts'
import type { RemovedAccount, Server } from '../client/protocol.ts'
import type { Removals } from './verbs.ts'

export interface RemovalsOptions {
  servers: { stop(user: UserName): Server }
  accounts: Pick<Accounts, 'setAdmin'>
  departures: AccountRemoval
  log: (line: string) => void
}

export function createRemovals({ servers, accounts, departures, log }: RemovalsOptions): Removals {
  const leaving = new Set<UserName>()

  async function leave(user: UserName, depart: (user: UserName) => Promise<RemovedAccount>): Promise<RemovedAccount> {
    mustStay(user)
    leaving.add(user)
    try {
      // A start that was under way may still be making the account; this waits for its turn after it.
      await accounts.setAdmin(user, false)
      const departure = await depart(user)
      log(`the account of ${user} was deleted${departure.archive ? `, its home is ${departure.archive}` : ''}`)
      return departure
    } finally {
      leaving.delete(user)
    }
  }

  function mustStay(user: UserName): void {
    if (!leaving.has(user)) return
    throw new ProblemError('USER_LEAVES', {
      what: `There is no server for ${user}`,
      why: 'the account is being deleted at this moment',
      fix: 'Wait until that is finished',
    })
  }

  return {
    async archive(user) {
      servers.stop(user)
      return leave(user, departures.archive)
    },
    forget: user => leave(user, departures.remove),
    mustStay,
  }
}
