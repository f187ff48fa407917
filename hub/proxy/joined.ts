/**
 * A WebSocket after the handshake: two sockets, joined. Nothing in it is changed, and each side waits for the other.
 *
 * Whatever ends one of the two ends the other, after what was still on its way has arrived; so none is left half open. A server that
 * stops leaves its WebSockets without a word, which a browser can't tell from a broken line: then the browser is told.
 */
import type { Duplex } from 'node:stream'
import { closeFrame, followFrames } from './frames.ts'

/** How long the one may take to accept what the other has said last, and to say its own last. Whoever does neither would be kept for ever. */
const farewellMs = 30_000

/** Bytes that may wait for one side: several of the pieces in which they come leave in one write. */
const mostWaiting = 512 * 1024

/** RFC 6455, section 7.4.1: 'going away'. JupyterLab opens a new one, as after every end. */
const goingAway = closeFrame(1001, 'the server has stopped')

/** @param fromBrowser what it has sent already */
export function joinSockets(browser: Duplex, fromBrowser: Buffer, server: Duplex): void {
  const frames = followFrames()
  if (fromBrowser.length > 0) server.write(fromBrowser)
  server.on('data', frames.take)
  lead(browser, server)
  lead(server, browser, () => (frames.isBetween() ? goingAway : undefined))
}

/** @param farewell what is said in the place of `from`, in the end */
function lead(from: Duplex, to: Duplex, farewell?: () => Buffer | undefined): void {
  from.on('data', (chunk: Buffer) => {
    // Node.js says 'enough' to every big piece, though the kernel has taken it already.
    if (!to.write(chunk) && to.writableLength > mostWaiting) from.pause()
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
