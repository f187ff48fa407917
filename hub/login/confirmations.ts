/**
 * Who has just given the password again. A session lasts for two weeks, and a computer stands open for a moment: what
 * reaches the whole machine, or who may come into an account, wants the password of the person who sits there now.
 *
 * Who came in by way of another site has no password here: there, to have logged in just now counts. It is kept in memory
 * alone: a hub that starts asks again.
 */
import type { FastifyRequest } from 'fastify'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import type { Session } from '../access/sessions.ts'
import { passwordNeeded, passwordWrong } from '../web/refusals.ts'
import { addressOf } from '../web/request.ts'
import type { LoginDesk } from './password-login.ts'

export interface Confirmations {
  /** Throws `PASSWORD_WRONG`, and what the login desk throws. */
  confirm(session: Session, password: string, request: FastifyRequest): Promise<void>
  /** Whether the password was given in this session within the last ten minutes. */
  isFresh(session: Session): boolean
  /** Throws `PASSWORD_NEEDED` where it was not. */
  demand(session: Session): void
  /** Whether this person has a password that can be asked for. */
  hasPassword(session: Session): boolean
}

export interface ConfirmationsOptions {
  desk: Pick<LoginDesk, 'isPasswordOf'>
  /** Whether that way leads to another site. */
  isExternal: (way: AuthenticatorKind) => boolean
  /** Milliseconds since 1970. */
  now?: () => number
}

const freshMs = 10 * 60_000

export function createConfirmations({ desk, isExternal, now = Date.now }: ConfirmationsOptions): Confirmations {
  /** By session id. */
  const times = new Map<string, number>()
  const isRecent = (time: number) => Math.abs(now() - time) < freshMs

  function isFresh({ id, way, started }: Session): boolean {
    return isRecent(times.get(id) ?? 0) || (isExternal(way) && isRecent(started))
  }

  return {
    isFresh,
    hasPassword: ({ way }) => !isExternal(way) && way !== 'temporary',
    demand(session) {
      if (!isFresh(session)) throw passwordNeeded()
    },
    async confirm(session, password, request) {
      if (!(await desk.isPasswordOf(session.user, password, addressOf(request.raw)))) throw passwordWrong()
      for (const [known, time] of times) if (!isRecent(time)) times.delete(known)
      times.set(session.id, now())
    },
  }
}
