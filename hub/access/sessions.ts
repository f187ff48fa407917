/**
 * Who is logged in. The browser holds a random token; the file holds its hash, so a stolen file opens no session.
 *
 * A session that began without TLS has sent its token in the clear, and counts on no connection with TLS; nor the other way round.
 *
 * A session that is too old by the clock opens nothing, and stays in the file: a clock that jumps ahead and back loses none. What is deleted is
 * what was ended, and the oldest where a user has very many. (One that began while the clock was ahead counts longer by as much.)
 */
import { hash, randomBytes } from 'node:crypto'
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import type { UserName } from '../../config/users/names.ts'
import { isDiskFull } from '../../problem.ts'
import { briefMemo } from '../web/brief-memo.ts'
import { detached } from '../web/detached-string.ts'

export interface Session {
  /** Hex of the token's hash: names the session in the hub, and opens nothing. */
  id: string
  user: UserName
  /** How the person came in. */
  way: AuthenticatorKind
  /** Milliseconds since 1970. */
  started: number
}

export interface Sessions {
  /** Starts one, and returns the token for the browser. `isSecure`: the browser speaks TLS with us. */
  start(user: UserName, way: AuthenticatorKind, isSecure: boolean): string
  /** One that began over a connection of the same kind. */
  find(token: string | undefined, isSecure: boolean): Session | undefined
  /** Whether it has neither been ended nor grown too old. */
  isOpen(session: Session): boolean
  /** When one of that user was last asked for in this process, in milliseconds since 1970; 0 for never. */
  lastSeen(user: UserName): number
  /** Milliseconds since one of that user began or was asked for; since the start of this process where neither happened in it. */
  idleMs(user: UserName): number
  /** Whether there is one that was not ended, even if it is too old. */
  hasAny(user: UserName): boolean
  end(session: Session): void
  endAllOf(user: UserName): void
  /** Ends all of a user but this one. */
  endOthers(session: Session): void
  /** Ends those that began without TLS: for a hub that has it. */
  endPlain(): void
  /** Ends those of every user and way in of whom `isIn` says no. */
  keepOnly(isIn: (user: UserName, way: AuthenticatorKind) => boolean): void
  /** Calls `listener` after a session was ended here. */
  onEnd(listener: () => void): void
}

interface Found {
  session: Session
  isSecure: boolean
  /** In milliseconds since 1970. */
  expires: number
}

/** 32 bytes. What is none is not even looked for. */
const tokenShape = /^[\w-]{43}$/

/** JupyterHub's. */
export const sessionAgeSeconds = 14 * 24 * 3600

/** Of one user, so that nobody fills the disk by logging in again and again. */
const mostOfUser = 100

/** Where the disk is full, even for what was set aside (hub/state/reserve.ts), a session lives in memory until the hub ends. */
const everySession = '(SELECT * FROM sessions UNION ALL SELECT * FROM unkept_sessions)'

