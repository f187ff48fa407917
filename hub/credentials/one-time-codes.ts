/**
 * One-time codes: what an administrator gives to somebody who has no password, or has lost it. A code opens nothing but the page on which
 * its owner chooses a password, once, and for a limited time. A new code makes the old one void.
 */
import { createHash } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import type { UserName } from '../../config/users/names.ts'
import { atOnce } from '../state/database.ts'
import { legibleGroups } from './readable-codes.ts'

export interface OneTimeCodes {
  /** Makes one, and forgets the one before. */
  issue(user: UserName, lifeMs: number): string
  /** Whether it is that user's, and has not run out. It stays as it is. */
  isRight(user: UserName, code: string): boolean
  /** Uses it up for `work`: both happen, or neither. Of two who use it at once, one is told `false`. */
  use(user: UserName, code: string, work: () => void): boolean
  /** When the one that is there runs out, in milliseconds since 1970; undefined where there is none. */
  expiryOf(user: UserName): number | undefined
  forget(user: UserName): void
}

/** A class gets its codes on paper, a week or two before it begins. */
export const usualCodeLifeMs = 14 * 24 * 3600_000

export function createOneTimeCodes(db: DatabaseSync): OneTimeCodes {
  const replace = db.prepare('INSERT OR REPLACE INTO one_time_codes (user, hash, expires) VALUES (?, ?, ?)')
  const find = db.prepare('SELECT 1 FROM one_time_codes WHERE user = ? AND hash = ? AND expires > ?')
  const take = db.prepare('DELETE FROM one_time_codes WHERE user = ? AND hash = ? AND expires > ?')
  const expiry = db.prepare('SELECT expires FROM one_time_codes WHERE user = ? AND expires > ?')
  const remove = db.prepare('DELETE FROM one_time_codes WHERE user = ?')

  return {
    issue(user, lifeMs) {
      const code = legibleGroups(3)
      replace.run(user, hashOf(code), Date.now() + lifeMs)
      return code
    },
    isRight: (user, code) => find.get(user, hashOf(code), Date.now()) !== undefined,
    use: (user, code, work) =>
      atOnce(db, () => {
        const isUsed = Number(take.run(user, hashOf(code), Date.now()).changes) === 1
        if (isUsed) work()
        return isUsed
      }),
    expiryOf(user) {
      const row = expiry.get(user, Date.now())
      return row && Number(row.expires)
    },
    forget: user => void remove.run(user),
  }
}

/** Capitals, spaces and dashes do not matter to somebody who types it from paper. */
function hashOf(code: string): Buffer {
  return createHash('sha256').update(code.toLowerCase().replace(/[\s-]/g, '')).digest()
}
