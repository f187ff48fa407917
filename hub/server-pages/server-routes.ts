/**
 * Everything below `user/NAME/` that is not simply carried on (hub/access/gate.ts): servers that do not run, people who have to log in or to
 * read a note first, the way out; and WebSockets.
 */
import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { UserName } from '../../config/users/names.ts'
import type { Servers } from '../../spawner/client/servers.ts'
import type { Audit } from '../../systemd/audit/audit.ts'
import type { Gate } from '../access/gate.ts'
import type { Origins } from '../access/origins.ts'
import { digestOf, newNonce, nonceCookie, type Passes, type PassPlace, passCookie, passPath } from '../access/passes.ts'
import { type Session, type Sessions, sessionAgeSeconds } from '../access/sessions.ts'
import { methods, readTarget, type Target } from '../access/target.ts'
import { isBusy, occupy } from '../bounds/pipelining.ts'
import { endSession } from '../login/session-start.ts'
import { type FormNeeds, formToken, type ProblemNeeds, problemAnswer, sendPage } from '../pages/answers.ts'
import type { ReverseProxy } from '../proxy/proxy.ts'
import { cookieValues } from '../web/cookies.ts'
import { enterVoid, noPage, notRunning } from '../web/refusals.ts'
import { isFromHere, isNavigation, isOwnLink } from '../web/request.ts'

/** Time to log in and to read the note on the way. */
const nonceSeconds = 900

interface Needs extends FormNeeds, ProblemNeeds {
  origins: Origins
  visits: Passes
  sessions: Sessions
  servers: Servers
  proxy: ReverseProxy
  audit: Audit
}

export async function serverRoutes(app: FastifyInstance, { hub, gate }: { hub: Needs; gate: Gate }): Promise<void> {
  const { baseUrl, access, origins, visits, servers, proxy, pages } = hub
  const { admit, passPlaceOf, cookieFor, mayGoOn, passage, follow, sweep } = gate

  // Bodies belong to the user's server: not read here, whatever their type.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))

  async function handle(request: FastifyRequest, reply: FastifyReply) {
    const failure = gate.failureOf(request.raw)
    if (failure !== undefined) throw failure
    const target = readTarget(request.raw, baseUrl)
    const place = passPlaceOf(request.raw)
    const { owner, rest, query } = target
    if (place && rest === passPath && request.method === 'GET') return arrive(request, reply, owner, place)
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
      // Since this moment, or it would have been carried on.
      follow(reply.raw, session, owner)
      await proxy.request(passage(request.raw, session, owner), request.raw, reply.raw)
      return reply.hijack()
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

  app.route({ method: [...methods], url: `${baseUrl}user/*`, handler: handle })

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    // Without a listener, a connection that breaks would end the hub.
    socket.on('error', () => socket.destroy())
    // An answer is under way, and the handshake would stand in the middle of it. No browser asks for that.
    if (isBusy(request.socket)) return void socket.destroy()
    occupy(request.socket)
    try {
      // A WebSocket handshake cannot be redirected, so refuse it.
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

  servers.onChange((now, before) => {
    if (before.kind === 'ready' && now.kind !== 'ready') proxy.forget(now.user)
  })
}
