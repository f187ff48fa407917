/**
 * Memory for what a server has said and a browser has not taken yet.
 *
 * All connections to servers read into the same piece of memory, one after the other, so what is to be kept beyond that moment is copied.
 * The copies are used again and again: for each 64 MB of new ones, V8 would look through all that the hub has, 14 times in a second of a download.
 */
import type { Writable } from 'node:stream'

/** As much as is read at a time. */
export const pieceBytes = 64 * 1024
/** Below it, as much as is needed: whoever takes little at a time would hold the rest of each copy for nothing. */
const smallBytes = 32 * 1024
const mostFree = 32
export class Copies {
  readonly #free: Buffer[] = []

  /** Writes a copy of a piece, of at most `pieceBytes`. Returns what `write` does. */
  write(to: Writable, piece: Buffer): boolean {
    if (piece.length <= smallBytes) return to.write(Buffer.from(piece))
    const memory = this.#free.pop() ?? Buffer.allocUnsafeSlow(pieceBytes)
    return to.write(memory.subarray(0, piece.copy(memory)), () => {
      if (this.#free.length < mostFree) this.#free.push(memory)
    })
  }
}
