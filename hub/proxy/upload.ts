/**
 * The body of a request, on its way from the browser to a user's server: a slow server slows the browser down, and nothing is gathered.
 *
 * A server may answer, and go, before it has read all of it. The browser is to hear that answer, so what it still sends is thrown away
 * then, and does not stay in its connection (hub/proxy/early-answer.ts).
 *
 * A body that comes in chunks of one byte, thousands in one read, is joined before (hub/bounds/tiny-chunks.ts), and costs its owner what that took.
 * A connection that waits for its turn with the server is not read: what comes byte by byte would wait byte by byte.
 */
import type { IncomingMessage } from 'node:http'
import { Outlet } from '../bounds/outlet.ts'
import { slowDown, speedUp } from '../bounds/pipelining.ts'
import { Reader, type Share } from '../bounds/share.ts'
import { JoiningRequest } from '../bounds/tiny-chunks.ts'
import type { ServerSocket } from './upstream-socket.ts'

export class Upload {
  readonly #request: IncomingMessage
  readonly #server: ServerSocket
  readonly #isChunked: boolean
  readonly #share: Share
  readonly #outlet: Outlet
  #reader: Reader | undefined
  #hasBegun = false
  #isComplete = false
  #lastSent = performance.now()
  readonly #onData = (piece: Buffer) => this.#take(piece)
  readonly #onEnd = () => this.#finish()
  readonly #onDrain = () => this.#goOn()
  readonly #begin = () => {
    this.#hasBegun = true
    speedUp(this.#request.socket)
    this.#reader = new Reader(sourceOf(this.#request), this.#share)
    this.#request.on('data', this.#onData).on('end', this.#onEnd)
  }

  /** @param isChunked its length is not known */
  constructor(
    request: IncomingMessage,
    server: ServerSocket,
    { isChunked, share }: { isChunked: boolean; share: Share },
  ) {
    this.#request = request
    this.#server = server
    this.#isChunked = isChunked
    this.#share = share
    this.#outlet = new Outlet(server, share)
    server.on('drain', this.#onDrain)
    // A connection that does not come about takes nothing of it along.
    if (!server.connecting) this.#begin()
    else {
      slowDown(request.socket)
      server.once('connect', this.#begin)
    }
  }

  /** Whether all of it was sent. */
  isComplete(): boolean {
    return this.#isComplete
  }

  /** Whether the server has all that the browser has sent so far, or does not take it. */
  isWithServer(): boolean {
    return this.#isComplete || this.#server.isDeaf || this.#server.writableNeedDrain
  }

  /** Of `performance.now()`. */
  lastSent(): number {
    return this.#lastSent
  }

  /** What still comes is thrown away; where nothing was sent yet, it can be sent elsewhere, and waits until then. */
  stop(): void {
    this.#forget()
    if (this.#hasBegun) this.#request.resume()
  }

  #take(piece: Buffer): void {
    const request = this.#request
    this.#reader?.handed(piece.length, request instanceof JoiningRequest ? request.takeCount() : 1)
    const server = this.#server
    this.#lastSent = performance.now()
    if (this.#isChunked) {
      server.cork()
      server.write(`${piece.length.toString(16)}\r\n`, 'latin1')
      server.write(piece)
      server.write('\r\n', 'latin1')
      server.uncork()
    } else server.write(piece)
    this.#outlet.wrote(piece.length, true)
    if (server.writableNeedDrain) this.#reader?.stop()
  }

  #finish(): void {
    this.#lastSent = performance.now()
    this.#isComplete = true
    if (this.#isChunked) this.#server.write('0\r\n\r\n', 'latin1')
    this.#forget()
  }

  #goOn(): void {
    this.#lastSent = performance.now()
    this.#outlet.look()
    this.#reader?.goOn()
  }

  #forget(): void {
    this.#outlet.clear()
    this.#reader?.close()
    if (this.#hasBegun) speedUp(this.#request.socket)
    this.#request.off('data', this.#onData).off('end', this.#onEnd)
    this.#server.off('drain', this.#onDrain).off('connect', this.#begin)
  }
}

/** A body is held back with its connection: node:http would go on making pieces of what comes. */
function sourceOf(request: IncomingMessage): { pause(): void; resume(): void } {
  const { socket } = request
  return {
    pause() {
      request.pause()
      slowDown(socket)
    },
    resume() {
      request.resume()
      speedUp(socket)
    },
  }
}
