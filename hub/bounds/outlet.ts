/**
 * One side that is written to, and what waits there until it is taken: counted for the owner, and given up where nothing moves for long.
 * A side that has taken little at a time may have taken all without a word, so it is counted anew before anything is given up.
 *
 * A piece counts more than its bytes: to keep one byte takes some hundred.
 */
import type { Writable } from 'node:stream'
import type { Share } from './share.ts'

/** What node:stream and node:net keep for each piece that waits. */
const pieceOverhead = 512
/** Bytes that may wait for one side: several of the pieces in which they come leave in one write. */
const mostWaiting = 512 * 1024

/** Bytes are written to `to` first, and told then. */
export class Outlet {
  readonly #to: Writable
  readonly #share: Share
  #pieces = 0
  #counted = 0
  /** Bytes that were written, and how many of them had been taken when it was looked last. */
  #written = 0
  #taken = 0
  /** Since when nothing was taken, of `performance.now()`; undefined where that was not looked at. */
  #since: number | undefined

  constructor(to: Writable, share: Share) {
    this.#to = to
    this.#share = share
  }

  /**
   * To be called after each write. Answers whether the side is to be waited for: it says 'drain' then.
   * @param isDone what `write` has answered; Node.js says no of every big piece, though the kernel has taken it already
   */
  wrote(bytes: number, isDone: boolean): boolean {
    this.#written += bytes
    this.#pieces++
    this.look()
    if (this.#counted > 0 && this.#share.isOverfull()) this.giveUp()
    return !isDone && (this.#counted > mostWaiting || (this.#counted > 0 && this.#share.isCrowded()))
  }

  /** Counts anew. */
  look(): void {
    const { writableLength } = this.#to
    if (writableLength === 0) this.#pieces = 0
    this.#count(writableLength + this.#pieces * pieceOverhead)
  }

  /** To be called when all is taken, or nothing more will be. */
  clear(): void {
    this.#pieces = 0
    this.#count(0)
  }

  /** How long bytes wait and none was taken. */
  stalledMs(now: number): number {
    const taken = this.#written - this.#to.writableLength
    if (taken !== this.#taken || this.#since === undefined) {
      this.#taken = taken
      this.#since = now
    }
    return now - this.#since
  }

  giveUp(): void {
    this.clear()
    this.#to.destroy()
  }

  #count(waiting: number): void {
    const more = waiting - this.#counted
    if (more === 0) return
    this.#counted = waiting
    if (waiting === 0) this.#since = undefined
    this.#share.count(this, more, waiting > 0)
  }
}
