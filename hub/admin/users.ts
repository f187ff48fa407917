/**
 * What those who look after the accounts can do: let people in, give them codes, rename them, shut them out, see them off. The command line
 * (hub/admin/user-command.ts) and the administrators' page say what is to be done, and how the configuration is changed and who touches the machine.
 *
 * What always holds: who may enter is decided by the configuration alone, and changed there first, once for all the names of a call. So
 * whatever fails afterwards, nobody is in who should be out; and the same call again completes what was cut off.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { Config } from '../../config/meaning/config.ts'
import { keepsPasswords, mayEnter } from '../../config/meaning/who-may-enter.ts'
import type { Path } from '../../config/text/edit.ts'
import type { UserName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import type { RemovedAccount } from '../../spawner/client/protocol.ts'
import type { Audit, AuditEntry } from '../../systemd/audit/audit.ts'
import { createSessions } from '../access/sessions.ts'
import { isSomebody } from '../credentials/all-users.ts'
import type { Credential } from '../credentials/credential.ts'
import { createLogins } from '../credentials/last-logins.ts'
import { createOneTimeCodes } from '../credentials/one-time-codes.ts'
import { createPasswords } from '../credentials/passwords.ts'
import { legibleGroups } from '../credentials/readable-codes.ts'
import { createSecondFactors } from '../credentials/second-factor.ts'
import { forgetPerson, isInState, isWaiting, renamePerson } from '../state/user-rows.ts'
import {
  adminList,
  allowedList,
  bannedList,
  membersOf,
  renamed,
  withNames,
  withoutName,
  withoutPerson,
} from './config-lists.ts'

export interface CredentialOptions {
  hasPassword: boolean
  lifeMs: number
  /** Also for those who have a code that still counts. */
  isRenewed?: boolean
}

export interface UserPlacement {
  isAdmin: boolean
  group: string | undefined
}

/** What the machine has of somebody; the hub itself has only the spawner's verbs for it. */
export interface Machine {
  /** Stops the server, archives the home, deletes account and home. */
  archive(user: UserName): Promise<RemovedAccount>
  /** Likewise, without an archive. */
  remove(user: UserName): Promise<RemovedAccount>
  isKnown(user: UserName): Promise<boolean>
  renamings: {
    begun(): { from: UserName; to: UserName } | undefined
    begin(renaming: { from: UserName; to: UserName }): void
    carryOut(renaming: { from: UserName; to: UserName }): Promise<void>
    end(): void
  }
}

export interface PeopleOptions {
  config: () => Config
  /** Brings an edit of the configuration into force, under its lock. Throws what keeps it from that, and nothing has changed. */
  change(how: string, edit: (text: string) => string): Promise<void>
  /** Opens the hub's database for the length of `work`. */
  withState<Result>(work: (db: DatabaseSync) => Result | Promise<Result>): Promise<Result>
  machine: Machine
  audit: Audit
  /** Who does it. */
  who: string
}

export interface Removal {
  user: UserName
  departure?: RemovedAccount
  /** Why the account is still there. They are shut out in any case. */
  problem?: ProblemError
}

export interface People {
  /** Lets them in, and gives a credential to each who has none. Throws `PERSON_BANNED`, and what `change` throws. */
  add(users: readonly UserName[], place: UserPlacement, how: string, options: CredentialOptions): Promise<Credential[]>
  /** New codes, which make the ones before void. Throws `PERSON_NOT_LET_IN`, `CODES_USELESS`. */
  invite(
    users: readonly UserName[],
    options: Pick<CredentialOptions, 'lifeMs'> & { ifUnset: boolean },
  ): Promise<Credential[]>
  /** Answers whether it was set: with `ifUnset`, one that is there stays. Throws `PASSWORD_…`. */
  setPassword(user: UserName, password: string, options: { ifUnset: boolean }): Promise<boolean>
  disable(user: UserName): Promise<void>
  enable(user: UserName): Promise<void>
  rename(from: UserName, to: UserName): Promise<void>
  /** Shuts them out by one change, and deletes their accounts one after the other. */
  remove(users: readonly UserName[], options: RemoveOptions): Promise<Removal[]>
  /** Who of them is known nowhere. */
  strangers(users: readonly UserName[]): Promise<UserName[]>
  /** Takes away what binds the name to an identity elsewhere. Answers whether there was any. */
  unlink(user: UserName): Promise<boolean>
  /** Answers whether there was one. */
  switchSecondFactorOff(user: UserName): Promise<boolean>
}

export interface RemoveOptions {
  how: string
  hasArchive: boolean
  onLeft?: (leaving: Removal) => void
}

