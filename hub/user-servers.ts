/**
 * Everything below `user/NAME/`: decides who may pass, and hands over to the proxy.
 *
 * The path is parsed once, here, from what the browser sent (`readTarget`); that string decides whose server is meant,
 * and the same string is forwarded. A spelling that could be read in two ways is refused, never normalised.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isUserName, type UserName } from '../config/names.ts'
import { addressOf, isNavigation, isSameOrigin, sessionCookie } from './access.ts'
import { formToken, type Hub, problemAnswer, sendPage } from './answers.ts'
import type { Passage } from './proxy.ts'
import { ambiguousAddress, crossOrigin, loginNeeded, noPage, notRunning, notYours } from './refusals.ts'
import type { Session } from './sessions.ts'

/** What a request below `user/` asks for. */
interface Target {
  owner: UserName
  /** From the slash after the name on, without the query; empty for `user/NAME` itself. */
  rest: string
  /** With the `?`, or empty. */
  query: string
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
/** Not `_xsrf`: the hub's is for `hub/` alone, and Jupyter has its own of that name. */
const hubCookies = new Set([sessionCookie])
/** How soon a WebSocket ends whose session has ended elsewhere, as by a new password or a change of the configuration. */
const sweepMs = 5_000

export async function userServerRoutes(app: FastifyInstance, hub: Hub): Promise<void> {
  const { baseUrl, access, servers, proxy, pages } = hub

  // Bodies belong to the user's server: not read here, whatever their type.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))

  /** Answers and WebSockets that are under way: they end with their session. */
  const live = new Map<Duplex | ServerResponse, { session: Session; owner: UserName }>()

  function follow(connection: Duplex | ServerResponse, session: Session, owner: UserName): void {
    live.set(connection, { session, owner })
    connection.once('close', () => live.delete(connection))
  }

  /** Throws what keeps this request from going there. */
  function admit(request: IncomingMessage): { session: Session; target: Target } {
    const target = readTarget(request, baseUrl)
    const session = access.sessionOf(request)
    if (!session) throw loginNeeded()
    if (!access.mayUse(session.user, target.owner)) throw notYours(session.user)
    const isReading = request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS'
    if ((!isReading || request.headers.upgrade !== undefined) && !isSameOrigin(request)) throw crossOrigin()
    return { session, target }
  }

  function passage(request: IncomingMessage, session: Session, owner: UserName): Passage {
    return {
      owner,
      target: request.url ?? '',
      prefix: `${baseUrl}user/${owner}/`,
      user: session.user,
      address: addressOf(request),
      protocol: 'http',
      hubCookies,
    }
  }

  async function handle(request: FastifyRequest, reply: FastifyReply) {
    const { session, target } = admit(request.raw)
    const { owner, rest, query } = target
    if (rest === '') return reply.redirect(`${baseUrl}user/${owner}/${query}`)
    // JupyterLab's 'Log Out' leads here.
    if (rest === '/logout') return reply.redirect(`${baseUrl}hub/logout`)

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
    if (server.kind === 'starting' && session.user === owner) {
      return reply.redirect(`${baseUrl}hub/spawn-pending/${owner}?next=${encodeURIComponent(next)}`)
    }
    await reply.helmet()
    const xsrf = formToken(hub, request, reply)
    return sendPage(reply, pages.notRunning({ user: session.user, owner, server, next, xsrf }), 424)
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
      const { session, target } = admit(request)
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
      if (!access.isLive(session) || !access.mayUse(session.user, owner)) connection.destroy()
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
  if (request.rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === 'host').length > 1) {
    throw ambiguousAddress()
  }
  return { owner, rest, query }
}
