/**
 * How many requests of one connection are in the hub at a time. Browsers send the next one when the last is answered; programs may send
 * several at once (pipelining, RFC 9112, section 9.3.2), and an attacker sends them without end behind one that is never answered.
 *
 * What always holds:
 * 1. A connection on which `mostUnread` requests wait behind the one that is answered is not read.
 * 2. node:http makes all requests of one read (64 KB) at once, and that can be 3000. Beyond `mostWaiting` the connection is destroyed.
 * 3. Requests are answered in the order in which they came.
 *
 * It is a class of answers, because node:http makes one for each request, also for those that it refuses by itself.
 */
import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

const mostUnread = 2
/** Debian's apt, which pipelines more than others, sends ten. */
const mostWaiting = 16
/** A page that is being opened asks again within that. */
const momentMs = 5_000

/** Of one connection. */
interface Line {
  /** Requests that have come and were not answered to their end. */
  requests: number
  /** When the last one was, of `performance.now()`. */
  answeredAt: number
  /** Whether too many of them wait. */
  isFull: boolean
  /** Whether its owner has had more than the share of the hub (hub/bounds/share.ts). */
  isSlowed: boolean
  /** Whether `stop` listens. Once is enough, however often the connection is stopped. */
  isFollowed: boolean
}

const lines = new WeakMap<Duplex, Line>()

/** The answer to a request, which may have to wait for others on its connection. */
export class QueuedResponse extends ServerResponse {
  readonly #line: Line

  /** node:http gives more than its types say. */
  constructor(...given: ConstructorParameters<typeof ServerResponse>) {
    super(...given)
    const [{ socket }] = given
    const line = lineOf(socket)
    this.#line = line
    const waiting = line.requests++
    if (waiting >= mostUnread) hold(socket, line, waiting)
  }

  /** node:http calls it at the end of each answer. */
  override detachSocket(socket: Socket): void {
    super.detachSocket(socket)
    const line = this.#line
    line.requests--
    line.answeredAt = performance.now()
    if (!line.isFull || line.requests > mostUnread) return
    line.isFull = false
    goOn(socket, line)
  }
}

/** Whether a request on this connection is being answered, or it has become a WebSocket. */
export function isBusy(connection: Duplex): boolean {
  return (lines.get(connection)?.requests ?? 0) > 0
}

/** Whether nothing is asked on it, nor was a moment ago: the next request may be on its way. */
export function isIdle(connection: Duplex): boolean {
  const line = lines.get(connection)
  return !line || (line.requests === 0 && performance.now() - line.answeredAt > momentMs)
}

/** The connection belongs to something else than requests from now on, until it ends. */
export function occupy(connection: Duplex): void {
  lineOf(connection).requests++
}

/** Reads no more of a connection, also where node:http would. */
export function slowDown(connection: Duplex): void {
  const line = lineOf(connection)
  line.isSlowed = true
  stop(connection, line)
}

export function speedUp(connection: Duplex): void {
  const line = lineOf(connection)
  if (!line.isSlowed) return
  line.isSlowed = false
  goOn(connection, line)
}

function lineOf(connection: Duplex): Line {
  const known = lines.get(connection)
  if (known) return known
  const line = { requests: 0, answeredAt: -Infinity, isFull: false, isSlowed: false, isFollowed: false }
  lines.set(connection, line)
  return line
}

function hold(connection: Duplex, line: Line, waiting: number): void {
  line.isFull = true
  if (waiting > mostWaiting) connection.destroy()
  else stop(connection, line)
}

function stop(connection: Duplex, line: Line): void {
  connection.pause()
  if (line.isFollowed) return
  line.isFollowed = true
  // node:http reads on at the end of each request, and where more of a body is wanted.
  connection.on('resume', () => {
    if (!line.isFull && !line.isSlowed) return
    connection.pause()
    // 'resume' comes a tick after resume(). Where it was paused in between, pause() is silent, and node:http would read on.
    connection.emit('pause')
  })
}

function goOn(connection: Duplex, line: Line): void {
  if (!line.isFull && !line.isSlowed) connection.resume()
}