export function createPeople({ config, change, withState, machine, audit, who }: PeopleOptions): People {
  let recorded = 0
  /** The audit log takes only so many at once (systemd/audit/audit.ts), and a class is more. */
  async function record(kind: AuditEntry['kind'], message: string, whom: UserName): Promise<void> {
    audit.record({ kind, message, who, whom })
    if (++recorded % 100 === 0) await audit.flush()
  }

  async function credentialFor(db: DatabaseSync, user: UserName, options: CredentialOptions): Promise<Credential> {
    const inForce = config()
    if (inForce.users.banned.has(user)) return { kind: 'none', user, why: 'banned' }
    if (!keepsPasswords(inForce)) return { kind: 'none', user, why: 'elsewhere' }
    const passwords = createPasswords(db, () => inForce)
    const codes = createOneTimeCodes(db)
    if (passwords.has(user)) return { kind: 'none', user, why: 'password' }
    if (codes.expiryOf(user) !== undefined && !options.isRenewed) return { kind: 'none', user, why: 'code' }
    if (!options.hasPassword) return issue(db, user, options.lifeMs)
    const password = newPassword(inForce.leastPasswordLength)
    await passwords.set(user, password)
    codes.forget(user)
    await record('password', `${who} set a password for ${user}`, user)
    return { kind: 'password', user, password }
  }

  async function issue(db: DatabaseSync, user: UserName, lifeMs: number): Promise<Credential> {
    const code = createOneTimeCodes(db).issue(user, lifeMs)
    await record('code', `${who} made a one-time code for ${user}`, user)
    return { kind: 'code', user, code, expires: Date.now() + lifeMs }
  }

  async function isStranger(user: UserName): Promise<boolean> {
    if (await machine.isKnown(user)) return false
    return withState(db => !isSomebody({ config: config(), db }, user) && !isWaiting(db, user))
  }

  return {
    async add(users, { isAdmin, group }, how, options) {
      const banned = users.filter(user => config().users.banned.has(user))
      if (banned.length) throw isBanned(banned)
      const paths: Path[] = [isAdmin ? adminList : allowedList, ...(group === undefined ? [] : [membersOf(group)])]
      const isNew = (user: UserName) => !mayEnter(config(), user)
      const added = users.filter(isNew)
      await change(how, text => paths.reduce((edited, path) => withNames(edited, path, users), text))
      for (const user of added)
        await record('account', `${who} let ${user} in${isAdmin ? ' as an administrator' : ''}`, user)
      return withState(async db => {
        const credentials: Credential[] = []
        for (const user of users) credentials.push(await credentialFor(db, user, options))
        return credentials
      })
    },

    async invite(users, { lifeMs, ifUnset }) {
      const inForce = config()
      const outside = users.filter(user => !mayEnter(inForce, user))
      const isUseless = !keepsPasswords(inForce)
      if (outside.length && !ifUnset) throw notLetIn(outside, inForce)
      if (isUseless && !ifUnset) throw codesUseless()
      return withState(async db => {
        const passwords = createPasswords(db, config)
        const credentials: Credential[] = []
        for (const user of users) {
          if (outside.includes(user)) credentials.push({ kind: 'none', user, why: 'banned' })
          else if (isUseless) credentials.push({ kind: 'none', user, why: 'elsewhere' })
          else if (ifUnset && passwords.has(user)) credentials.push({ kind: 'none', user, why: 'password' })
          else credentials.push(await issue(db, user, lifeMs))
        }
        return credentials
      })
    },

    async setPassword(user, password, { ifUnset }) {
      if (await isStranger(user)) throw unknown([user])
      const isSet = await withState(async db => {
        const passwords = createPasswords(db, config)
        if (ifUnset) return passwords.setFirst(user, password, { isCertain: true })
        await passwords.set(user, password)
        createOneTimeCodes(db).forget(user)
        createSessions(db).endAllOf(user)
        return true
      })
      if (isSet) await record('password', `${who} set a password for ${user}`, user)
      return isSet
    },

    async disable(user) {
      if (await isStranger(user)) throw unknown([user])
      mustLeaveAdmin(config(), [user])
      await change(`user disable ${user}`, text => withNames(text, bannedList, [user]))
      // The hub ends sessions at the change; this is for one that does not run.
      await withState(db => createSessions(db).endAllOf(user))
      await record('account', `${who} shut ${user} out`, user)
    },

    async enable(user) {
      await change(`user enable ${user}`, text => withoutName(text, bannedList, user))
      if (!mayEnter(config(), user)) throw notLetIn([user], config())
      await record('account', `${who} let ${user} in again`, user)
    },

    async rename(from, to) {
      const { renamings } = machine
      const begun = renamings.begun()
      if (begun && (begun.from !== from || begun.to !== to)) throw otherRenaming(begun)
      if (!begun) {
        if (await isStranger(from)) throw unknown([from])
        if (from === to || !(await isStranger(to))) throw isTaken(to)
        renamings.begin({ from, to })
      }
      try {
        await change(`user rename ${from} ${to}`, text => renamed(text, from, to))
      } catch (error) {
        // A configuration that was not changed is no renaming that was begun.
        if (!begun) renamings.end()
        throw error
      }
      await renamings.carryOut({ from, to })
      await withState(db => renamePerson(db, from, to))
      renamings.end()
      await record('account', `${who} renamed ${from} to ${to}`, to)
    },

    async remove(users, { how, hasArchive, onLeft }) {
      mustLeaveAdmin(config(), users)
      // Where strangers may enter, a name that is banned must stay so.
      const kept = config().auth.isOpen ? [bannedList] : []
      await change(how, text => users.reduce((edited, user) => withoutPerson(edited, user, kept), text))
      await withState(db => {
        for (const user of users) forgetPerson(db, user)
      })
      const leavings: Removal[] = []
      for (const user of users) {
        const leaving = await leave(user, hasArchive)
        leavings.push(leaving)
        onLeft?.(leaving)
      }
      return leavings
    },

    async strangers(users) {
      const found = await Promise.all(users.map(async user => ((await isStranger(user)) ? [user] : [])))
      return found.flat()
    },

    async unlink(user) {
      const wasLinked = await withState(db => {
        const { changes } = db.prepare('DELETE FROM identities WHERE user = ?').run(user)
        createSessions(db).endAllOf(user)
        if (keepsPasswords(config())) return Number(changes) > 0
        // Nothing of it opens anything any more, and all of it keeps whoever is called so elsewhere out.
        const had = isInState(db, user)
        createPasswords(db, config).forget(user)
        createOneTimeCodes(db).forget(user)
        createLogins(db).forget(user)
        return had
      })
      if (wasLinked) await record('account', `${who} freed the name ${user} for an account elsewhere`, user)
      return wasLinked
    },

    async switchSecondFactorOff(user) {
      const wasOn = await withState(db => {
        const factors = createSecondFactors(db, () => '')
        const isOn = factors.isOn(user)
        factors.switchOff(user)
        return isOn
      })
      if (wasOn) await record('second-factor', `${who} switched the second factor of ${user} off`, user)
      return wasOn
    },
  }

  /** An error with one user does not stop the others. */
  async function leave(user: UserName, hasArchive: boolean): Promise<Removal> {
    try {
      const departure = hasArchive ? await machine.archive(user) : await machine.remove(user)
      const home = departure.archive ? `; the home is ${departure.archive}` : ''
      await record('account', `${who} deleted the account of ${user}${home}`, user)
      return { user, departure }
    } catch (problem) {
      if (!(problem instanceof ProblemError)) throw problem
      return { user, problem }
    }
  }
}

