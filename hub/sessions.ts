/**
 * Who is logged in. The browser holds a random token; the file holds its hash, so a stolen file opens no session.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import type { UserName } from '../config/names.ts'

export interface Session {
  /** Hex of the token's hash: names the session in the hub, and opens nothing. */
  id: string
  user: UserName
}

export interface Sessions {
  /** Starts one, and returns the token for the browser. */
  start(user: UserName): string
  find(token: string | undefined): Session | undefined
  /** Whether it has neither been ended nor grown too old. */
  isOpen(session: Session): boolean
  end(session: Session): void
  endAllOf(user: UserName): void
  /** Ends those of every user of whom `isIn` says no. */
  keepOnly(isIn: (user: UserName) => boolean): void
  /** Calls `listener` after a session was ended here. */
  onEnd(listener: () => void): void
}

/** JupyterHub's. */
export const sessionAgeSeconds = 14 * 24 * 3600

export function createSessions(db: DatabaseSync): Sessions {
  const insert = db.prepare('INSERT INTO sessions (id, user, expires) VALUES (?, ?, ?)')
  const select = db.prepare('SELECT user FROM sessions WHERE id = ? AND expires > ?')
  const remove = db.prepare('DELETE FROM sessions WHERE id = ?')
  const removeAllOf = db.prepare('DELETE FROM sessions WHERE user = ?')
  const listeners: (() => void)[] = []
  const selectUsers = db.prepare('SELECT DISTINCT user FROM sessions')
  const removeExpired = db.prepare('DELETE FROM sessions WHERE expires <= ?')

  return {
    start(user) {
      const now = Date.now()
      const token = randomBytes(32).toString('base64url')
      removeExpired.run(now)
      insert.run(hashOf(token), user, now + sessionAgeSeconds * 1000)
      return token
    },
    find(token) {
      if (!token) return undefined
      const id = hashOf(token)
      const row = select.get(id, Date.now())
      return row ? { id: id.toString('hex'), user: String(row.user) as UserName } : undefined
    },
    isOpen: session => select.get(Buffer.from(session.id, 'hex'), Date.now()) !== undefined,
    end(session) {
      remove.run(Buffer.from(session.id, 'hex'))
      for (const listener of listeners) listener()
    },
    endAllOf(user) {
      removeAllOf.run(user)
      for (const listener of listeners) listener()
    },
    keepOnly(isIn) {
      const users = selectUsers.all().map(row => String(row.user) as UserName)
      for (const user of users) if (!isIn(user)) this.endAllOf(user)
    },
    onEnd: listener => void listeners.push(listener),
  }
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
