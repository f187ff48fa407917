/**
 * Who asks, and may they go there: asked of every request, and answered from what is in force at that moment. A name
 * that the configuration no longer lets in has no session, whatever its cookie says.
 */
import type { IncomingMessage } from 'node:http'
import type { ConfigFile } from '../../config/change/in-force.ts'
import { isAdmin, mayKeepSession } from '../../config/meaning/who-may-enter.ts'
import type { UserName } from '../../config/users/names.ts'
import { cookieValues, isSecure, type OwnCookie, ownCookie, ownCookieName } from '../web/cookies.ts'
import type { Origins } from './origins.ts'
import type { Session, Sessions } from './sessions.ts'

const sessionCookie = 'tljh-session'
/** More than one is odd; so many are an attack, of which nobody can say which is the person's own. */
const mostSessionCookies = 16

export interface Access {
  /**
   * The session that the browser has with the hub; none where its cookies say that it is two users at once. A page of a student's can
   * plant its maker's own session beside a person's, who would go on as somebody else without noticing.
   */
  sessionOf(request: IncomingMessage): Session | undefined
  /** All that its cookies open, whoever's they are: to end them. */
  sessionsIn(request: IncomingMessage): Session[]
  /** Whether the session still counts: it was not ended since, and its user may still enter. */
  isLive(session: Session): boolean
  isAdmin(user: UserName): boolean
  /**
   * Whether `user` may use the server of `owner`. On one origin for all, a page of another's could act as whoever looks at it; for an
   * administrator that is the machine, so it takes a line in the configuration, or an origin of its own (hub/access/origins.ts).
   */
  mayUse(user: UserName, owner: UserName): boolean
}

export function createAccess(config: ConfigFile, sessions: Sessions, origins: Origins): Access {
  const counts = ({ user, way }: Session) => mayKeepSession(config.current(), user, way)

  function sessionsOf(request: IncomingMessage, tokens: readonly string[]): Session[] {
    const { kind } = origins.placeOf(request)
    if (kind !== 'shared' && kind !== 'hub') return []
    const found: Session[] = []
    for (const token of tokens) {
      const session = sessions.find(token, isSecure(request))
      if (session && counts(session)) found.push(session)
    }
    return found
  }

  return {
    sessionOf(request) {
      const tokens = tokensIn(request, mostSessionCookies + 1)
      if (tokens.length > mostSessionCookies) return undefined
      const [first, ...others] = sessionsOf(request, tokens)
      return others.some(({ user }) => user !== first?.user) ? undefined : first
    },
    sessionsIn: request => sessionsOf(request, tokensIn(request, mostSessionCookies)),
    isLive: session => sessions.isOpen(session) && counts(session),
    isAdmin: user => isAdmin(config.current(), user),
    mayUse(user, owner) {
      if (user === owner) return true
      const inForce = config.current()
      const { userDomains, visitPort } = origins.arrangement()
      const isOpen = inForce.adminsOpenServers || userDomains !== '' || visitPort !== undefined
      return isOpen && isAdmin(inForce, user)
    },
  }
}

function tokensIn(request: IncomingMessage, most: number): string[] {
  return cookieValues(request.headers.cookie, ownCookieName(sessionCookie, isSecure(request)), most)
}

/** The cookie that holds the session's token. */
export function sessionCookieFor(request: IncomingMessage, baseUrl: string): OwnCookie {
  return ownCookie(sessionCookie, { path: baseUrl, isSecure: isSecure(request) })
}
