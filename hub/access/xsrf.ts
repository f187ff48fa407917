/**
 * Forms that only our own pages can send: each holds a token, which the browser also holds as the cookie `_xsrf`, as
 * with JupyterHub, whose clients read the cookie and post its value.
 *
 * A token belongs to a session (or to nobody's), so one that somebody else was given is of no use to plant. Its key is
 * kept in the state file: a restart of the hub makes no open form stale.
 */
import type { DatabaseSync } from 'node:sqlite'
import { Tokens } from '@fastify/csrf'
import { secret } from '../state/secrets.ts'
import { cookieValues } from '../web/cookies.ts'
import type { Session } from './sessions.ts'

export const xsrfCookie = '_xsrf'

export interface Xsrf {
  /** The token for a form: the one that the browser has, or a new one for the caller to set as the cookie. */
  tokenFor(session: Session | undefined, cookieHeader: string | undefined): { token: string; isNew: boolean }
  /** Whether `token`, which came with a form, is the one that the browser holds and was made for this session. */
  isRight(token: string, session: Session | undefined, cookieHeader: string | undefined): boolean
}

export function createXsrf(db: DatabaseSync): Xsrf {
  const key = secret(db, 'xsrf')
  const tokens = new Tokens({ userInfo: true, hmacKey: key })
  const secretText = key.toString('base64url')
  const ownerOf = (session: Session | undefined) => session?.id ?? 'nobody'
  const wasMadeFor = (token: string, session: Session | undefined) => tokens.verify(secretText, token, ownerOf(session))

  return {
    tokenFor(session, cookieHeader) {
      const held = cookieValues(cookieHeader, xsrfCookie).find(token => wasMadeFor(token, session))
      if (held !== undefined) return { token: held, isNew: false }
      return { token: tokens.create(secretText, ownerOf(session)), isNew: true }
    },
    isRight(token, session, cookieHeader) {
      return cookieValues(cookieHeader, xsrfCookie).includes(token) && wasMadeFor(token, session)
    },
  }
}
