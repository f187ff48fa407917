/**
 * The end of a hub that is told to stop: it listens no more, and what has begun comes to its end.
 *
 * What always holds: no request that was sent before meets a connection that closes, as far as a second of patience goes (by TLS, three). Meanwhile new
 * connections wait in systemd's socket for the next hub. WebSockets are not waited for (hub/proxy/proxy.ts takes leave of them).
 */
import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** How long a browser's kept connection is still served: a request may be on its way. */
const lingerMs = 300
/** How long one that is new may take to its first request; on a slow line, that comes a while after the connection. */
const youngMs = 1_000
/** How long a new one may take to shake hands, by TLS: twice there and back, and some arithmetic. */
const handshakeMs = 3_000
/** How long answers that have begun may take to end. */
const graceMs = 5_000
const lookMs = 20

/**
 * To be called before the server listens. What it answers is to be called once, and resolves when nothing is left.
 * @param lastHandshake when the last connection came that the server does not know of yet, if there is one; of `performance.now()`
 */
export function followConnections(server: HttpServer): (lastHandshake: () => number | undefined) => Promise<void> {
  /** Answers that have begun, or will. Counted and not kept: what V8 has once taken for old, it frees late (docs/decisions.md). */
  let running = 0
  /** Connections on which nothing was asked yet, with the time when they came. */
  const silent = new Map<Socket, number>()
  let isDraining = false

  const countIn = (response: ServerResponse) => {
    running++
    response.on('close', countOut)
  }
  const countOut = () => {
    running--
  }
  const hasAsked = ({ socket }: IncomingMessage) => silent.delete(socket)
  server.on('connection', (socket: Socket) => {
    silent.set(socket, performance.now())
    socket.once('close', () => silent.delete(socket))
  })
  server.prependListener('upgrade', hasAsked)
  server.prependListener('request', (request, response) => {
    hasAsked(request)
    if (isDraining) response.setHeader('connection', 'close')
    // One that waits behind others on its connection never closes, where the connection breaks before its turn.
    if (response.socket) countIn(response)
    else response.once('socket', () => countIn(response))
  })

  async function settle(lastHandshake: () => number | undefined, signal: AbortSignal): Promise<void> {
    await delay(lingerMs)
    const isWithin = (came: number | undefined, ms: number) => came !== undefined && performance.now() - came < ms
    const hasYoung = () =>
      isWithin(lastHandshake(), handshakeMs) || [...silent.values()].some(came => isWithin(came, youngMs))
    while (hasYoung() && !signal.aborted) await delay(lookMs)
    while (running > 0 && !signal.aborted) await delay(lookMs)
  }

  return async lastHandshake => {
    isDraining = true
    // The HTTP server's own `close` would at once break kept connections on which a request may be on its way.
    NetServer.prototype.close.call(server)
    await settle(lastHandshake, AbortSignal.timeout(graceMs)).catch(() => undefined)
    server.closeAllConnections()
  }
}
