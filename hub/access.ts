/**
 * Who asks, and may they go there: asked of every request, and answered from what is in force at that moment. A name
 * that the configuration no longer lets in has no session, whatever its cookie says.
 */
import type { IncomingMessage } from 'node:http'
import type { AuthenticatorKind } from '../config/authenticators.ts'
import { type Config, isAdmin, mayEnter } from '../config/config.ts'
import type { ConfigFile } from '../config/file.ts'
import type { UserName } from '../config/names.ts'
import { cookieValues } from './cookies.ts'
import type { Session, Sessions } from './sessions.ts'

export const sessionCookie = 'tljh-session'

export interface Access {
  sessionOf(request: IncomingMessage): Session | undefined
  /** Whether the session still counts: it was not ended since, and its user may still enter. */
  isLive(session: Session): boolean
  isAdmin(user: UserName): boolean
  /**
   * Whether `user` may use the server of `owner`. All servers share one origin, so a page of another's could act as whoever
   * looks at it; for an administrator that is the machine, so it takes a line in the configuration.
   */
  mayUse(user: UserName, owner: UserName): boolean
}

export function createAccess(config: ConfigFile, sessions: Sessions): Access {
  const counts = ({ user, way }: Session) => mayHaveSession(config.current(), user, way)

  return {
    sessionOf(request) {
      for (const token of cookieValues(request.headers.cookie, sessionCookie)) {
        const session = sessions.find(token)
        if (session && counts(session)) return session
      }
      return undefined
    },
    isLive: session => sessions.isOpen(session) && counts(session),
    isAdmin: user => isAdmin(config.current(), user),
    mayUse(user, owner) {
      const inForce = config.current()
      return user === owner || (inForce.adminsOpenServers && isAdmin(inForce, user))
    },
  }
}

/** Whether somebody who came in by that way may still be in: the name may enter, and the way is still one. */
export function mayHaveSession(config: Config, user: UserName, way: AuthenticatorKind): boolean {
  return mayEnter(config, user) && config.auth.kinds.includes(way)
}

/** Where a request comes from. IPv4 is written as such, though it comes through a socket for both. */
export function addressOf(request: IncomingMessage): string {
  return (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '')
}

/**
 * Whether a page of ours sent this request, as far as a browser tells. Programs send no `Origin`, and browsers leave it
 * out of navigations and of reading requests to one's own origin.
 */
export function isSameOrigin({ headers }: IncomingMessage): boolean {
  if (headers.origin === undefined) return headers['sec-fetch-site'] !== 'cross-site'
  return headers.host !== undefined && URL.parse(headers.origin)?.host === headers.host.toLowerCase()
}

/**
 * Whether a page of ours, or the person at the browser, led here. Over plain http browsers do not say so outright: then
 * only the address of the page tells, which no other page can forge. Whoever hides it is taken for a stranger.
 */
export function isOwnLink({ headers }: IncomingMessage): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin' || site === 'none'
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
 * slashes and drop control characters, so the URL is parsed as they do, and what the parser made of it is what is used.
 */
export function ownPath(next: string, baseUrl: string): string {
  if (!next.startsWith('/')) return ''
  const url = URL.parse(next, 'http://hub.invalid')
  if (url?.origin !== 'http://hub.invalid') return ''
  const path = `${url.pathname}${url.search}${url.hash}`
  return path.startsWith(baseUrl) && !path.startsWith('//') ? path : ''
}
