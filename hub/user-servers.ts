/**
 * Everything below `user/NAME/`: decides who may pass, and hands over to the proxy.
 *
 * The path is parsed once, here, from what the browser sent (`readTarget`); that string decides whose server is meant,
 * and the same string is forwarded. A spelling that could be read in two ways is refused, never normalised.
 *
 * Who asks is told by the hub's session cookie on the hub's own origin, and by a pass (hub/visits.ts) on every other; one never
 * counts where the other does. Whoever uses somebody else's server has begun a visit before.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isUserName, type UserName } from '../config/names.ts'
import { addressOf, isFromHere, isNavigation, isOwnLink, isSameOrigin } from './access.ts'
import { formToken, type Hub, problemAnswer, sendPage } from './answers.ts'
import { cookieValues, isSecure, ownCookie, ownCookieNames } from './cookies.ts'
import { endSession } from './entrance.ts'
import type { Passage } from './proxy.ts'
import {
  ambiguousAddress,
  crossOrigin,
  enterVoid,
  loginNeeded,
  noPage,
  notRunning,
  notYours,
  visitNeeded,
} from './refusals.ts'
import { type Session, sessionAgeSeconds } from './sessions.ts'
import { arrivalPath } from './visiting.ts'
import { digestOf, newNonce, nonceCookie, type PassPlace, passCookie } from './visits.ts'

/** What a request below `user/` asks for. */
interface Target {
  owner: UserName
  /** From the slash after the name on, without the query; empty for `user/NAME` itself. */
  rest: string
  /** With the `?`, or empty. */
  query: string
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
/** Time to log in and to read the note on the way. */
const nonceSeconds = 900
/** How soon a WebSocket ends whose session has ended elsewhere, as by a new password or a change of the configuration. */
const sweepMs = 5_000

export async function userServerRoutes(app: FastifyInstance, hub: Hub): Promise<void> {
  const { baseUrl, access, origins, visits, servers, proxy, pages } = hub

  // Bodies belong to the user's server: not read here, whatever their type.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))

  /** Answers and WebSockets that are under way: they end with their session. */
  const live = new Map<Duplex | ServerResponse, { session: Session; owner: UserName }>()

  function follow(connection: Duplex | ServerResponse, session: Session, owner: UserName): void {
    live.set(connection, { session, owner })
    connection.once('close', () => live.delete(connection))
  }

  /** Whether the session may use the server as it is now: an administrator's visit ends. */
  function mayGoOn(session: Session, owner: UserName): boolean {
    const isVisit = session.user !== owner
    return access.mayUse(session.user, owner) && (!isVisit || visits.isGranted(session, owner))
  }

  /** The origin of its own that a request came to; undefined on the hub's. */
  function passPlaceOf(request: IncomingMessage): PassPlace | undefined {
    const { kind } = origins.placeOf(request)
    return kind === 'server' || kind === 'visits' ? kind : undefined
  }

  function cookieFor(request: IncomingMessage, name: string, owner: UserName) {
    return ownCookie(name, { path: `${baseUrl}user/${owner}/`, isSecure: isSecure(request) })
  }

  /** Who asks, by the pass that the browser has for this owner and origin. One that has ended is none. */
  function sessionByPass(request: IncomingMessage, owner: UserName, place: PassPlace): Session | undefined {
    const { name } = cookieFor(request, passCookie(owner), owner)
    return cookieValues(request.headers.cookie, name)
      .map(pass => visits.sessionIn(pass, owner, place))
      .find(session => session && access.isLive(session) && mayGoOn(session, owner))
  }

  /** Throws what keeps this request from going there. */
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
      // Not `_xsrf`: the hub's is for `hub/` alone, and Jupyter has its own of that name.
      hubCookies: ownCookieNames(request.headers.cookie),
    }
  }

  async function handle(request: FastifyRequest, reply: FastifyReply) {
    const target = readTarget(request.raw, baseUrl)
    const place = passPlaceOf(request.raw)
    const { owner, rest, query } = target
    if (place && rest === arrivalPath && request.method === 'GET') return arrive(request, reply, owner, place)
    let session: Session
    try {
      session = admit(request.raw, target)
    } catch (error) {
      if (request.method !== 'GET' || !isNavigation(request.raw)) throw error
      return leadOn(request, reply, target, error)
    }
    if (rest === '') return reply.redirect(`${baseUrl}user/${owner}/${query}`)
    if (rest === '/logout') return logOut(request, reply, session, owner)

    const server = servers.get(owner)
    if (server.kind === 'ready') {
      reply.hijack()
      follow(reply.raw, session, owner)
      try {
        await proxy.request(passage(request.raw, session, owner), request.raw, reply.raw)
      } catch (error) {
        await answerByHand(request, reply, error)
      }
      return reply
    }
    if (!isNavigation(request.raw)) throw notRunning(owner)
    const next = request.raw.url ?? ''
    const hubOrigin = place ? origins.hubOrigin(request.raw) : ''
    if (server.kind === 'starting' && session.user === owner) {
      return reply.redirect(`${hubOrigin}${baseUrl}hub/spawn-pending/${owner}?next=${encodeURIComponent(next)}`)
    }
    // There is the button to start it, or what it died of.
    if (place && session.user === owner) {
      const page = server.kind === 'failed' ? 'home' : `spawn?next=${encodeURIComponent(next)}`
      return reply.redirect(`${hubOrigin}${baseUrl}hub/${page}`)
    }
    await reply.helmet()
    const xsrf = place ? '' : formToken(hub, request, reply)
    return sendPage(reply, pages.notRunning({ user: session.user, owner, server, next, xsrf }), 424)
  }

  /** A person who may not pass yet is led to where it can be put right. */
  function leadOn(request: FastifyRequest, reply: FastifyReply, { owner }: Target, error: unknown): FastifyReply {
    const place = passPlaceOf(request.raw)
    const url = request.raw.url ?? ''
    const next = encodeURIComponent(url)
    reply.header('cache-control', 'no-store')
    if (place) {
      const nonce = newNonce()
      const digest = digestOf(nonce)
      const { name, options } = cookieFor(request.raw, nonceCookie(digest), owner)
      reply.setCookie(name, nonce, { ...options, maxAge: nonceSeconds })
      const query = `server=${owner}&nonce=${digest}&next=${next}`
      return reply.redirect(`${origins.hubOrigin(request.raw)}${baseUrl}hub/enter?${query}`)
    }
    const session = access.sessionOf(request.raw)
    if (!session || !access.mayUse(session.user, owner) || session.user === owner) throw error
    const elsewhere = origins.serverOrigin(request.raw, owner, session.user)
    return reply.redirect(elsewhere ? `${elsewhere}${url}` : `${baseUrl}hub/visit/${owner}?next=${next}`)
  }

  /** Exchanges the code for a pass. */
  function arrive(request: FastifyRequest, reply: FastifyReply, owner: UserName, place: PassPlace): FastifyReply {
    const { raw } = request
    const code = new URLSearchParams(raw.url?.split('?')[1] ?? '').get('code') ?? ''
    const nonceFor = (digest: string) => cookieFor(raw, nonceCookie(digest), owner)
    const crossing = visits.redeem(code, { owner, place }, digest =>
      cookieValues(raw.headers.cookie, nonceFor(digest).name).some(nonce => digestOf(nonce) === digest),
    )
    if (!crossing || !access.isLive(crossing.session) || !mayGoOn(crossing.session, owner)) throw enterVoid()
    const used = nonceFor(crossing.nonceDigest)
    reply.clearCookie(used.name, used.options)
    const { name, options } = cookieFor(raw, passCookie(owner), owner)
    reply.setCookie(name, visits.passFor(crossing.session, owner, place), { ...options, maxAge: sessionAgeSeconds })
    return reply.header('cache-control', 'no-store').header('referrer-policy', 'no-referrer').redirect(crossing.next)
  }

  /** JupyterLab's 'Log Out' leads here. On somebody else's server it ends the visit. */
  function logOut(request: FastifyRequest, reply: FastifyReply, session: Session, owner: UserName): FastifyReply {
    const place = passPlaceOf(request.raw)
    const hubAddress = `${place ? origins.hubOrigin(request.raw) : ''}${baseUrl}hub/`
    if (session.user !== owner) {
      visits.end(session, owner)
      sweep()
      return reply.redirect(`${hubAddress}home`)
    }
    // The hub asks whoever was led here by another page.
    if (!place || !(isOwnLink(request.raw) || isFromHere(request.raw))) return reply.redirect(`${hubAddress}logout`)
    endSession(hub, session)
    const { name, options } = cookieFor(request.raw, passCookie(owner), owner)
    return reply.clearCookie(name, options).redirect(`${hubAddress}login`)
  }

  /** Fastify's reply was given away; what the proxy could not answer is answered by hand. */
  async function answerByHand(request: FastifyRequest, reply: FastifyReply, error: unknown): Promise<void> {
    const { raw } = reply
    const { status, type, body } = problemAnswer(hub, error, request.raw)
    if (raw.headersSent) return void raw.destroy()
    await reply.helmet()
    raw.writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
    })
    raw.end(body)
  }

  app.route({ method: [...methods], url: `${baseUrl}user/*`, handler: handle })

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    // Without a listener, a connection that breaks would end the hub.
    socket.on('error', () => socket.destroy())
    try {
      // Nothing is redirected that is not read.
      const verdict = origins.steer(request, false)
      if (verdict.kind !== 'serve') throw verdict.kind === 'refuse' ? verdict.problem : noPage()
      const target = readTarget(request, baseUrl)
      const session = admit(request, target)
      if (servers.get(target.owner).kind !== 'ready') throw notRunning(target.owner)
      // Before the handshake: a socket that closes in it would be kept for ever.
      follow(socket, session, target.owner)
      await proxy.upgrade(passage(request, session, target.owner), request, socket, head)
    } catch (error) {
      const { status, type, body } = problemAnswer(hub, error, request)
      const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: ${type}`
      socket.end(`${head}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
    }
  }
  app.server.on('upgrade', (request, socket, head) => void upgrade(request, socket, head))

  function sweep(): void {
    for (const [connection, { session, owner }] of live) {
      if (!access.isLive(session) || !mayGoOn(session, owner)) connection.destroy()
    }
  }
  setInterval(sweep, sweepMs).unref()
  hub.sessions.onEnd(sweep)
  servers.onGone(owner => proxy.forget(owner))
}

/** Throws `NO_PAGE` or `ADDRESS` for what is not, letter by letter, `user/NAME` or something below it. */
function readTarget(request: IncomingMessage, baseUrl: string): Target {
  const url = request.url ?? ''
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  const query = mark < 0 ? '' : url.slice(mark)
  const prefix = `${baseUrl}user/`
  if (!path.startsWith(prefix)) throw noPage()
  const slash = path.indexOf('/', prefix.length)
  const owner = slash < 0 ? path.slice(prefix.length) : path.slice(prefix.length, slash)
  const rest = slash < 0 ? '' : path.slice(slash)
  if (!isUserName(owner)) throw noPage()
  if (rest.includes('\\') || /(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i.test(rest) || url.includes('#'))
    throw ambiguousAddress()
  return { owner, rest, query }
}
