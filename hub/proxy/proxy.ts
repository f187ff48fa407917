/**
 * Carries requests and WebSockets to the socket of a user's server, and nothing else: who may go where has been
 * decided before (hub/access/gate.ts), and what passes with it is said in hub/proxy/headers.ts.
 *
 * Bodies stream both ways and have no time limit: an upload over a slow line takes as long as it takes. Connections to
 * a server are kept open. A WebSocket is a pair of sockets after the handshake.
 *
 * Browsers meet node:http; servers are asked by code of ours (hub/proxy/upstream.ts), because libraries cost more than all the rest of
 * the way (docs/decisions.md has the figures).
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { shortUnixName, type UserName, unixName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import { speedUp } from '../bounds/pipelining.ts'
import { Share } from '../bounds/share.ts'
import { Copies } from './buffers.ts'
import type { Forwarded } from './headers.ts'
import { type Answering, Exchange } from './request.ts'
import { handshakeHead, requestHead } from './request-head.ts'
import type { Tunnel } from './tunnel.ts'
import { Handshake, type Joining } from './upgrade.ts'
import type { Asking, Failure } from './upstream.ts'
import { Connections } from './upstream-pool.ts'

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
/** A new connection that breaks is a server that breaks off, so once is enough. */
const mostRepeats = 1
/** How often it is tried to connect to a server that has no room in its queue, and how long between. */
const mostTries = 100
const crowdedMs = 50

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
/** How often it is looked for what has been quiet for too long. */
const sweepMs = 10_000

/**
 * `socketsFolder` holds a folder with a `socket` in it for each account.
 * @param limitMs until an answer begins
 */
export function createProxy(socketsFolder: string, limitMs = answerLimitMs): ReverseProxy {
  const limits = { most: mostConnections, keptMs, answerMs: limitMs }
  const servers = new Map<UserName, Connections>()
  /** An owner's share outlives the server: what it has said last may still wait for a slow browser, and counts with what the next one says. */
  const shares = new Map<UserName, Share>()
  const underWay = new Map<UserName, number>()
  /** By the browser's socket. */
  const tunnels = new Map<Duplex, Tunnel>()
  const answers = [0, 0, 0, 0]
  const copies = new Copies()
  let isClosed = false
  const sweeping = setInterval(
    () => {
      for (const server of servers.values()) server.sweep()
      const now = performance.now()
      for (const [owner, share] of shares) {
        share.sweep(now)
        if (!servers.has(owner) && !share.isUsed()) shares.delete(owner)
      }
    },
    Math.min(sweepMs, limitMs / 2),
  ).unref()

  function serverOf(owner: UserName): Connections {
    const known = servers.get(owner)
    if (known) return known
    const share = shares.get(owner) ?? new Share()
    const server = new Connections(join(socketsFolder, shortUnixName(unixName(owner)), 'socket'), limits, share)
    shares.set(owner, share)
    servers.set(owner, server)
    return server
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

  /** What is to be done with a failure. The answer is false where it is to be told. */
  function repeater(
    owner: UserName,
    asking: Asking,
    isRepeatable: boolean,
    asker: { destroyed: boolean },
  ): (failure: Failure) => boolean {
    let repeats = 0
    let tries = 0
    return failure => {
      const { kind } = failure
      if (isClosed || asker.destroyed) return false
      if (kind === 'stale' && isRepeatable && ++repeats <= mostRepeats) {
        serverOf(owner).askAnew(asking)
        return true
      }
      if (kind !== 'crowded' || ++tries > mostTries) return false
      setTimeout(() => {
        if (isClosed || asker.destroyed) asking.onError(failure)
        else serverOf(owner).ask(asking)
      }, crowdedMs)
      return true
    }
  }

  return {
    async request(passage, request, response) {
      const { owner, target, prefix } = passage
      const head = requestHead(passage, target, request)
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      enter(owner)
      const end = () => {
        leave(owner)
        // Of a body that never had its turn, nothing was read.
        if (exchange.body) speedUp(request.socket)
      }
      const outcome: Answering = {
        answered(status) {
          // A server may say any number up to 999.
          const index = Math.min(Math.trunc(status / 100), 5) - 2
          answers[index] = (answers[index] ?? 0) + 1
        },
        done() {
          end()
          resolve()
        },
        failed(failure) {
          if (again(failure)) return
          end()
          // Nobody waits for it.
          if (response.destroyed) return resolve()
          reject(problemOf(owner, failure, limitMs))
        },
      }
      const exchange = new Exchange(request, response, { head, prefix, copies, outcome })
      const isRepeatable = exchange.body === undefined && repeatable.has(request.method ?? '')
      const again = repeater(owner, exchange, isRepeatable, response)
      response.on('close', () => {
        if (servers.get(owner)?.withdraw(exchange)) outcome.done()
        else exchange.abandon()
      })
      serverOf(owner).ask(exchange)
      return promise
    },

    async upgrade(passage, request, socket, rest) {
      const { owner, target, prefix } = passage
      const head = handshakeHead(passage, target, request)
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      enter(owner)
      leaveWith(socket, owner)
      const outcome: Joining = {
        joined(tunnel) {
          if (!socket.closed) tunnels.set(socket, tunnel)
        },
        done() {
          socket.off('close', abandon)
          resolve()
        },
        failed(failure) {
          if (!again(failure)) reject(problemOf(owner, failure, limitMs))
        },
      }
      const handshake = new Handshake(socket, rest, { head, prefix, copies, outcome })
      const again = repeater(owner, handshake, true, socket)
      const abandon = () => {
        if (servers.get(owner)?.withdraw(handshake)) outcome.done()
        else handshake.abandon()
      }
      socket.once('close', abandon)
      serverOf(owner).ask(handshake)
      return promise
    },

    forget(owner) {
      const server = servers.get(owner)
      servers.delete(owner)
      server?.close()
    },

    async takeLeave(limitMs) {
      await Promise.race([
        Promise.all([...tunnels.values()].map(tunnel => tunnel.takeLeave())),
        delay(limitMs, undefined, { ref: false }),
      ])
    },

    tally: () => ({ webSockets: tunnels.size, answers }),

    close() {
      isClosed = true
      clearInterval(sweeping)
      for (const server of servers.values()) server.close()
      servers.clear()
    },
  }
}

function busy(owner: UserName): ProblemError {
  return new ProblemError('SERVER_BUSY', {
    what: `${owner}’s server has too much to answer`,
    why: `${mostUnderWay} requests and connections to it are open at this moment`,
    fix: 'Close pages and programs that use it. If it stays so, stop it and start it again on the home page; files are not touched',
  })
}

function problemOf(owner: UserName, { kind, cause }: Failure, limitMs: number): ProblemError {
  if (kind === 'silent') {
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
