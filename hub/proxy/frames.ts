/**
 * Where the frames of a WebSocket end (RFC 6455, section 5.2), as far as it takes to say goodbye in the place of a server that no longer
 * can, or of a hub that goes: a frame may be put in between two others and nowhere else. What is in them is not looked at, and they pass as they are.
 */

const closeOpcode = 8
const none: readonly number[] = []

/** What is known of one direction. */
export class FrameEnds {
  /** The first bytes of a frame, as long as not all of its head has come. */
  #head: readonly number[] = none
  /** Of its content, that are still to come. */
  #left = 0
  #isClosed = false

  /** To be told of every piece, in their order. */
  take(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at)
        this.#left -= taken
        at += taken
        continue
      }
      const head = [...this.#head, chunk[at++] ?? 0]
      this.#head = head
      if (head.length < headLength(head)) continue
      if (((head[0] ?? 0) & 0x0f) === closeOpcode) this.#isClosed = true
      this.#left = contentLength(head)
      this.#head = none
    }
  }

  /** Whether a frame may be put in here: none has begun, and none has said that it was the last. */
  isBetween(): boolean {
    return this.#left === 0 && this.#head.length === 0 && !this.#isClosed
  }

  /** Whether the last one has come, whole. */
  isOver(): boolean {
    return this.#left === 0 && this.#head.length === 0 && this.#isClosed
  }
}

/** A frame that ends a WebSocket. @param reason at most 123 bytes */
export function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason)
  return Buffer.concat([Buffer.from([0x80 | closeOpcode, 2 + text.length, code >> 8, code & 0xff]), text])
}

/** Of the head that begins with these bytes: with its length and its mask. */
function headLength([, second]: readonly number[]): number {
  if (second === undefined) return 2
  const short = second & 0x7f
  return 2 + (short === 127 ? 8 : short === 126 ? 2 : 0) + (second & 0x80 ? 4 : 0)
}

function contentLength(head: readonly number[]): number {
  const short = (head[1] ?? 0) & 0x7f
  if (short < 126) return short
  return head.slice(2, short === 126 ? 4 : 10).reduce((sum, byte) => sum * 256 + byte, 0)
}
