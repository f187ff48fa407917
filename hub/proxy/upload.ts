/**
 * The body of a request, on its way from the browser to a user's server: a slow server slows the browser down, and nothing is gathered.
 *
 * A server may answer, and go, before it has read all of it. The browser is to hear that answer, so what it still sends is thrown away
 * then, and does not stay in its connection (hub/proxy/early-answer.ts).
 *
 * A body may come in chunks of one byte, thousands in one read. What comes in one turn of the event loop is passed on together.
 */
import type { IncomingMessage } from 'node:http'
import { slowDown, speedUp } from '../pipelining.ts'
import { Outlet } from './outlet.ts'
import type { ServerSocket } from './server-socket.ts'
import { Reader, type Share } from './share.ts'

/** Chunks of this size are passed on as they are. */
const bigBytes = 16 * 1024

export class Upload {
  readonly #request: IncomingMessage
  readonly #server: ServerSocket
  readonly #isChunked: boolean
  readonly #share: Share
  readonly #outlet: Outlet
  #reader: Reader | undefined
  /** Small chunks that have come in this turn. */
  #gathered: Buffer[] = []
  #hasBegun = false
  #isComplete = false
  #lastSent = performance.now()
  readonly #onData = (piece: Buffer) => this.#take(piece)
  readonly #sendGathered = () => {
    if (this.#gathered.length > 0) this.#send(Buffer.concat(this.#gathered.splice(0)))
  }
  readonly #onEnd = () => this.#finish()
  readonly #onDrain = () => this.#goOn()
  readonly #begin = () => {
    this.#hasBegun = true
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
    if (server.connecting) server.once('connect', this.#begin)
    else this.#begin()
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

  /** What still comes is thrown away; where nothing was sent yet, it can be sent elsewhere. */
  stop(): void {
    this.#forget()
    if (this.#hasBegun) this.#request.resume()
  }

  #take(piece: Buffer): void {
    this.#share.handed(piece.length)
    const isAlone = this.#gathered.length === 0
    if (!this.#isChunked || (piece.length >= bigBytes && isAlone)) this.#send(piece)
    else if (this.#gathered.push(piece) === 1) setImmediate(this.#sendGathered)
  }

  #send(piece: Buffer): void {
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
    this.#sendGathered()
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
    this.#gathered = []
    this.#outlet.clear()
    this.#reader?.close()
    speedUp(this.#request.socket)
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
