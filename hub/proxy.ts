/**
 * Carries requests and WebSockets to the socket of a user's server, and nothing else: who may go where has been
 * decided before (hub/gate.ts), and what passes with it is said in hub/headers.ts.
 *
 * Bodies stream both ways and have no time limit: an upload over a slow line takes as long as it takes. Connections to
 * a server are kept open, one pool for each account. A WebSocket is a pair of sockets after the handshake.
 *
 * All of it goes by way of undici, whose connections cost a fraction of what those of node:http do (docs/decisions.md has the figures).
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'undici'
import { shortUnixName, type UserName, unixName } from '../config/names.ts'
import { ProblemError } from '../problem.ts'
import { type Forwarded, requestHeaders } from './headers.ts'
import { bodyOf } from './proxy/early-answer.ts'
import { type Answering, Exchange } from './proxy/exchange.ts'
import { Handshake } from './proxy/handshake.ts'
import type { Tunnel } from './proxy/joined.ts'

/** A request that may go where it wants to go. */
export interface Passage extends Forwarded {
  owner: UserName
  /** Path and query, as the browser sent them. */
  target: string
  /** `/user/NAME/`, with the hub's base URL before it: as far as the server's cookies may reach. */
  prefix: string
}

export interface ReverseProxy {
  /** Answers from the server. Throws `SERVER_UNREACHABLE`, `SERVER_SILENT` or `SERVER_BUSY`, and then nothing has been answered. */
  request(passage: Passage, request: IncomingMessage, response: ServerResponse): Promise<void>
  /** Joins `socket` to the server, or passes the server's refusal on. Throws likewise. */
  upgrade(passage: Passage, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>
  /** Forgets the connections to a server that is no more. */
  forget(owner: UserName): void
  /** Ends the WebSockets, so that nothing is lost which browsers have sent; waits for them so many milliseconds and no longer. */
  takeLeave(limitMs: number): Promise<void>
  /** What there is and was, for the metrics. */
  tally(): Tally
  close(): void
}

export interface Tally {
  /** That are open. */
  webSockets: number
  /** Answers of servers since this process began, by the first digit of the status, from 2 on; what is above 5 counts as 5. */
  answers: readonly number[]
}

/** Requests that may be sent again when a kept connection turns out to be closed. */
const repeatable = new Set(['GET', 'HEAD', 'OPTIONS'])
/** A kept connection that closes under a request is rare, and a new one is not kept: more than once is a server that breaks off. */
const mostAttempts = 3

/** More at once than any page asks for; what comes beyond waits. One student must not use up the hub's descriptors. */
const mostConnections = 64
/** Requests and WebSockets under way to one server; of the hub's 65536 descriptors each takes two. A student's server may keep them all for ever. */
const mostUnderWay = 1_000
/**
 * Until an answer begins, from when the server has the request. Saving a big notebook, or making a PDF of one, takes Jupyter minutes in
 * which it says nothing; after ten of them nobody waits any more, and the connection would be kept for ever.
 */
const answerLimitMs = 10 * 60_000
/** Jupyter keeps its ends for an hour. */
const keptMs = 60_000

/**
 * `socketsFolder` holds a folder with a `socket` in it for each account.
 * @param limitMs until an answer begins
 */
export function createProxy(socketsFolder: string, limitMs = answerLimitMs): ReverseProxy {
  const pools = new Map<UserName, Pool>()
  const underWay = new Map<UserName, number>()
  /** By the browser's socket. */
  const tunnels = new Map<Duplex, Tunnel>()
  const answers = [0, 0, 0, 0]

  function poolOf(owner: UserName): Pool {
    const known = pools.get(owner)
    if (known) return known
    const pool = new Pool('http://localhost', {
      socketPath: join(socketsFolder, shortUnixName(unixName(owner)), 'socket'),
      connections: mostConnections,
      keepAliveTimeout: keptMs,
      headersTimeout: limitMs,
      bodyTimeout: 0,
    })
    pools.set(owner, pool)
    return pool
  }

  /** Counts one in; whoever is counted in says `leave` once, at the end. Throws `SERVER_BUSY`. */
  function enter(owner: UserName): void {
    const others = underWay.get(owner) ?? 0
    if (others >= mostUnderWay) throw busy(owner)
    underWay.set(owner, others + 1)
  }

  function leave(owner: UserName): void {
    const left = (underWay.get(owner) ?? 1) - 1
    if (left > 0) underWay.set(owner, left)
    else underWay.delete(owner)
  }

  /** A function of its own: what it hands over is kept as long as the socket, with all that stands around it. */
  function leaveWith(socket: Duplex, owner: UserName): void {
    const end = () => {
      leave(owner)
      tunnels.delete(socket)
    }
    if (socket.closed) end()
    else socket.once('close', end)
  }

  return {
    async request(passage, request, response) {
      const { owner, prefix, target: path } = passage
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      enter(owner)
      const method = request.method ?? 'GET'
      const body = hasBody(request) ? bodyOf(request) : null
      const headers = requestHeaders(request.rawHeaders, passage)
      const isRepeatable = body === null && repeatable.has(method)
      let exchange: Exchange

      const outcome: Answering = {
        answered(status) {
          // A server may say any number up to 999.
          const index = Math.min(Math.trunc(status / 100), 5) - 2
          answers[index] = (answers[index] ?? 0) + 1
        },
        done() {
          leave(owner)
          resolve()
        },
        failed: orAgain(send, isRepeatable ? response : undefined, error => {
          body?.destroy()
          leave(owner)
          // Nobody waits for it.
          if (response.destroyed) return resolve()
          reject(problemOf(owner, error, limitMs))
        }),
      }
      function send(): void {
        exchange = new Exchange(response, prefix, outcome)
        poolOf(owner).dispatch({ path, method, headers, body }, exchange)
      }
      response.on('drain', () => exchange.resume())
      response.once('close', () => exchange.abandon())
      // What is written to a browser that has gone is told here, and means nothing.
      response.on('error', () => undefined)
      send()
      return promise
    },

    async upgrade(passage, request, socket, head) {
      const { owner, prefix, target: path } = passage
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      enter(owner)
      leaveWith(socket, owner)
      const headers = requestHeaders(request.rawHeaders, passage)
      let handshake: Handshake

      const abandon = () => handshake.abandon()
      const outcome = {
        joined(tunnel: Tunnel) {
          if (!socket.closed) tunnels.set(socket, tunnel)
        },
        done() {
          socket.off('close', abandon)
          resolve()
        },
        failed: orAgain(send, socket, error => reject(problemOf(owner, error, limitMs))),
      }
      function send(): void {
        handshake = new Handshake(socket, head, prefix, outcome)
        poolOf(owner).dispatch({ path, method: 'GET', headers, upgrade: 'websocket' }, handshake)
      }
      socket.once('close', abandon)
      send()
      return promise
    },

    forget(owner) {
      const pool = pools.get(owner)
      pools.delete(owner)
      void pool?.destroy()
    },

    async takeLeave(limitMs) {
      await Promise.race([
        Promise.all([...tunnels.values()].map(tunnel => tunnel.takeLeave())),
        delay(limitMs, undefined, { ref: false }),
      ])
    },

    tally: () => ({ webSockets: tunnels.size, answers }),

    close() {
      for (const pool of pools.values()) void pool.destroy()
      pools.clear()
    },
  }
}

/**
 * What is to be done with a failure: `send` again, where a kept connection had been closed and the one who asks is still there, or `fail`.
 * @param asker undefined: it may not be sent twice
 */
function orAgain(
  send: () => void,
  asker: { destroyed: boolean } | undefined,
  fail: (error: Error) => void,
): (error: Error) => void {
  let attempt = 0
  return error => {
    if (++attempt < mostAttempts && isStale(error) && asker?.destroyed === false) send()
    else fail(error)
  }
}

/** Whether the connection was one that had been kept, and was closed before anything was answered on it. */
function isStale(error: Error): boolean {
  return 'code' in error && (error.code === 'UND_ERR_SOCKET' || error.code === 'ECONNRESET' || error.code === 'EPIPE')
}

function hasBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length']
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}

