/**
 * One request to a user's server and its answer, on their way through.
 *
 * Both bodies stream, and whoever reads slowly slows the other side down; nothing is gathered.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Outlet } from '../bounds/outlet.ts'
import type { Copies } from './buffers.ts'
import { lingerAfter } from './early-answer.ts'
import { responseHeaders, trailers } from './headers.ts'
import { OnBehalf, type Outcome } from './pending.ts'
import type { AnswerHead, Kind } from './response-parser.ts'
import type { Asking, Connection } from './upstream.ts'

export interface Answering extends Outcome {
  /** An answer begins. */
  answered(status: number): void
}

const smallBytes = 8 * 1024
/** So many small pieces are passed on before it is looked whether they wait: an answer that nobody holds up has no entry anywhere. */
const fewPieces = 256

export class Exchange extends OnBehalf<ServerResponse, Answering> implements Asking {
  readonly kind: Kind
  readonly head: string
  readonly body: Asking['body']
  readonly #prefix: string
  readonly #copies: Copies
  /** Bytes of the body that are still to come; below 0 where that is not known. */
  #left = -1
  #isFlushed = false
  #isPaused = false
  /** Small ones that were passed on. */
  #pieces = 0
  /** Where some of the answer had to wait. */
  #outlet: Outlet | undefined

  /**
   * @param head of the request, as the server gets it
   * @param prefix as far as cookies of the server's may reach
   */
  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    { head, prefix, copies, outcome }: { head: string; prefix: string; copies: Copies; outcome: Answering },
  ) {
    super(response, outcome)
    this.kind = request.method === 'HEAD' ? 'head' : 'usual'
    this.head = head
    this.body = bodyOf(request)
    this.#prefix = prefix
    this.#copies = copies
    // What is written to a browser that has gone is told here, and means nothing.
    response.on('error', ignore)
  }

  onHead({ status, reason, headers, length = -1 }: AnswerHead): void {
    // Throws for what would break the answer: then nothing has been said yet.
    this.browser.writeHead(status, printable(reason), responseHeaders(headers, this.#prefix))
    this.outcome.answered(status)
    this.#left = length
    lingerAfter(this.browser)
  }

  onBody(piece: Buffer): void {
    const response = this.browser
    if (this.#left === piece.length) {
      this.#left = 0
      if (piece.length <= smallBytes) {
        // As a text of bytes it leaves together with the head, in one write to the socket.
        response.end(piece.toString('latin1'), 'latin1')
        return
      }
    }
    if (this.#left > 0) this.#left -= piece.length
    this.#isFlushed = true
    const isDone = this.#copies.write(response, piece)
    const { connection } = this
    const isLittle = isDone && ++this.#pieces < fewPieces
    if (!connection || (!this.#outlet && (isLittle || response.writableLength === 0))) return
    const outlet = this.#outlet ?? this.#openOutlet(response, connection)
    if (!outlet.wrote(piece.length, isDone) || this.#isPaused) return
    this.#isPaused = true
    connection.pause()
  }

  onLull(): void {
    if (this.#isFlushed || !this.browser.headersSent) return
    this.#isFlushed = true
    this.browser.flushHeaders()
  }

  onEnd(late: readonly string[]): void {
    const response = this.browser
    if (!response.writableEnded) {
      if (late.length > 0) response.addTrailers(trailers(late))
      response.end()
    }
    this.finish()
  }

  onUpgrade(): void {
    // Only who asks for it as a WebSocket is answered so (hub/proxy/response-parser.ts).
  }

  protected isAnswered(): boolean {
    return this.browser.headersSent
  }

  #openOutlet(response: ServerResponse, connection: Connection): Outlet {
    const outlet = new Outlet(response, connection.share())
    this.#outlet = outlet
    response.on('drain', () => {
      outlet.look()
      if (!this.#isPaused) return
      this.#isPaused = false
      this.connection?.resume()
    })
    response.on('close', () => outlet.clear())
    return outlet
  }
}

/** Undefined: it has none. */
export function bodyOf(request: IncomingMessage): Asking['body'] {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (encoding !== undefined) return { request, isChunked: true }
  return length !== undefined && length !== '0' ? { request, isChunked: false } : undefined
}

/** The reason phrase, where it may be repeated. */
export function printable(reason: string): string {
  return /^[\x20-\x7e]*$/.test(reason) ? reason : ''
}

function ignore(): void {}
