/**
 * A WebSocket after the handshake: two sockets, joined. Nothing in it is changed, and each side waits for the other.
 *
 * Whatever ends one of the two ends the other, after what was still on its way has arrived; so none is left half open. A server that
 * stops leaves its WebSockets without a word, which a browser can't tell from a broken line: then the browser is told. A hub that goes has the
 * browser close them, so that nothing is lost that was on its way.
 */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import type { ServerEnd } from './connection.ts'
import { type Copies, isFull } from './copies.ts'
import { closeFrame, FrameEnds } from './frames.ts'

/** How long the one may take to accept what the other has said last, and to say its own last. Whoever does neither would be kept for ever. */
const farewellMs = 30_000

/** RFC 6455, section 7.4.1: 'going away'. JupyterLab opens a new one, as after every end. */
const goingAway = closeFrame(1001, 'the server has stopped')

/** The registry of RFC 6455: 'service restart'. */
const restarting = closeFrame(1012, 'the hub restarts')

/** What is joined; the pieces are what each has sent already. */
export interface Ends {
  browser: Duplex
  fromBrowser: Buffer
  server: ServerEnd
  fromServer: Buffer
  copies: Copies
}

/** Two sockets that are joined. */
export class Tunnel {
  readonly #browser: Duplex
  readonly #server: Duplex
  readonly #copies: Copies
  readonly #toServer = new FrameEnds()
  readonly #toBrowser = new FrameEnds()
  #isLeaving = false
  #hasLeft = false

  constructor({ browser, fromBrowser, server, fromServer, copies }: Ends) {
    this.#browser = browser
    this.#server = server.socket
    this.#copies = copies
    for (const socket of [browser, server.socket]) {
      tunnels.set(socket, this)
      socket.on('drain', onDrain).on('error', onError).on('end', onEnd).on('close', onClose)
    }
    browser.on('data', onData)
    server.taker = this
    if (fromBrowser.length > 0) this.give(fromBrowser)
    if (fromServer.length > 0) this.take(fromServer)
  }

  /**
   * Has the browser close it, and resolves when all that the browser has sent before is with the server. Without that, what was typed at
   * this very moment would be lost: the browser does not know, and sends it no second time.
   */
  async takeLeave(): Promise<void> {
    const ends = [once(this.#server, 'finish'), once(this.#server, 'close'), once(this.#browser, 'close')]
    const passedOn = Promise.race(ends)
    this.#isLeaving = true
    this.#leaveBetweenFrames()
    await passedOn.catch(() => undefined)
  }

  /** The one at the other end. */
  across(socket: Duplex): Duplex {
    return socket === this.#server ? this.#browser : this.#server
  }

  /** From the server to the browser. */
  take(chunk: Buffer): void {
    // The browser listens to nothing that comes behind the word that the hub goes.
    if (this.#hasLeft) return
    this.#toBrowser.take(chunk)
    if (!this.#copies.write(this.#browser, chunk) && isFull(this.#browser)) this.#server.pause()
    this.#leaveBetweenFrames()
  }

  /** From the browser to the server. */
  give(chunk: Buffer): void {
    this.#toServer.take(chunk)
    if (!this.#server.write(chunk) && isFull(this.#server)) this.#browser.pause()
    if (this.#hasLeft && this.#toServer.isOver()) this.#server.end()
  }

  /** `from` has said its last. */
  end(from: Duplex): void {
    const to = this.across(from)
    if (to.destroyed || to.writableEnded) return
    const isSilent = from === this.#server && !this.#hasLeft && this.#toBrowser.isBetween()
    to.end(isSilent ? goingAway : undefined)
    const timer = setTimeout(() => {
      from.destroy()
      to.destroy()
    }, farewellMs)
    to.once('close', () => clearTimeout(timer))
  }

  #leaveBetweenFrames(): void {
    if (!this.#isLeaving || this.#hasLeft || !this.#toBrowser.isBetween()) return
    this.#hasLeft = true
    this.#browser.write(restarting)
  }
}

/** By each of their sockets. */
const tunnels = new WeakMap<Duplex, Tunnel>()

function onData(this: Duplex, chunk: Buffer): void {
  tunnels.get(this)?.give(chunk)
}

function onDrain(this: Duplex): void {
  tunnels.get(this)?.across(this).resume()
}

function onError(this: Duplex): void {
  this.destroy()
}

function onEnd(this: Duplex): void {
  tunnels.get(this)?.end(this)
}

function onClose(this: Duplex): void {
  const tunnel = tunnels.get(this)
  if (!tunnel) return
  tunnel.end(this)
  const to = tunnel.across(this)
  if (to.writableFinished) to.destroy()
  else to.once('finish', () => to.destroy())
}
