/**
 * People who are away at a provider to log in there.
 *
 * What is needed when they come back is kept in their own browser, in a cookie that only the hub can read or make (AES-256-GCM). Its name comes from
 * the login's state, and the seal holds only under that name: so several tabs do not get in each other's way, and a cookie is of use
 * for its own login alone. It counts once, for ten minutes. The key is kept in the state file, so that a restart of the hub interrupts nobody.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import { secret } from '../state/secrets.ts'
import { cookieValues, type OwnCookie, ownCookie } from '../web/cookies.ts'

export interface ExternalLoginState {
  way: AuthenticatorKind
  /** The way's own. */
  kept: string
  /** Where the provider was told to lead back to. */
  callback: string
  /** Where to go afterwards: a path of ours, or nothing. */
  next: string
}

export interface ExternalLoginStates {
  /** What the cookie of a login is called, and its flags. */
  cookieOf(state: string, isSecure: boolean): OwnCookie
  /** The cookie for the browser. `isSecure`: whether it comes by TLS. */
  add(state: string, begun: ExternalLoginState, isSecure: boolean): OwnCookie & { value: string }
  /** Takes what was kept for that state. Undefined where there is nothing, it has run out, was taken before, or is not of this hub. */
  take(state: string, cookieHeader: string | undefined, isSecure: boolean): ExternalLoginState | undefined
}

export const externalLoginSeconds = 600
const prefix = 'tljh-away-'
/** A browser gives up cookies that are longer than 4096 bytes; what is not `next` takes some 600. */
const longestNext = 2000
/** Beyond that, the oldest are forgotten: the provider takes each code only once, too. */
const mostTaken = 10_000

/** Those of all logins that are under way. */
export function isExternalLoginCookie(name: string): boolean {
  return name.replace(/^__Host-/, '').startsWith(prefix)
}

export function createExternalLoginStates(
  db: DatabaseSync,
  baseUrl: string,
  now: () => number = Date.now,
): ExternalLoginStates {
  const key = secret(db, 'departures')
  /** Until when each of those that were taken would have counted, the oldest first. */
  const taken = new Map<string, number>()

  const cookieOf = (state: string, isSecure: boolean) => {
    const name = `${prefix}${createHash('sha256').update(state).digest('hex').slice(0, 16)}`
    return ownCookie(name, { path: `${baseUrl}hub/`, isSecure })
  }

  return {
    cookieOf,
    add(state, { next, ...begun }, isSecure) {
      const cookie = cookieOf(state, isSecure)
      const expires = now() + externalLoginSeconds * 1000
      const content = { ...begun, next: next.length > longestNext ? '' : next, state, expires }
      return { ...cookie, value: seal(key, cookie.name, JSON.stringify(content)) }
    },
    take(state, header, isSecure) {
      const { name } = cookieOf(state, isSecure)
      for (const value of cookieValues(header, name)) {
        const text = open(key, name, value)
        if (text === undefined) continue
        // What the seal held was written above.
        const {
          state: own,
          expires,
          ...begun
        } = JSON.parse(text) as ExternalLoginState & { state: string; expires: number }
        if (own !== state || expires <= now() || taken.has(state)) continue
        for (const [old, until] of taken) {
          if (until > now() && taken.size < mostTaken) break
          taken.delete(old)
        }
        taken.set(state, expires)
        return begun
      }
      return undefined
    },
  }
}

const nonceBytes = 12
const tagBytes = 16

/** NIST SP 800-38D wants a key to be used with less than 2^32 random nonces. */
function seal(key: Buffer, name: string, text: string): string {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes }).setAAD(Buffer.from(name))
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64url')
}

function open(key: Buffer, name: string, value: string): string | undefined {
  const bytes = Buffer.from(value, 'base64url')
  if (bytes.length < nonceBytes + tagBytes) return undefined
  const nonce = bytes.subarray(0, nonceBytes)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes }).setAAD(Buffer.from(name))
  decipher.setAuthTag(bytes.subarray(-tagBytes))
  try {
    return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString('utf8')
  } catch {
    // Not ours, or of another login.
    return undefined
  }
}
