/**
 * A WebSocket after the handshake: two sockets, joined. Nothing in it is changed, and each side waits for the other.
 *
 * Whatever ends one of the two ends the other, after what was still on its way has arrived; so none is left half open. A server that
 * stops leaves its WebSockets without a word, which a browser can't tell from a broken line: then the browser is told. A hub that goes has the
 * browser close them, so that nothing is lost that was on its way.
 */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { closeFrame, followFrames } from './frames.ts'

/** How long the one may take to accept what the other has said last, and to say its own last. Whoever does neither would be kept for ever. */
const farewellMs = 30_000

/** Bytes that may wait for one side: several of the pieces in which they come leave in one write. */
const mostWaiting = 512 * 1024

/** RFC 6455, section 7.4.1: 'going away'. JupyterLab opens a new one, as after every end. */
const goingAway = closeFrame(1001, 'the server has stopped')

/** The registry of RFC 6455: 'service restart'. */
const restarting = closeFrame(1012, 'the hub restarts')

/** Two sockets that are joined. */
export interface Tunnel {
  /**
   * Has the browser close it, and resolves when all that the browser has sent before is with the server. Without that, what was typed at
   * this very moment would be lost: the browser does not know, and sends it no second time.
   */
  takeLeave(): Promise<void>
}

/** @param fromBrowser what it has sent already */
export function joinSockets(browser: Duplex, fromBrowser: Buffer, server: Duplex): Tunnel {
  const toServer = followFrames()
  const toBrowser = followFrames()
  let isLeaving = false
  let hasLeft = false

  /** The browser listens to nothing that comes behind it. */
  function leaveBetweenFrames(): void {
    if (!isLeaving || hasLeft || !toBrowser.isBetween()) return
    hasLeft = true
    browser.write(restarting)
  }

  toServer.take(fromBrowser)
  if (fromBrowser.length > 0) server.write(fromBrowser)
  lead(browser, server, {
    take(chunk) {
      toServer.take(chunk)
      return true
    },
    after() {
      if (hasLeft && toServer.isOver()) server.end()
    },
  })
  lead(server, browser, {
    take(chunk) {
      if (hasLeft) return false
      toBrowser.take(chunk)
      return true
    },
    after: leaveBetweenFrames,
    farewell: () => (!hasLeft && toBrowser.isBetween() ? goingAway : undefined),
  })

  return {
    async takeLeave() {
      const passedOn = Promise.race([once(server, 'finish'), once(server, 'close'), once(browser, 'close')])
      isLeaving = true
      leaveBetweenFrames()
      await passedOn.catch(() => undefined)
    },
  }
}

interface Course {
  /** Whether a piece goes on. */
  take(chunk: Buffer): boolean
  /** It has. */
  after(): void
  /** What is said in the place of `from`, in the end. */
  farewell?(): Buffer | undefined
}

function lead(from: Duplex, to: Duplex, { take, after, farewell }: Course): void {
  from.on('data', (chunk: Buffer) => {
    if (!take(chunk)) return
    // Node.js says 'enough' to every big piece, though the kernel has taken it already.
    if (!to.write(chunk) && to.writableLength > mostWaiting) from.pause()
    after()
  })
  to.on('drain', () => from.resume())
  from.on('error', () => from.destroy())
  from.once('end', () => bidFarewell(from, to, farewell?.()))
  from.once('close', () => {
    bidFarewell(from, to, farewell?.())
    if (to.writableFinished) to.destroy()
    else to.once('finish', () => to.destroy())
  })
}

/** `from` has said its last. */
function bidFarewell(from: Duplex, to: Duplex, last: Buffer | undefined): void {
  if (to.destroyed || to.writableEnded) return
  to.end(last)
  const timer = setTimeout(() => {
    from.destroy()
    to.destroy()
  }, farewellMs)
  to.once('close', () => clearTimeout(timer))
}
