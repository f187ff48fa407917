/** When each user was last here, and by which way in: for the lists of those who look after the accounts. */
import type { DatabaseSync } from 'node:sqlite'
import type { AuthenticatorKind } from '../config/authenticators.ts'
import type { UserName } from '../config/names.ts'

export interface Logins {
  add(user: UserName, way: AuthenticatorKind): void
  forget(user: UserName): void
  /** The last of each, in milliseconds since 1970. */
  all(): Map<UserName, { at: number; way: AuthenticatorKind }>
}

export function createLogins(db: DatabaseSync): Logins {
  const replace = db.prepare('INSERT OR REPLACE INTO logins (user, at, way) VALUES (?, ?, ?)')
  const remove = db.prepare('DELETE FROM logins WHERE user = ?')
  const select = db.prepare('SELECT user, at, way FROM logins')
  return {
    forget: user => void remove.run(user),
    add: (user, way) => void replace.run(user, Date.now(), way),
    all: () =>
      new Map(
        select
          .all()
          .map(({ user, at, way }) => [
            String(user) as UserName,
            { at: Number(at), way: String(way) as AuthenticatorKind },
          ]),
      ),
  }
}
