/**
 * Passwords, as argon2id hashes in the PHC string format, so that the cost can be raised and old hashes still be read. Hashes that came from
 * TLJH (bcrypt) are replaced by such when their owners log in.
 */
import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { availableParallelism } from 'node:os'
import type { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import pLimit from 'p-limit'
import type { UserName } from '../config/names.ts'
import { isBcrypt } from '../config/password-hashes.ts'
import { ProblemError } from '../problem.ts'
import { matchesBcrypt } from './bcrypt-check.ts'

export interface Passwords {
  /** The fewest characters of a new password. */
  leastLength(): number
  /** `unset`: this user has none yet. All three take the same time. */
  check(user: UserName | undefined, password: string): Promise<'right' | 'wrong' | 'unset'>
  /** Replaces whatever there was. Throws `PASSWORD_SHORT`, `PASSWORD_LONG`. */
  set(user: UserName, password: string): Promise<void>
  /** The hash of a password that may be taken. Throws `PASSWORD_SHORT`, `PASSWORD_LONG`. */
  prepare(password: string): Promise<string>
  /** Replaces whatever there was by what `prepare` made. */
  put(user: UserName, hash: string): void
  /** Stores what `prepare` made where there is nothing yet; answers whether it did. */
  addFirst(user: UserName, hash: string): boolean
  has(user: UserName): boolean
  forget(user: UserName): void
  /** Like `set`, but only where there is none: of two first logins at once, one is told `false`. */
  setFirst(user: UserName, password: string): Promise<boolean>
}

/** TLJH's minimum. */
const usualLeastLength = 7
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
const deriveKey = promisify(argon2)

function derive(...[algorithm, parameters]: Parameters<typeof deriveKey>): Promise<Buffer> {
  return whenFree(() => deriveKey(algorithm, parameters))
}

async function whenFree<Result>(work: () => Promise<Result>): Promise<Result> {
  if (inTurn.pendingCount >= mostWaiting) {
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

/** `leastLength` is asked at each new password: the fewest characters that it may have. */
export function createPasswords(db: DatabaseSync, leastLength: () => number = () => usualLeastLength): Passwords {
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
    renew.run(await hash(password, 0), user, stored)
    return 'right'
  }

  return {
    leastLength,
    async check(user, password) {
      const row = user === undefined ? undefined : find.get(user)
      const text = row ? String(row.hash) : ''
      if (user !== undefined && isBcrypt(text)) return checkImported(user, password.slice(0, mostLength), text)
      const stored = row ? readHash(text) : undefined
      const isRight = await matches(stored ?? nobody, password.slice(0, mostLength))
      if (!stored) return 'unset'
      return isRight ? 'right' : 'wrong'
    },
    prepare: password => hash(password, leastLength()),
    put: (user, made) => void replace.run(user, made, Date.now()),
    addFirst: (user, made) => Number(insert.run(user, made, Date.now()).changes) === 1,
    has: user => find.get(user) !== undefined,
    forget: user => void remove.run(user),
    async set(user, password) {
      this.put(user, await this.prepare(password))
    },
    async setFirst(user, password) {
      return this.addFirst(user, await this.prepare(password))
    },
  }
}

/** Says no more than what was typed. */
export function tooShort(password: string, leastLength: number): ProblemError {
  return new ProblemError('PASSWORD_SHORT', {
    what: 'That password was not taken',
    why: `it has ${password.length} characters, and a password here has at least ${leastLength}`,
    fix: 'Choose a longer one; three words that do not belong together are good',
  })
}

async function hash(password: string, leastLength: number): Promise<string> {
  if (password.length < leastLength) throw tooShort(password, leastLength)
  if (password.length > mostLength) {
    throw new ProblemError('PASSWORD_LONG', {
      what: 'That password was not taken',
      why: `it has more than ${mostLength} characters`,
      fix: 'Choose a shorter one',
    })
  }
  const salt = randomBytes(16)
  const tag = await derive('argon2id', { ...cost, nonce: salt, message: password, tagLength })
  return `$argon2id$v=19$m=${cost.memory},t=${cost.passes},p=${cost.parallelism}$${base64(salt)}$${base64(tag)}`
}

async function matches({ memory, passes, parallelism, salt, tag }: Hash, password: string): Promise<boolean> {
  const given = await derive('argon2id', {
    memory,
    passes,
    parallelism,
    nonce: salt,
    message: password,
    tagLength: tag.length,
  })
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
