/**
 * A connection to a user's server that is heard to its end, also where the server reads no more: one that refuses an upload says so, and
 * closes, while the rest is still on its way. node:net would forget what has been said and not been read yet, as soon as a write fails.
 */
import { Socket } from 'node:net'

type Callback = (error?: Error | null) => void

export class ServerSocket extends Socket {
  /** The server takes nothing any more; what is written goes nowhere. Whether it has still something to say is told by reading. */
  isDeaf = false

  override _write(chunk: unknown, encoding: BufferEncoding, callback: Callback): void {
    if (this.isDeaf) callback()
    else super._write(chunk, encoding, this.#heed(callback))
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], callback: Callback): void {
    if (this.isDeaf) callback()
    else super._writev?.(chunks, this.#heed(callback))
  }

  #heed(callback: Callback): Callback {
    return error => {
      this.isDeaf = this.isDeaf || isDeafness(error)
      callback(this.isDeaf ? null : error)
    }
  }
}

function isDeafness(error: Error | null | undefined): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EPIPE' || error.code === 'ECONNRESET')
}
