/**
 * Passwords, as argon2id hashes in the PHC string format, so that the cost can be raised and old hashes still be read. Hashes that came from
 * TLJH (bcrypt) are replaced by such when their owners log in.
 */
import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { availableParallelism } from 'node:os'
import type { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import pLimit from 'p-limit'
import type { Config } from '../../config/meaning/config.ts'
import type { UserName } from '../../config/users/names.ts'
import { isBcrypt } from '../../config/users/password-hash-formats.ts'
import { leastAdminLength, mustBeUsable } from '../../config/users/password-rules.ts'
import { ProblemError } from '../../problem.ts'
import { matchesBcrypt } from './bcrypt.ts'

export interface Passwords {
  /**
   * Throws `PASSWORD_SHORT`, `PASSWORD_LONG`, `PASSWORD_NAME`, `PASSWORD_COMMON` for a new password that nobody of that name may have,
   * whether there is such a user or not.
   */
  mustBeUsable(name: string, password: string): void
  /** `unset`: this user has none yet. All three take the same time. */
  check(user: UserName | undefined, password: string): Promise<'right' | 'wrong' | 'unset'>
  /** Replaces whatever there was. Throws as `prepare` does. */
  set(user: UserName, password: string): Promise<void>
  /**
   * The hash of a password that may be taken. Throws as `mustBeUsable` does, and `LOGINS_TOO_MANY`. `isCertain`: it is known that it is this user;
   * then more is asked of an administrator's, and the work may wait longer.
   */
  prepare(user: UserName, password: string, options: { isCertain: boolean }): Promise<string>
  /** Replaces whatever there was by what `prepare` made. */
  put(user: UserName, hash: string): void
  /** Stores what `prepare` made where there is nothing yet; answers whether it did. */
  addFirst(user: UserName, hash: string): boolean
  has(user: UserName): boolean
  forget(user: UserName): void
  /** Stores a password where there is none: of two first logins at once, one is told `false`. */
  setFirst(user: UserName, password: string, options: { isCertain: boolean }): Promise<boolean>
}

/** What the configuration says of passwords. */
export type PasswordSettings = Pick<Config, 'leastPasswordLength' | 'users' | 'branding'>

/** Of a password that is looked at; no new one is longer. */
const mostLength = 1024

/** The OWASP password storage cheat sheet's first choice: 19 MiB, 2 passes, 1 lane. */
const cost = { memory: 19_456, passes: 2, parallelism: 1 }
const tagLength = 32

/**
 * One processor stays free of them, so that nobody's notebook waits while a class logs in; on two, that makes about thirty a second. What
 * waits longer than a person does is turned away.
 */
const inTurn = pLimit(Math.max(1, availableParallelism() - 1))
const mostWaiting = 64
/** People who are certain to be who they say, with a one-time code or a session: the crowd that guesses does not turn them away. */
const mostCertainWaiting = 256
const deriveKey = promisify(argon2)

async function whenFree<Result>(work: () => Promise<Result>, most = mostWaiting): Promise<Result> {
  if (inTurn.pendingCount >= most) {
    throw new ProblemError('LOGINS_TOO_MANY', {
      what: 'You are not logged in yet',
      why: 'very many people are logging in at this moment',
      fix: 'Try again in a few seconds',
    })
  }
  return inTurn(work)
}

interface Hash {
  memory: number
  passes: number
  parallelism: number
  salt: Buffer
  tag: Buffer
}

/** `settings` are asked at each new password. */
export function createPasswords(db: DatabaseSync, settings: () => PasswordSettings): Passwords {
  const find = db.prepare('SELECT hash FROM passwords WHERE user = ?')
  const replace = db.prepare('INSERT OR REPLACE INTO passwords (user, hash, changed) VALUES (?, ?, ?)')
  const insert = db.prepare('INSERT OR IGNORE INTO passwords (user, hash, changed) VALUES (?, ?, ?)')
  const renew = db.prepare('UPDATE passwords SET hash = ? WHERE user = ? AND hash = ?')
  const remove = db.prepare('DELETE FROM passwords WHERE user = ?')
  // Compared against where there is no password, so that the answer takes as long.
  const nobody: Hash = { ...cost, salt: randomBytes(16), tag: Buffer.alloc(tagLength) }

  /** A password that is shorter than new ones may be stays in force: nobody is locked out by moving. */
  async function checkImported(user: UserName, password: string, stored: string): Promise<'right' | 'wrong'> {
    if (!(await whenFree(() => matchesBcrypt(stored, password)))) return 'wrong'
    renew.run(await hash(password, mostWaiting), user, stored)
    return 'right'
  }

  function demand(name: string, password: string, leastLength = settings().leastPasswordLength): void {
    mustBeUsable(password, { leastLength, names: [name, settings().branding.title] })
  }

  return {
    mustBeUsable: (name, password) => demand(name, password),
    async check(user, password) {
      const row = user === undefined ? undefined : find.get(user)
      const text = row ? String(row.hash) : ''
      if (user !== undefined && isBcrypt(text)) return checkImported(user, password.slice(0, mostLength), text)
      const stored = row ? readHash(text) : undefined
      const isRight = await matches(stored ?? nobody, password.slice(0, mostLength))
      if (!stored) return 'unset'
      return isRight ? 'right' : 'wrong'
    },
    async prepare(user, password, { isCertain }) {
      const { leastPasswordLength: least, users } = settings()
      const isAdmins = isCertain && users.admin.has(user)
      demand(user, password, isAdmins ? Math.max(least, leastAdminLength) : least)
      return hash(password, isCertain ? mostCertainWaiting : mostWaiting)
    },
    put: (user, made) => void replace.run(user, made, Date.now()),
    addFirst: (user, made) => Number(insert.run(user, made, Date.now()).changes) === 1,
    has: user => find.get(user) !== undefined,
    forget: user => void remove.run(user),
    async set(user, password) {
      this.put(user, await this.prepare(user, password, { isCertain: true }))
    },
    async setFirst(user, password, options) {
      return this.addFirst(user, await this.prepare(user, password, options))
    },
  }
}

async function hash(password: string, mostInLine: number): Promise<string> {
  const salt = randomBytes(16)
  const parameters = { ...cost, nonce: salt, message: password, tagLength }
  const tag = await whenFree(() => deriveKey('argon2id', parameters), mostInLine)
  return `$argon2id$v=19$m=${cost.memory},t=${cost.passes},p=${cost.parallelism}$${base64(salt)}$${base64(tag)}`
}

async function matches({ memory, passes, parallelism, salt, tag }: Hash, password: string): Promise<boolean> {
  const parameters = { memory, passes, parallelism, nonce: salt, message: password, tagLength: tag.length }
  const given = await whenFree(() => deriveKey('argon2id', parameters))
  return timingSafeEqual(given, tag)
}

function readHash(text: string): Hash {
  const match = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([^$]+)\$([^$]+)$/.exec(text)
  if (!match) throw new Error('a stored password hash is not an argon2id PHC string')
  const [, memory, passes, parallelism, salt = '', tag = ''] = match
  return {
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, 'base64'),
    tag: Buffer.from(tag, 'base64'),
  }
}

/** PHC strings have no padding. */
function base64(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}
