/**
 * A WebSocket after the handshake: two sockets, joined. Nothing in it is changed, and each side waits for the other.
 *
 * Whatever ends one of the two ends the other, after what was still on its way has arrived; so none is left half open. A server that
 * stops leaves its WebSockets without a word, which a browser can't tell from a broken line: then the browser is told. A hub that goes has the
 * browser close them, so that nothing is lost that was on its way.
 */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { Outlet } from '../bounds/outlet.ts'
import { Reader } from '../bounds/share.ts'
import type { Copies } from './buffers.ts'
import { closeFrame, FrameEnds } from './frames.ts'
import type { ServerEnd } from './upstream.ts'

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
  readonly #browserReader: Reader
  readonly #serverReader: Reader
  readonly #browserOutlet: Outlet
  readonly #serverOutlet: Outlet
  readonly #toServer = new FrameEnds()
  readonly #toBrowser = new FrameEnds()
  #isLeaving = false
  #hasLeft = false

  constructor({ browser, fromBrowser, server, fromServer, copies }: Ends) {
    this.#browser = browser
    this.#server = server.socket
    this.#copies = copies
    this.#browserReader = new Reader(browser, server.share)
    this.#serverReader = server.reader
    this.#browserOutlet = new Outlet(browser, server.share)
    this.#serverOutlet = new Outlet(server.socket, server.share)
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
  take(chunk: Buffer): number {
    // The browser listens to nothing that comes behind the word that the hub goes.
    if (this.#hasLeft) return 0
    const frames = this.#toBrowser.take(chunk)
    const isDone = this.#copies.write(this.#browser, chunk)
    if (this.#browserOutlet.wrote(chunk.length, isDone)) this.#serverReader.stop()
    this.#leaveBetweenFrames()
    return frames
  }

  /** From the browser to the server. */
  give(chunk: Buffer): void {
    this.#browserReader.read(chunk.length, this.#toServer.take(chunk))
    const isDone = this.#server.write(chunk)
    if (this.#serverOutlet.wrote(chunk.length, isDone)) this.#browserReader.stop()
    if (this.#hasLeft && this.#toServer.isOver()) this.#server.end()
  }

  /** `socket` has taken all. */
  drain(socket: Duplex): void {
    const isServer = socket === this.#server
    const outlet = isServer ? this.#serverOutlet : this.#browserOutlet
    outlet.look()
    if (isServer) this.#browserReader.goOn()
    else this.#serverReader.goOn()
  }

  /** Nothing more comes from the browser, or is to go to `socket`. */
  close(socket: Duplex): void {
    if (socket === this.#browser) {
      this.#browserReader.close()
      this.#browserOutlet.clear()
    } else this.#serverOutlet.clear()
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
  tunnels.get(this)?.drain(this)
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
  tunnel.close(this)
  tunnel.end(this)
  const to = tunnel.across(this)
  if (to.writableFinished) to.destroy()
  else to.once('finish', () => to.destroy())
}
