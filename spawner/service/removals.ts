/**
 * What the hub may order for those who go: the verbs `archive` and `forget`, with the least that each needs.
 *
 * A hub that was taken over could order it, too. So nobody is archived whom the configuration lets in, which the hub cannot write; nothing is
 * deleted without an archive but what a temporary visitor leaves; and while somebody goes, their server does not start.
 */

import type { ConfigFile } from '../../config/change/in-force.ts'
import { mayEnter } from '../../config/meaning/who-may-enter.ts'
import { isTemporaryName, type UserName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import type { Accounts } from '../accounts/ensure.ts'
import type { Departures } from '../accounts/remove.ts'
import type { Departure, Server } from '../client/protocol.ts'

export interface Leavers {
  /** Archives the home of somebody who may not enter any more, and deletes the account. Throws `USER_STILL_ALLOWED`, and as `Departures`. */
  archive(user: UserName): Promise<Departure>
  /** Deletes the account of a temporary visitor with all its files. Throws `USER_NOT_TEMPORARY`, `SERVER_RUNS`, and as `Departures`. */
  forget(user: UserName): Promise<Departure>
  /** Throws `USER_LEAVES` while the account is being deleted. */
  mustStay(user: UserName): void
}

export interface LeaversOptions {
  config: ConfigFile
  servers: { get(user: UserName): Server; stop(user: UserName): Server }
  accounts: Pick<Accounts, 'setAdmin'>
  departures: Departures
  log: (line: string) => void
}

export function createLeavers({ config, servers, accounts, departures, log }: LeaversOptions): Leavers {
  const leaving = new Set<UserName>()

  async function leave(user: UserName, depart: (user: UserName) => Promise<Departure>): Promise<Departure> {
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
      if (mayEnter(config.current(), user)) throw stillAllowed(user)
      servers.stop(user)
      return leave(user, departures.archive)
    },
    async forget(user) {
      const { allowed, admin } = config.current().users
      if (!isTemporaryName(user) || allowed.has(user) || admin.has(user)) throw notTemporary(user)
      if (!['stopped', 'failed'].includes(servers.get(user).kind)) throw serverRuns(user)
      return leave(user, departures.remove)
    },
    mustStay,
  }
}

function stillAllowed(user: UserName): ProblemError {
  return new ProblemError('USER_STILL_ALLOWED', {
    what: `The account of ${user} was not deleted`,
    why: 'the configuration lets that name in',
    fix: 'Take it out of the lists first: users.allowed, users.admin; or write it into users.banned',
  })
}

function notTemporary(user: UserName): ProblemError {
  return new ProblemError('USER_NOT_TEMPORARY', {
    what: `The account of ${user} was not deleted`,
    why: 'only accounts of temporary visitors are deleted without an archive',
    fix: 'Archive it',
  })
}

function serverRuns(user: UserName): ProblemError {
  return new ProblemError('SERVER_RUNS', {
    what: `The account of ${user} was not deleted`,
    why: 'its server runs',
    fix: 'Stop the server first',
  })
}
