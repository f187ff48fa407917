/** When each user was last here, and by which way in: for the lists of those who look after the accounts. */
import type { DatabaseSync, SQLOutputValue } from 'node:sqlite'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import type { UserName } from '../../config/users/names.ts'
import { isDiskFull } from '../../problem.ts'

export interface LastLogin {
  /** In milliseconds since 1970. */
  at: number
  way: AuthenticatorKind
}

export interface Logins {
  add(user: UserName, way: AuthenticatorKind): void
  forget(user: UserName): void
  of(user: UserName): LastLogin | undefined
  all(): Map<UserName, LastLogin>
}

export function createLogins(db: DatabaseSync): Logins {
  const replace = db.prepare('INSERT OR REPLACE INTO logins (user, at, way) VALUES (?, ?, ?)')
  const remove = db.prepare('DELETE FROM logins WHERE user = ?')
  const select = db.prepare('SELECT user, at, way FROM logins')
  const selectOne = db.prepare('SELECT at, way FROM logins WHERE user = ?')
  return {
    of(user) {
      const row = selectOne.get(user)
      return row && lastLogin(row)
    },
    forget: user => void remove.run(user),
    add(user, way) {
      try {
        replace.run(user, Date.now(), way)
      } catch (error) {
        // A full disk keeps nobody out for want of a time in a list.
        if (!isDiskFull(error)) throw error
      }
    },
    all: () => new Map(select.all().map(row => [String(row.user) as UserName, lastLogin(row)])),
  }
}

function lastLogin({ at, way }: Record<string, SQLOutputValue>): LastLogin {
  return { at: Number(at), way: String(way) as AuthenticatorKind }
}
