/**
 * One request to a user's server and its answer, on their way through.
 *
 * Both bodies stream, and whoever reads slowly slows the other side down; nothing is gathered. What always holds: `done` or `failed` is
 * called once, and no connection is left behind: a browser that goes takes the request to its server with it, and a server that breaks
 * off in its answer has the browser's connection broken, so that half an answer is seen to be one.
 */
import type { ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import { responseHeaders, trailers } from '../headers.ts'
import { lingerAfter } from './early-answer.ts'

/** How it ended for `hub/proxy.ts`. */
export interface Outcome {
  /** The answer has been given, or nobody is there to take it. */
  done(): void
  /** Nothing has been answered. */
  failed(error: Error): void
}

export interface Answering extends Outcome {
  /** An answer begins. */
  answered(status: number): void
}

/** A server says `103 Early Hints` once, if ever. One that does nothing else would keep the hub busy. */
const mostInterimAnswers = 8

const smallBytes = 8 * 1024
/** Bytes that may wait for the browser: several of the pieces in which they come leave in one write. */
const mostWaiting = 512 * 1024

/** undici's handler of one attempt. A class, because it has a life, and there are thousands in a second. */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse
  readonly #prefix: string
  readonly #outcome: Answering
  #controller: Dispatcher.DispatchController | undefined
  readonly #interimAnswers = countInterim()
  #isOver = false
  /** Bytes of the body that are still to come; below 0 where that is not known. */
  #left = -1

  /** @param prefix as far as cookies of the server's may reach */
  constructor(response: ServerResponse, prefix: string, outcome: Answering) {
    this.#response = response
    this.#prefix = prefix
    this.#outcome = outcome
  }

  /** The browser has gone. */
  abandon(): void {
    if (!this.#isOver) this.#controller?.abort(new Error('the browser has gone'))
  }

  /** The browser takes more. */
  resume(): void {
    this.#controller?.resume()
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#response.destroyed) controller.abort(new Error('the browser has gone'))
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, _headers: unknown, reason = ''): void {
    if (status < 200) {
      this.#interimAnswers()
      return
    }
    const raw = texts(controller.rawHeaders)
    const headers = responseHeaders(raw, this.#prefix)
    // Throws for what would break the answer: then nothing has been said yet.
    this.#response.writeHead(status, isPrintable(reason) ? reason : '', headers)
    this.#outcome.answered(status)
    this.#left = lengthIn(raw)
    lingerAfter(this.#response)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const response = this.#response
    if (this.#left === chunk.length) {
      this.#left = 0
      // As a text of bytes it leaves together with the head, in one write to the socket.
      if (chunk.length <= smallBytes) response.end(chunk.toString('latin1'), 'latin1')
      else response.end(chunk)
      return
    }
    if (this.#left > 0) this.#left -= chunk.length
    // Node.js says 'enough' to every big piece, though the kernel has taken it already.
    if (!response.write(chunk) && response.writableLength > mostWaiting) controller.pause()
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    const response = this.#response
    if (!response.writableEnded) {
      const late = trailers(texts(controller.rawTrailers))
      if (late.length > 0) response.addTrailers(late)
      response.end()
    }
    this.#end()
    this.#outcome.done()
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#isOver) return
    this.#end()
    if (this.#response.headersSent) {
      // Half an answer cannot be mended.
      this.#response.destroy()
      this.#outcome.done()
    } else {
      this.#outcome.failed(error)
    }
  }

  #end(): void {
    this.#isOver = true
    this.#controller = undefined
  }
}

/** To be called for each answer that is not one yet. Throws where they are too many: then the request ends. */
export function countInterim(): () => void {
  let count = 0
  return () => {
    if (++count > mostInterimAnswers) throw new Error('it answers without ever coming to an end')
  }
}

/** The reason phrase may be repeated. */
export function isPrintable(reason: string): boolean {
  return /^[\x20-\x7e]*$/.test(reason)
}

/** As Node.js has them: one character a byte. */
export function texts(raw: Dispatcher.DispatchController['rawHeaders']): string[] {
  return Array.isArray(raw) ? raw.map(text => (typeof text === 'string' ? text : text.toString('latin1'))) : []
}

function lengthIn(raw: readonly string[]): number {
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (raw[index]?.toLowerCase() === 'content-length') return Number(raw[index + 1])
  }
  return -1
}
