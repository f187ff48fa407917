/**
 * Who there is, and what is known of them. The page *People*, `tljh-ts user`, sign-ups and visits all ask here.
 *
 * A name stands for somebody where the configuration has it, the hub's database has, or an account of the hub's making. Whoever has only signed up
 * waits, and is nobody yet: the name is still free for another.
 */
import { readFileSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import type { Config } from '../../config/meaning/config.ts'
import { isNamed, mayEnter, namedIn } from '../../config/meaning/who-may-enter.ts'
import { passwdFile } from '../../config/users/machine-accounts.ts'
import {
  accountPrefix,
  isCutName,
  isUserName,
  type UserName,
  unixName,
  userInComment,
} from '../../config/users/names.ts'
import type { Server } from '../../spawner/client/protocol.ts'
import { isInState, usersInState } from '../state/user-rows.ts'

export interface KnownUser {
  user: UserName
  mayEnter: boolean
  isAdmin: boolean
  isBanned: boolean
  /** Whether `users.allowed` or `users.admin` has the name. */
  isNamed: boolean
  groups: readonly string[]
  password: 'set' | 'code' | 'none'
  /** When the one-time code expires, where one counts. Times are milliseconds since 1970. */
  codeExpires: number | null
  lastLogin: number | null
  /** The last sign of them: a login, a session, a password. */
  lastSeen: number | null
  server: Server['kind']
  hasSecondFactor: boolean
  /** Waits for an administrator's approval. */
  signedUp: number | null
  /** The account of the machine, where there is one. */
  account: string | null
}

/** What users are known by, beside the accounts of the machine. */
export interface UserSources {
  config: Config
  db: DatabaseSync
}

/** Whether that name stands for somebody. */
export function isSomebody(
  { config, db }: UserSources,
  user: UserName,
  passwd = readFileSync(passwdFile, 'utf8'),
): boolean {
  return namedIn(config).has(user) || isInState(db, user) || isOwned(accounts(passwd), user)
}

/** All of them, and whoever waits for approval, by name. */
export function allUsers({ config, db }: UserSources, servers: readonly Server[]): KnownUser[] {
  const column = (sql: string) =>
    new Map(
      db
        .prepare(sql)
        .all()
        .map(({ user, value }) => [String(user), Number(value)]),
    )
  const passwords = column('SELECT user, changed AS value FROM passwords')
  const codes = column(`SELECT user, expires AS value FROM one_time_codes WHERE expires > ${Date.now()}`)
  const logins = column('SELECT user, at AS value FROM logins')
  const sessions = column('SELECT user, max(started) AS value FROM sessions GROUP BY user')
  const factors = column('SELECT user, 1 AS value FROM second_factors')
  const signUps = column('SELECT user, requested AS value FROM sign_ups')
  const running = new Map(servers.map(server => [server.user, server.kind]))
  const here = accounts(readFileSync(passwdFile, 'utf8'))
  const owners = [...here.values()].filter(owner => owner !== undefined)
  const names = new Set<string>([
    ...namedIn(config),
    ...running.keys(),
    ...usersInState(db),
    ...signUps.keys(),
    ...owners,
  ])
  return [...names]
    .filter(isUserName)
    .toSorted()
    .map(user => {
      const times = [logins, sessions, passwords].flatMap(known => known.get(user) ?? [])
      return {
        user,
        mayEnter: mayEnter(config, user),
        isAdmin: config.users.admin.has(user),
        isBanned: config.users.banned.has(user),
        isNamed: isNamed(config, user),
        groups: [...config.groups].flatMap(([group, members]) => (members.has(user) ? [group] : [])),
        password: passwords.has(user) ? 'set' : codes.has(user) ? 'code' : 'none',
        codeExpires: codes.get(user) ?? null,
        lastLogin: logins.get(user) ?? null,
        lastSeen: times.length ? Math.max(...times) : null,
        server: running.get(user) ?? 'stopped',
        hasSecondFactor: factors.has(user),
        signedUp: signUps.get(user) ?? null,
        account: isOwned(here, user) ? unixName(user) : null,
      }
    })
}

/** Accounts whose names we make, with the user that the comment names; undefined where the hub has not written it, as with TLJH's. */
function accounts(passwd: string): Map<string, string | undefined> {
  const lines = passwd.split('\n').filter(line => line.startsWith(accountPrefix))
  return new Map(
    lines.map(line => {
      const [name = '', , , , comment = ''] = line.split(':')
      return [name, userInComment(comment)]
    }),
  )
}

/** Whether a server of that user's would open an account that is there (spawner/accounts/ensure.ts). */
function isOwned(here: ReadonlyMap<string, string | undefined>, user: UserName): boolean {
  const name = unixName(user)
  return here.has(name) && (here.get(name) === user || (here.get(name) === undefined && !isCutName(user)))
}