/** @param steady milliseconds of a clock that nobody sets */
export function createSessions(db: DatabaseSync, steady: () => number = () => performance.now()): Sessions {
  db.exec('CREATE TEMP TABLE IF NOT EXISTS unkept_sessions AS SELECT * FROM sessions WHERE FALSE')
  const insertion = (table: string) =>
    db.prepare(`INSERT INTO ${table} (id, user, expires, way, started, is_secure) VALUES (?, ?, ?, ?, ?, ?)`)
  const [insert, insertUnkept] = [insertion('sessions'), insertion('unkept_sessions')]
  const deletion = (condition: string) => {
    const statements = ['unkept_sessions', 'sessions'].map(table =>
      db.prepare(`DELETE FROM ${table} WHERE ${condition}`),
    )
    const run = (...values: SQLInputValue[]) => ({
      changes: statements.reduce((sum, statement) => sum + Number(statement.run(...values).changes), 0),
    })
    return { run }
  }
  const select = db.prepare(
    `SELECT user, way, started, is_secure, expires FROM ${everySession} WHERE id = ? AND expires > ?`,
  )
  const othersChanges = db.prepare('PRAGMA data_version')
  const ownChanges = db.prepare('SELECT total_changes() AS count')
  const remove = deletion('id = ?')
  const removeAllOf = deletion('user = ?')
  const selectAny = db.prepare(`SELECT 1 FROM ${everySession} WHERE user = ?`)
  /** By user: by the clock of the machine, and by the steady one. */
  const seen = new Map<string, { at: number; steadyAt: number }>()
  const began = steady()
  const listeners: (() => void)[] = []
  const selectKinds = db.prepare(`SELECT DISTINCT user, way FROM ${everySession}`)
  const removeKind = deletion('user = ? AND way = ?')
  const removeOthers = deletion('user = ? AND id <> ?')
  const removePlain = deletion('is_secure = 0')
  const removeOldest = deletion(
    `user = ?1 AND id NOT IN (SELECT id FROM ${everySession} WHERE user = ?1 ORDER BY expires DESC LIMIT ?2)`,
  )

  /** By token: what was found, as long as nobody has written anything since. (What is asked in the middle of a transaction is not taken back with it.) */
  const found = new Map<string, Found>()
  let [seenOthers, seenOwn]: unknown[] = []
  const forgetWhatChanged = () => {
    const [others, own] = [othersChanges.get()?.data_version, ownChanges.get()?.count]
    if (others === seenOthers && own === seenOwn) return
    found.clear()
    ;[seenOthers, seenOwn] = [others, own]
  }
  const changes = briefMemo(forgetWhatChanged)

  function look(token: string): Found | undefined {
    if (!tokenShape.test(token)) return undefined
    const id = hashOf(token)
    const row = select.get(id, Date.now())
    if (!row) return undefined
    const user = String(row.user) as UserName
    const way = String(row.way) as AuthenticatorKind
    const session = { id: id.toString('hex'), user, way, started: Number(row.started) }
    const known = { session, isSecure: row.is_secure === 1, expires: Number(row.expires) }
    found.set(detached(token), known)
    return known
  }

  function saw(user: UserName, at: number): void {
    const known = seen.get(user)
    if (!known) seen.set(user, { at, steadyAt: steady() })
    else {
      known.at = at
      known.steadyAt = steady()
    }
  }

  function tellOfEnd(): void {
    changes.forget()
    for (const listener of listeners) listener()
  }

  return {
    start(user, way, isSecure) {
      const now = Date.now()
      const token = randomBytes(32).toString('base64url')
      const row = [hashOf(token), user, now + sessionAgeSeconds * 1000, way, now, isSecure ? 1 : 0]
      try {
        if (removeOldest.run(user, mostOfUser - 1).changes > 0) tellOfEnd()
        insert.run(...row)
      } catch (error) {
        if (!isDiskFull(error)) throw error
        insertUnkept.run(...row)
      }
      saw(user, now)
      return token
    },
    find(token, isSecure) {
      if (!token) return undefined
      changes.get()
      const known = found.get(token) ?? look(token)
      const now = Date.now()
      if (known?.isSecure !== isSecure || known.expires <= now) return undefined
      saw(known.session.user, now)
      return known.session
    },
    isOpen({ id, user }) {
      const isOpen = select.get(Buffer.from(id, 'hex'), Date.now()) !== undefined
      if (isOpen) saw(user, Date.now())
      return isOpen
    },
    lastSeen: user => seen.get(user)?.at ?? 0,
    idleMs: user => steady() - (seen.get(user)?.steadyAt ?? began),
    hasAny: user => selectAny.get(user) !== undefined,
    end(session) {
      remove.run(Buffer.from(session.id, 'hex'))
      tellOfEnd()
    },
    endAllOf(user) {
      removeAllOf.run(user)
      tellOfEnd()
    },
    endOthers({ id, user }) {
      removeOthers.run(user, Buffer.from(id, 'hex'))
      tellOfEnd()
    },
    endPlain() {
      if (removePlain.run().changes === 0) return
      tellOfEnd()
    },
    keepOnly(isIn) {
      let hasEnded = false
      for (const { user, way } of selectKinds.all()) {
        if (isIn(String(user) as UserName, String(way) as AuthenticatorKind)) continue
        removeKind.run(user as string, way as string)
        hasEnded = true
      }
      if (hasEnded) tellOfEnd()
    },
    onEnd: listener => void listeners.push(listener),
  }
}

function hashOf(token: string): Buffer {
  return hash('sha256', token, 'buffer')
}
