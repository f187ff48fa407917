/**
 * The handshake of a WebSocket with a user's server: what it says goes to the browser, and if it agrees, the two sockets are joined.
 *
 * A refusal passes as it is, and ends the browser's connection.
 */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Copies } from './buffers.ts'
import { fieldLines } from './header-lines.ts'
import { responseHeaders } from './headers.ts'
import { OnBehalf, type Outcome } from './pending.ts'
import { printable } from './request.ts'
import type { AnswerHead } from './response-parser.ts'
import { Tunnel } from './tunnel.ts'
import type { Asking, ServerEnd } from './upstream.ts'

export interface Joining extends Outcome {
  joined(tunnel: Tunnel): void
}

export class Handshake extends OnBehalf<Duplex, Joining> implements Asking {
  readonly kind = 'upgrade'
  readonly head: string
  readonly body = undefined
  readonly #rest: Buffer
  readonly #prefix: string
  readonly #copies: Copies
  readonly #resume = () => this.connection?.resume()
  #isAnswered = false

  /**
   * @param head of the request, as the server gets it
   * @param rest what the browser has sent after its request
   */
  constructor(
    browser: Duplex,
    rest: Buffer,
    { head, prefix, copies, outcome }: { head: string; prefix: string; copies: Copies; outcome: Joining },
  ) {
    super(browser, outcome)
    this.#rest = rest
    this.head = head
    this.#prefix = prefix
    this.#copies = copies
  }

  onUpgrade({ status, headers }: AnswerHead, server: ServerEnd, rest: Buffer): void {
    this.connection = undefined
    this.#write(status, STATUS_CODES[status] ?? '', responseHeaders(headers, this.#prefix, true))
    this.outcome.joined(
      new Tunnel({ browser: this.browser, fromBrowser: this.#rest, server, fromServer: rest, copies: this.#copies }),
    )
    this.outcome.done()
  }

  onHead({ status, reason, headers }: AnswerHead): void {
    this.#isAnswered = true
    this.#write(status, printable(reason), [...responseHeaders(headers, this.#prefix), 'Connection', 'close'])
    this.browser.on('drain', this.#resume)
  }

  onBody(piece: Buffer): void {
    if (!this.#copies.write(this.browser, piece)) this.connection?.pause()
  }

  onLull(): void {
    // Nothing of it waits here.
  }

  onEnd(): void {
    this.browser.end()
    this.finish()
  }

  protected isAnswered(): boolean {
    return this.#isAnswered
  }

  #write(status: number, reason: string, headers: readonly string[]): void {
    this.browser.write(`HTTP/1.1 ${status} ${reason}\r\n${fieldLines(headers)}`, 'latin1')
  }
}