function busy(owner: UserName): ProblemError {
  return new ProblemError('SERVER_BUSY', {
    what: `${owner}’s server has too much to answer`,
    why: `${mostUnderWay} requests and connections to it are open at this moment`,
    fix: 'Close pages and programs that use it. If it stays so, stop it and start it again on the home page; files are not touched',
  })
}

function problemOf(owner: UserName, cause: Error, limitMs: number): Error {
  const code = 'code' in cause ? cause.code : undefined
  // A header of the browser's that may not be sent on.
  if (code === 'UND_ERR_INVALID_ARG') return Object.assign(new Error(cause.message, { cause }), { statusCode: 400 })
  if (code === 'UND_ERR_HEADERS_TIMEOUT') {
    return new ProblemError('SERVER_SILENT', {
      what: `${owner}’s server has not answered`,
      why: `it was asked ${Math.round(limitMs / 60_000)} minutes ago, and has said nothing since; it may be busy, or hang`,
      fix: 'See whether its pages still work. If they do not, stop it and start it again on the home page; files are not touched',
      cause,
    })
  }
  return new ProblemError('SERVER_UNREACHABLE', {
    what: `${owner}’s server does not answer`,
    why: 'it runs, and did not take the connection or broke it',
    fix: 'Try again in a moment. If it stays so, stop it and start it again on the home page; files are not touched',
    cause,
  })
}
