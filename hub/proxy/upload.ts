/**
 * The body of a request, on its way from the browser to a user's server: a slow server slows the browser down, and nothing is gathered.
 *
 * A server may answer, and go, before it has read all of it. The browser is to hear that answer, so what it still sends is thrown away
 * then, and does not stay in its connection (hub/proxy/early-answer.ts).
 */
import type { IncomingMessage } from 'node:http'
import type { ServerSocket } from './server-socket.ts'

export class Upload {
  readonly #request: IncomingMessage
  readonly #server: ServerSocket
  readonly #isChunked: boolean
  #hasBegun = false
  #isComplete = false
  #lastSent = performance.now()
  readonly #onData = (piece: Buffer) => this.#send(piece)
  readonly #onEnd = () => this.#finish()
  readonly #onDrain = () => this.#goOn()
  readonly #begin = () => {
    this.#hasBegun = true
    this.#request.on('data', this.#onData).on('end', this.#onEnd)
  }

  /** @param isChunked its length is not known */
  constructor(request: IncomingMessage, server: ServerSocket, isChunked: boolean) {
    this.#request = request
    this.#server = server
    this.#isChunked = isChunked
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
    if (server.writableNeedDrain) this.#request.pause()
  }

  #finish(): void {
    this.#lastSent = performance.now()
    this.#isComplete = true
    if (this.#isChunked) this.#server.write('0\r\n\r\n', 'latin1')
    this.#forget()
  }

  #goOn(): void {
    this.#lastSent = performance.now()
    this.#request.resume()
  }

  #forget(): void {
    this.#request.off('data', this.#onData).off('end', this.#onEnd)
    this.#server.off('drain', this.#onDrain).off('connect', this.#begin)
  }
}
