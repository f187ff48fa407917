/**
 * Who asks, and may they go there: asked of every request, and answered from what is in force at that moment. A name
 * that the configuration no longer lets in has no session, whatever its cookie says.
 */
import type { IncomingMessage } from 'node:http'
import type { ConfigFile } from '../../config/change/in-force.ts'
import { type Config, isAdmin, mayEnterBy } from '../../config/meaning/config.ts'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import { mayComeBy } from '../../config/users/machine-accounts.ts'
import type { UserName } from '../../config/users/names.ts'
import { peerOf, toldInFront } from '../front-proxy/trust.ts'
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
  const counts = ({ user, way }: Session) => mayHaveSession(config.current(), user, way)

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

/** Whether somebody who came in by that way may still be in: the name may enter, and the way is still one. */
export function mayHaveSession(config: Config, user: UserName, way: AuthenticatorKind): boolean {
  return mayEnterBy(config, user, way) && mayComeBy(config, user, way)
}

/** Where the browser is: where the request comes from, or where a web server in front says that it comes from. */
export function addressOf(request: IncomingMessage): string {
  return toldInFront(request)?.address ?? peerOf(request)
}

/**
 * Whether a page of ours sent this request, as far as a browser tells. Programs send no `Origin`, and browsers leave it
 * out of navigations and of reading requests to one's own origin. Another port or another user's host is the same site to
 * browsers, and another origin all the same.
 */
export function isSameOrigin({ headers }: IncomingMessage): boolean {
  const site = headers['sec-fetch-site']
  const { origin, host } = headers
  if (origin === undefined) return site === undefined || site === 'same-origin' || site === 'none'
  if (host === undefined) return false
  // As nearly every page of ours says it.
  return origin === `http://${host}` || origin === `https://${host}` || URL.parse(origin)?.host === host.toLowerCase()
}

/**
 * Whether a page of ours, or the person at the browser, led here. Over plain http browsers do not say so outright: then
 * only the address of the page tells, which no other page can forge. Whoever hides it is taken for a stranger.
 */
export function isOwnLink(request: IncomingMessage): boolean {
  const site = request.headers['sec-fetch-site']
  return site === undefined ? isFromHere(request) : site === 'same-origin' || site === 'none'
}

/** Whether a page of this very host and port led here, by way of other hosts of ours or directly. */
export function isFromHere({ headers }: IncomingMessage): boolean {
  return headers.host !== undefined && URL.parse(headers.referer ?? '')?.host === headers.host.toLowerCase()
}

/**
 * Whether a person sees the answer as a page of its own: not a script's request, an image or a frame. Browsers say so
 * outright where the connection is safe (https, localhost), and elsewhere only by what they accept.
 */
export function isNavigation({ headers }: IncomingMessage): boolean {
  const { 'sec-fetch-mode': mode, 'sec-fetch-dest': destination, accept } = headers
  if (mode !== undefined) return mode === 'navigate' && destination === 'document'
  return accept?.includes('text/html') ?? false
}

/**
 * Where `next`, which came with a request, may lead: a path of ours, or nowhere (''). Browsers read backslashes as
 * slashes and drop control characters, so the URL is parsed as they do. What the parser made of it is what is used, unless it left the path
 * as it is: then the query stays byte for byte, because programs behind it may tell %27 from an apostrophe.
 */
export function ownPath(next: string, baseUrl: string): string {
  if (!next.startsWith('/')) return ''
  const url = URL.parse(next, 'http://hub.invalid')
  if (url?.origin !== 'http://hub.invalid') return ''
  const isPlain = /^[!-[\]-~]*$/.test(next) && url.pathname === next.split(/[?#]/, 1)[0]
  const path = isPlain ? next : `${url.pathname}${url.search}${url.hash}`
  return path.startsWith(baseUrl) && !path.startsWith('//') ? path : ''
}
