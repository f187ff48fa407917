/**
 * Requests whose bodies come in tiny chunks: ten thousand fit into one read. node:http makes a Buffer of each, and one byte that waits so
 * takes more than a kilobyte, which `highWaterMark` does not see: it counts bytes.
 *
 * What always holds:
 * 1. Of what comes in one read, chunks that are small are joined, so that little more than bytes waits.
 * 2. Bytes keep their order, and the end comes behind all of them.
 *
 * It is a class of requests, because node:http hands over what it has read by `push`.
 */
import { IncomingMessage } from 'node:http'

/** To keep more costs more than to copy it. */
const smallBytes = 1024
/** As much as is read at a time. */
const roomBytes = 64 * 1024

/** Where chunks are joined: those of one request, until all of its read is there. */
const room = Buffer.allocUnsafeSlow(roomBytes)
let guest: JoiningRequest | undefined

export class JoiningRequest extends IncomingMessage {
  /** A small chunk to which no other has come yet. Most bodies are no more than that, and need no copy. */
  #first: Buffer | undefined
  /** Bytes of it in `room`. */
  #joined = 0
  #chunks = 0

  /** How many chunks have come since it was asked last. */
  takeCount(): number {
    const count = this.#chunks
    this.#chunks = 0
    return count
  }

  /** node:http calls it for each chunk, and with `null` at the end. Answers whether more is wanted. */
  override push(piece: Buffer | null, encoding?: BufferEncoding): boolean {
    if (piece === null) {
      this.settle()
      return super.push(piece)
    }
    this.#chunks++
    if (piece.length > smallBytes) {
      this.settle()
      return super.push(piece, encoding)
    }
    if (this.#joined > 0) this.#join(piece)
    else if (this.#first) {
      guest?.settle()
      guest = this
      this.#join(this.#first)
      this.#first = undefined
      this.#join(piece)
    } else {
      this.#first = piece
      // In the same turn, when all of the read has been gone through: between its chunks there are ticks.
      setImmediate(settle, this)
    }
    return this.readableLength < this.readableHighWaterMark
  }

  #join(piece: Buffer): void {
    if (this.#joined + piece.length > room.length) this.settle()
    guest = this
    this.#joined += piece.copy(room, this.#joined)
  }

  /** Passes on what has come. */
  settle(): void {
    let piece = this.#first
    this.#first = undefined
    if (this.#joined > 0) {
      // Of its own: a part of something bigger would keep all of that.
      piece = Buffer.allocUnsafeSlow(this.#joined)
      room.copy(piece, 0, 0, this.#joined)
      this.#joined = 0
      guest = undefined
    }
    if (piece && !this.destroyed) super.push(piece)
  }
}

function settle(request: JoiningRequest): void {
  request.settle()
}
