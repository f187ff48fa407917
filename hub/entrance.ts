/**
 * From 'it is known who that is' to a session: by way of the second factor, where there is one or has to be one.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { addressOf, ownPath, sessionCookie } from './access.ts'
import type { Hub } from './answers.ts'
import { type Arrival, arrivalCookie, arrivalSeconds } from './arrivals.ts'
import { sessionAgeSeconds } from './sessions.ts'
import { xsrfCookie } from './xsrf.ts'

/** Lets somebody in whose identity is certain, or asks for the second factor first. */
export function letIn(hub: Hub, request: FastifyRequest, reply: FastifyReply, arrival: Arrival): FastifyReply {
  const { baseUrl, config, access, secondFactors, arrivals } = hub
  const { user } = arrival
  const mustHave = config.current().adminsNeedSecondFactor && access.isAdmin(user)
  if (!secondFactors.isOn(user) && !mustHave) return startSession(hub, request, reply, arrival)
  const options = { path: `${baseUrl}hub/`, httpOnly: true, sameSite: 'lax', maxAge: arrivalSeconds } as const
  reply.setCookie(arrivalCookie, arrivals.add(arrival), options)
  return reply.redirect(`${baseUrl}hub/second-factor`, 303)
}

/** Starts the session, and leads to where the person wanted to go. */
export function startSession(
  { baseUrl, access, sessions, logins, audit, log }: Hub,
  request: FastifyRequest,
  reply: FastifyReply,
  { user, way, next }: Arrival,
): FastifyReply {
  const old = access.sessionOf(request.raw)
  if (old) sessions.end(old)
  const cookieOptions = { path: baseUrl, httpOnly: true, sameSite: 'lax' } as const
  reply.setCookie(sessionCookie, sessions.start(user, way), { ...cookieOptions, maxAge: sessionAgeSeconds })
  // It belonged to nobody's session; the next form gets one that belongs to this.
  reply.clearCookie(xsrfCookie, { path: `${baseUrl}hub/` })
  logins.add(user, way)
  const address = addressOf(request.raw)
  log(`${user} logged in from ${address}`)
  audit.record({ kind: 'login', message: `${user} logged in by ${way} from ${address}`, who: user, address })
  return reply.redirect(ownPath(next, baseUrl) || `${baseUrl}hub/`)
}
