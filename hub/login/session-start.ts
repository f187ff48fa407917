/**
 * From 'it is known who that is' to a session: by way of the second factor, where there is one or has to be one.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ConfigFile } from '../../config/change/in-force.ts'
import type { ProblemError } from '../../problem.ts'
import type { Audit } from '../../systemd/audit/audit.ts'
import { type Access, sessionCookieFor } from '../access/access.ts'
import { type Session, type Sessions, sessionAgeSeconds } from '../access/sessions.ts'
import { xsrfCookie } from '../access/xsrf.ts'
import type { Logins } from '../credentials/last-logins.ts'
import type { SecondFactors } from '../credentials/second-factor.ts'
import { isSecure } from '../web/cookies.ts'
import { addressOf, ownPath } from '../web/request.ts'
import { type PendingLogin, type PendingLogins, pendingLoginCookie, pendingLoginSeconds } from './pending-logins.ts'

/** What a session is started with. */
export interface LoginNeeds {
  baseUrl: string
  config: ConfigFile
  access: Access
  sessions: Sessions
  secondFactors: SecondFactors
  arrivals: PendingLogins
  logins: Logins
  audit: Audit
}

/** Lets somebody in whose identity is certain, or asks for the second factor first. */
export function beginSessionOrAskFactor(
  hub: LoginNeeds,
  request: FastifyRequest,
  reply: FastifyReply,
  arrival: PendingLogin,
): FastifyReply {
  const { baseUrl, config, access, secondFactors, arrivals } = hub
  const { user } = arrival
  const mustHave = config.current().adminsNeedSecondFactor && access.isAdmin(user)
  if (!secondFactors.isOn(user) && !mustHave) {
    startSession(hub, request, reply, arrival)
    return redirectOn(hub, reply, arrival)
  }
  const options = { path: `${baseUrl}hub/`, httpOnly: true, sameSite: 'lax', maxAge: pendingLoginSeconds } as const
  reply.setCookie(pendingLoginCookie, arrivals.add(arrival), { ...options, secure: isSecure(request.raw) })
  return reply.redirect(`${baseUrl}hub/second-factor`, 303)
}

/** Leads to where the person wanted to go. */
export function redirectOn(
  { baseUrl }: Pick<LoginNeeds, 'baseUrl'>,
  reply: FastifyReply,
  { next }: PendingLogin,
): FastifyReply {
  return reply.redirect(ownPath(next, baseUrl) || `${baseUrl}hub/`)
}

/** Starts the session: the answer, whatever it will be, brings its cookie. */
export function startSession(
  {
    baseUrl,
    access,
    sessions,
    logins,
    audit,
  }: Pick<LoginNeeds, 'baseUrl' | 'access' | 'sessions' | 'logins' | 'audit'>,
  request: FastifyRequest,
  reply: FastifyReply,
  { user, way }: PendingLogin,
): void {
  // Also ends a session that an attacker planted in this browser (session fixation).
  for (const old of access.sessionsIn(request.raw)) sessions.end(old)
  const cookie = sessionCookieFor(request.raw, baseUrl)
  const token = sessions.start(user, way, isSecure(request.raw))
  reply.setCookie(cookie.name, token, { ...cookie.options, maxAge: sessionAgeSeconds })
  // The old form token belongs to no session. Drop it; the next page sets one for this session.
  reply.clearCookie(xsrfCookie, { path: `${baseUrl}hub/` })
  logins.add(user, way)
  const address = addressOf(request.raw)
  audit.record({ kind: 'login', message: `${user} logged in by ${way} from ${address}`, who: user, address })
}

/** Ends it as its user wished. */
export function endSession({ sessions, audit }: Pick<LoginNeeds, 'sessions' | 'audit'>, session: Session): void {
  sessions.end(session)
  audit.record({ kind: 'logout', message: `${session.user} logged out`, who: session.user })
}

/** One entry of the audit log: what was typed is cut, and written so that it cannot be taken for anything else. */
export function refusedLogin(
  { audit }: Pick<LoginNeeds, 'audit'>,
  request: FastifyRequest,
  typed: string,
  { code }: ProblemError,
): void {
  const address = addressOf(request.raw)
  const who = typed.slice(0, 80)
  const message = `login refused (${code}) from ${address} for ${JSON.stringify(who)}`
  audit.record({ kind: 'login-refused', message, who, address, reason: code })
}
