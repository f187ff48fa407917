/**
 * Who has signed up and waits for an administrator. The password that somebody chose counts for nothing until then: a name that is let in
 * by another way meanwhile never gets the password of whoever signed up under it.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { UserName } from '../../config/users/names.ts'
import { atOnce } from '../state/database.ts'
import type { Passwords } from './passwords.ts'

export interface SignUp {
  user: UserName
  /** Empty where none was asked for. Nobody has checked it. */
  email: string
  /** Milliseconds since 1970. */
  requested: number
}

export interface SignUps {
  /** The oldest first. */
  waiting(): SignUp[]
  /** Answers `false` where somebody of that name waits already, or too many do. `hash` is what `Passwords.prepare` made. */
  add(user: UserName, email: string, hash: string): boolean
  /** Makes the password count. Answers `false` where nobody of that name waits, or somebody has a password already. */
  accept(user: UserName): boolean
  reject(user: UserName): boolean
}

/** Beyond, somebody is filling the list: new ones are refused until it is shorter. */
const mostWaiting = 500

export function createSignUps(db: DatabaseSync, passwords: Passwords): SignUps {
  const insert = db.prepare('INSERT OR IGNORE INTO sign_ups (user, hash, email, requested) VALUES (?, ?, ?, ?)')
  const select = db.prepare('SELECT user, email, requested FROM sign_ups ORDER BY requested')
  const take = db.prepare('DELETE FROM sign_ups WHERE user = ? RETURNING hash')
  const count = db.prepare('SELECT count(*) AS number FROM sign_ups')

  return {
    waiting: () =>
      select.all().map(({ user, email, requested }) => ({
        user: String(user) as UserName,
        email: String(email),
        requested: Number(requested),
      })),
    add(user, email, hash) {
      if (Number(count.get()?.number) >= mostWaiting) return false
      return Number(insert.run(user, hash, email, Date.now()).changes) === 1
    },
    accept: user =>
      atOnce(db, () => {
        const row = take.get(user)
        return row !== undefined && passwords.addFirst(user, String(row.hash))
      }),
    reject: user => take.get(user) !== undefined,
  }
}