export function unknown(users: readonly UserName[]): ProblemError {
  return new ProblemError('PERSON_UNKNOWN', {
    what: 'Nothing was changed',
    why: `nobody here is called ${users.join(' or ')}`,
    fix: 'See who there is with: sudo tljh-ts user list',
  })
}

/** At least 59 bits. */
function newPassword(leastLength: number): string {
  return legibleGroups(Math.max(3, Math.ceil((leastLength + 1) / 5)))
}

function mustLeaveAdmin({ users: { admin, banned } }: Config, leaving: readonly UserName[]): void {
  const active = [...admin].filter(user => !banned.has(user))
  if (active.length === 0 || active.some(user => !leaving.includes(user))) return
  throw new ProblemError('LAST_ADMIN', {
    what: 'Nothing was changed',
    why: `without ${active.join(', ')} there would be no administrator`,
    fix: 'Add another one first: sudo tljh-ts user add NAME --admin',
  })
}

function isBanned(users: readonly UserName[]): ProblemError {
  return new ProblemError('PERSON_BANNED', {
    what: 'Nobody was added',
    why: `${users.join(', ')} ${users.length === 1 ? 'is' : 'are'} in users.banned, which is stronger than every other list`,
    fix: `Let them in again: sudo tljh-ts user enable ${users[0]}`,
  })
}

function notLetIn(users: readonly UserName[], { users: { banned } }: Config): ProblemError {
  const isShutOut = users.every(user => banned.has(user))
  return new ProblemError('PERSON_NOT_LET_IN', {
    what: `${users.join(', ')} may not enter`,
    why: isShutOut
      ? 'users.banned has the name'
      : 'the configuration does not name them in users.allowed or users.admin',
    fix: isShutOut
      ? `Let them in again: sudo tljh-ts user enable ${users[0]}`
      : `Let them in: sudo tljh-ts user add ${users.join(' ')}`,
  })
}

function codesUseless(): ProblemError {
  return new ProblemError('CODES_USELESS', {
    what: 'No code was made',
    why: 'no way in that auth.type names has passwords that are kept here',
    fix: 'People log in as auth.type says: sudo tljh-ts config get auth.type',
  })
}

function isTaken(user: UserName): ProblemError {
  return new ProblemError('NAME_TAKEN', {
    what: 'Nothing was changed',
    why: `the name ${user} is taken: by a list of the configuration, in the hub's database, or by an account, group or home of the machine`,
    fix: 'Choose another name; see: sudo tljh-ts user list',
  })
}

function otherRenaming({ from, to }: { from: UserName; to: UserName }): ProblemError {
  return new ProblemError('RENAME_BEGUN', {
    what: 'Nothing was changed',
    why: `the renaming of ${from} to ${to} was cut off and is not complete`,
    fix: `Complete it first: sudo tljh-ts user rename ${from} ${to}`,
  })
}
