/**
 * The handshake of a WebSocket with a user's server: what it says goes to the browser, and if it agrees, the two sockets are joined.
 *
 * A refusal passes as it is, and ends the browser's connection.
 */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { responseHeaders } from '../headers.ts'
import { countInterim, isPrintable, type Outcome, texts } from './exchange.ts'
import { Tunnel } from './joined.ts'

/** undici's handler of one attempt. */
export class Handshake implements Dispatcher.DispatchHandler {
  readonly #browser: Duplex
  readonly #head: Buffer
  readonly #prefix: string
  readonly #outcome: Outcome & { joined(tunnel: Tunnel): void }
  readonly #resume = () => this.#controller?.resume()
  #controller: Dispatcher.DispatchController | undefined
  readonly #interimAnswers = countInterim()
  #isAnswered = false

  /** @param head what the browser has sent after its request */
  constructor(browser: Duplex, head: Buffer, prefix: string, outcome: Outcome & { joined(tunnel: Tunnel): void }) {
    this.#browser = browser
    this.#head = head
    this.#prefix = prefix
    this.#outcome = outcome
  }

  /** The browser has gone. */
  abandon(): void {
    this.#controller?.abort(new Error('the browser has gone'))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#browser.destroyed) controller.abort(new Error('the browser has gone'))
  }

  onRequestUpgrade(controller: Dispatcher.DispatchController, status: number, _headers: unknown, server: Duplex): void {
    this.#controller = undefined
    const headers = responseHeaders(texts(controller.rawHeaders), this.#prefix, true)
    this.#browser.write(headText(status, STATUS_CODES[status] ?? '', headers))
    this.#outcome.joined(new Tunnel(this.#browser, this.#head, server))
    this.#outcome.done()
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, _headers: unknown, reason = ''): void {
    if (status < 200) {
      this.#interimAnswers()
      return
    }
    this.#isAnswered = true
    const headers = responseHeaders(texts(controller.rawHeaders), this.#prefix)
    this.#browser.write(headText(status, isPrintable(reason) ? reason : '', [...headers, 'Connection', 'close']))
    this.#browser.on('drain', this.#resume)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#browser.write(chunk)) controller.pause()
  }

  onResponseEnd(): void {
    this.#controller = undefined
    this.#browser.end()
    this.#outcome.done()
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    this.#controller = undefined
    if (this.#isAnswered) {
      this.#browser.destroy()
      this.#outcome.done()
    } else {
      this.#outcome.failed(error)
    }
  }
}

function headText(status: number, reason: string, headers: readonly string[]): Buffer {
  const lines = [`HTTP/1.1 ${status} ${reason}`]
  for (let index = 0; index + 1 < headers.length; index += 2) lines.push(`${headers[index]}: ${headers[index + 1]}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}
