/**
 * People between the password and the second factor: they are nobody yet.
 *
 * What the browser holds meanwhile is a token of its own, good for this one login, for a few minutes and a few attempts; all of it is kept in
 * memory.
 */
import { randomBytes } from 'node:crypto'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import type { UserName } from '../../config/users/names.ts'
import { cookieValues } from '../web/cookies.ts'

/** Somebody whose password was right, and whose second factor is still to be seen. */
export interface PendingLogin {
  user: UserName
  way: AuthenticatorKind
  /** Where to go afterwards: a path of ours, or nothing. */
  next: string
}

export interface PendingLogins {
  /** Answers the token for the browser. */
  add(arrival: PendingLogin): string
  find(cookieHeader: string | undefined): PendingLogin | undefined
  /** Counts an attempt; the last one takes the arrival away. */
  failed(cookieHeader: string | undefined): void
  remove(cookieHeader: string | undefined): void
}

export const pendingLoginCookie = 'tljh-login'
export const pendingLoginSeconds = 300
const mostAttempts = 5
const mostAtOnce = 10_000
/** Anyone who logs in again and again pushes out only their own. */
const mostOfUser = 20

/** @param now milliseconds of a clock that nobody sets */
export function createPendingLogins(now: () => number = () => performance.now()): PendingLogins {
  const arrivals = new Map<string, PendingLogin & { expires: number; attempts: number }>()
  const tokenIn = (header: string | undefined) =>
    cookieValues(header, pendingLoginCookie).find(token => (arrivals.get(token)?.expires ?? 0) > now())

  return {
    add(arrival) {
      const own: string[] = []
      for (const [token, { expires, user }] of arrivals) {
        if (expires <= now() || arrivals.size >= mostAtOnce) arrivals.delete(token)
        else if (user === arrival.user) own.push(token)
      }
      const [oldest] = own
      if (oldest !== undefined && own.length >= mostOfUser) arrivals.delete(oldest)
      const token = randomBytes(32).toString('base64url')
      arrivals.set(token, { ...arrival, expires: now() + pendingLoginSeconds * 1000, attempts: 0 })
      return token
    },
    find(header) {
      const token = tokenIn(header)
      return token === undefined ? undefined : arrivals.get(token)
    },
    failed(header) {
      const token = tokenIn(header)
      const arrival = token === undefined ? undefined : arrivals.get(token)
      if (arrival && ++arrival.attempts >= mostAttempts && token) arrivals.delete(token)
    },
    remove(header) {
      const token = tokenIn(header)
      if (token) arrivals.delete(token)
    },
  }
}
