/**
 * Everybody who is known to the hub, and what is known of them: what `tljh-ts user list` prints.
 */
import type { DatabaseSync } from 'node:sqlite'
import { dayOf } from '../../cli/day.ts'
import { tableText } from '../../cli/table.ts'
import type { Config } from '../../config/meaning/config.ts'
import { mayEnter, namedIn } from '../../config/meaning/who-may-enter.ts'
import { accountComment, isUserName, type UserName, unixName } from '../../config/users/names.ts'
import type { Server } from '../../spawner/client/protocol.ts'

export interface KnownPerson {
  user: UserName
  mayEnter: boolean
  isAdmin: boolean
  isBanned: boolean
  groups: string[]
  password: 'set' | 'code' | 'none'
  /** Of the one-time code that counts. Times are milliseconds since 1970. */
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

export interface Sources {
  config: Config
  db: DatabaseSync
  servers: readonly Server[]
  /** The text of `getent passwd`. */
  passwd: string
}

/** By name. */
export function census({ config, db, servers, passwd }: Sources): KnownPerson[] {
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
  const accounts = accountsIn(passwd)
  const names = new Set<UserName>([...namedIn(config), ...running.keys()])
  for (const known of [passwords, codes, logins, sessions, factors, signUps]) {
    for (const user of known.keys()) if (isUserName(user)) names.add(user)
  }
  for (const { owner } of accounts.values()) if (owner && isUserName(owner)) names.add(owner)
  return [...names].toSorted().map(user => {
    const times = [logins, sessions, passwords].flatMap(known => known.get(user) ?? [])
    return {
      user,
      mayEnter: mayEnter(config, user),
      isAdmin: config.users.admin.has(user),
      isBanned: config.users.banned.has(user),
      groups: [...config.groups].flatMap(([group, members]) => (members.has(user) ? [group] : [])),
      password: passwords.has(user) ? 'set' : codes.has(user) ? 'code' : 'none',
      codeExpires: codes.get(user) ?? null,
      lastLogin: logins.get(user) ?? null,
      lastSeen: times.length ? Math.max(...times) : null,
      server: running.get(user) ?? 'stopped',
      hasSecondFactor: factors.has(user),
      signedUp: signUps.get(user) ?? null,
      account: accounts.has(unixName(user)) ? unixName(user) : null,
    }
  })
}

/** For a terminal. */
export function censusText(people: readonly KnownPerson[]): string {
  const rows = people.map(person => [
    person.user,
    standing(person),
    person.password === 'code'
      ? `code until ${dayOf(person.codeExpires ?? 0)}`
      : person.password === 'set'
        ? 'password'
        : '-',
    person.hasSecondFactor ? 'yes' : '-',
    person.lastLogin === null ? 'never' : dayOf(person.lastLogin),
    person.server,
    person.account ?? '-',
  ])
  return tableText([['NAME', 'MAY ENTER', 'LOGS IN WITH', 'SECOND FACTOR', 'LAST LOGIN', 'SERVER', 'ACCOUNT'], ...rows])
}

function standing({ mayEnter, isAdmin, isBanned, groups, signedUp }: KnownPerson): string {
  if (isBanned) return 'no: banned'
  if (signedUp !== null && !mayEnter) return `no: signed up ${dayOf(signedUp)}`
  if (!mayEnter) return 'no'
  return [isAdmin ? 'administrator' : 'yes', ...groups].join(', ')
}

/** The accounts whose names we make, with the user that the comment names (spawner/accounts/ensure.ts). */
function accountsIn(passwd: string): Map<string, { owner: string | undefined }> {
  const lines = passwd.split('\n').filter(line => line.startsWith('jupyter-'))
  return new Map(
    lines.map(line => {
      const [name = '', , , , comment = ''] = line.split(':')
      return [name, { owner: comment.startsWith(accountComment) ? comment.slice(accountComment.length) : undefined }]
    }),
  )
}
