/**
 * Who may pass to a user's server: asked of every request and WebSocket below `user/NAME/`.
 *
 * The path is parsed once, here, from what the browser sent (`readTarget`); that string decides whose server is meant,
 * and the same string is forwarded. A spelling that could be read in two ways is refused, never normalised.
 *
 * Who asks is told by the hub's session cookie on the hub's own origin, and by a pass (hub/access/passes.ts) on every other; one never
 * counts where the other does. Whoever uses somebody else's server has begun a visit before.
 *
 * Nearly all of a class's requests may pass, and go on to a server that runs. `carry` takes those directly, past the routes of
 * hub/server-pages/server-routes.ts, which have a word for every other: twice as many a second pass so.
 */
import { type IncomingMessage, type RequestListener, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { UserName } from '../../config/users/names.ts'
import type { Servers } from '../../spawner/client/servers.ts'
import type { Passage, ReverseProxy } from '../proxy/proxy.ts'
import { cookieValues, isSecure, type OwnCookie, ownCookie, ownCookieName } from '../web/cookies.ts'
import { crossOrigin, loginNeeded, notYours, visitNeeded } from '../web/refusals.ts'
import { addressOf, isNavigation, isSameOrigin } from '../web/request.ts'
import type { Access } from './access.ts'
import type { Origins } from './origins.ts'
import { type Passes, type PassPlace, passCookie, passPath } from './passes.ts'
import type { Session, Sessions } from './sessions.ts'
import { methods, readTarget, type Target } from './target.ts'

export interface Gate {
  /** Throws what keeps this request from going there. */
  admit(request: IncomingMessage, target: Target): Session
  /** The origin of its own that a request came to; undefined on the hub's. */
  passPlaceOf(request: IncomingMessage): PassPlace | undefined
  /** One of ours that reaches no further than that server. */
  cookieFor(request: IncomingMessage, name: string, owner: UserName): OwnCookie
  /** Whether the session may use the server as it is now: an administrator's visit ends. */
  mayGoOn(session: Session, owner: UserName): boolean
  /** What the server and its answer are told of the request. */
  passage(request: IncomingMessage, session: Session, owner: UserName): Passage
  /** An answer or a WebSocket that is under way: it ends with the session. */
  follow(connection: Duplex | ServerResponse, session: Session, owner: UserName): void
  /** Ends what is under way of sessions that no longer count. */
  sweep(): void
  /**
   * Has the server answer, where the request may pass and the server runs. False: the routes must answer. They do as well, by way of
   * `route`, where the server fails; then `failureOf` the request says how.
   */
  carry(request: IncomingMessage, response: ServerResponse, route: RequestListener): boolean
  failureOf(request: IncomingMessage): unknown
}

/** What happens on a connection. */
interface Way {
  session: Session
  owner: UserName
  /** The answer or the WebSocket that is under way. */
  live: Duplex | ServerResponse | undefined
}

const known = new Set<string | undefined>(methods)

/** How soon a WebSocket ends whose session has ended elsewhere, as by a new password or a change of the configuration. */
const sweepMs = 5_000

interface GateNeeds {
  baseUrl: string
  access: Access
  origins: Origins
  visits: Passes
  sessions: Sessions
  servers: Servers
  proxy: ReverseProxy
}

export function createGate(hub: GateNeeds): Gate {
  const { baseUrl, access, origins, visits, servers, proxy } = hub
  const prefix = `${baseUrl}user/`

  /** By connection, as long as it lives: an entry for each request would cost a tenth of all work (docs/decisions.md). */
  const ways = new Map<Duplex, Way>()
  const failures = new WeakMap<IncomingMessage, unknown>()

  function follow(connection: Duplex | ServerResponse, session: Session, owner: UserName): void {
    const socket = connection instanceof ServerResponse ? connection.socket : connection
    if (!socket || socket.closed) return
    const way = ways.get(socket) ?? { session, owner, live: undefined }
    if (!ways.has(socket)) {
      ways.set(socket, way)
      socket.once('close', () => ways.delete(socket))
    }
    way.session = session
    way.owner = owner
    way.live = connection
    // `on`, because `once` is another function for each, and close comes once.
    connection.on('close', () => {
      // The next request on the connection can have begun.
      if (way.live === connection) way.live = undefined
    })
  }

  function mayGoOn(session: Session, owner: UserName): boolean {
    const isVisit = session.user !== owner
    return access.mayUse(session.user, owner) && (!isVisit || visits.isGranted(session, owner))
  }

  function passPlaceOf(request: IncomingMessage): PassPlace | undefined {
    const { kind } = origins.placeOf(request)
    return kind === 'server' || kind === 'visits' ? kind : undefined
  }

  function cookieFor(request: IncomingMessage, name: string, owner: UserName): OwnCookie {
    return ownCookie(name, { path: `${baseUrl}user/${owner}/`, isSecure: isSecure(request) })
  }

  /** Who asks, by the pass that the browser has for this owner and origin. One that has ended is none. */
  function sessionByPass(request: IncomingMessage, owner: UserName, place: PassPlace): Session | undefined {
    const name = ownCookieName(passCookie(owner), isSecure(request))
    return cookieValues(request.headers.cookie, name)
      .map(pass => visits.sessionIn(pass, owner, place))
      .find(session => session && access.isLive(session) && mayGoOn(session, owner))
  }

  function admit(request: IncomingMessage, { owner }: Target): Session {
    const place = passPlaceOf(request)
    const session = place ? sessionByPass(request, owner, place) : access.sessionOf(request)
    if (!session) throw loginNeeded()
    if (!access.mayUse(session.user, owner)) throw notYours(session.user)
    if (!place && origins.serverOrigin(request, owner, session.user) !== '') throw visitNeeded(owner)
    if (!mayGoOn(session, owner)) throw visitNeeded(owner)
    // A page of another origin gets nothing, not even what only reads: it could be a script or a picture to it.
    const { upgrade, origin } = request.headers
    const isPage = request.method === 'GET' && upgrade === undefined && origin === undefined && isNavigation(request)
    if (!isPage && !isSameOrigin(request)) throw crossOrigin()
    return session
  }

  function passage(request: IncomingMessage, session: Session, owner: UserName): Passage {
    return {
      owner,
      target: request.url ?? '',
      prefix: `${baseUrl}user/${owner}/`,
      user: session.user,
      address: addressOf(request),
      protocol: isSecure(request) ? 'https' : 'http',
    }
  }

  function carry(request: IncomingMessage, response: ServerResponse, route: RequestListener): boolean {
    if (!request.url?.startsWith(prefix) || !known.has(request.method)) return false
    let passed: { owner: UserName; session: Session }
    try {
      if (origins.steer(request, isNavigation(request)).kind !== 'serve') return false
      const target = readTarget(request, baseUrl)
      const { owner, rest } = target
      // These are the hub's.
      if (rest === '' || rest === '/logout' || rest === passPath) return false
      if (servers.get(owner).kind !== 'ready') return false
      passed = { owner, session: admit(request, target) }
    } catch {
      // The routes repeat this check and tell the browser the reason.
      return false
    }
    const { session, owner } = passed
    follow(response, session, owner)
    proxy.request(passage(request, session, owner), request, response).catch(error => {
      failures.set(request, error)
      route(request, response)
    })
    return true
  }

  function sweep(): void {
    for (const { session, owner, live } of ways.values()) {
      if (live && !(access.isLive(session) && mayGoOn(session, owner))) live.destroy()
    }
  }
  setInterval(sweep, sweepMs).unref()
  hub.sessions.onEnd(sweep)

  return {
    admit,
    passPlaceOf,
    cookieFor,
    mayGoOn,
    passage,
    follow,
    sweep,
    carry,
    failureOf: request => failures.get(request),
  }
}
