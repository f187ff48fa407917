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
  accountRemoval: AccountRemoval
  log: (line: string) => void
}

export function createRemovals({ servers, accounts, accountRemoval, log }: RemovalsOptions): Removals {
  const removed = new Set<UserName>()

  async function remove(user: UserName, work: (user: UserName) => Promise<RemovedAccount>): Promise<RemovedAccount> {
    mustStay(user)
    removed.add(user)
    try {
      // A start that was under way may still be making the account; this waits for its turn after it.
      await accounts.setAdmin(user, false)
      const account = await work(user)
      log(`the account of ${user} was deleted${account.archive ? `, its home is ${account.archive}` : ''}`)
      return account
    } finally {
      removed.delete(user)
    }
  }

  function mustStay(user: UserName): void {
    if (!removed.has(user)) return
    throw new ProblemError('USER_LEAVES', {
      what: `There is no server for ${user}`,
      why: 'the account is being deleted at this moment',
      fix: 'Wait until that is finished',
    })
  }

  return {
    async archive(user) {
      servers.stop(user)
      return remove(user, accountRemoval.archive)
    },
    forget: user => remove(user, accountRemoval.remove),
    mustStay,
  }
}
