/**
 * Where the frames of a WebSocket end (RFC 6455, section 5.2), as far as it takes to say goodbye in the place of a server that no longer
 * can, or of a hub that goes: a frame may be put in between two others and nowhere else. What is in them is not looked at, and they pass as they are.
 */

const closeOpcode = 8

/** What is known of one direction. Nothing is made for a frame, because a frame may have no more than two bytes. */
export class FrameEnds {
  /** Bytes of a frame's head that have come. */
  #headBytes = 0
  /** Bytes of the head behind its second, that are still to come, and those of them that say the length. */
  #headLeft = 0
  #lengthLeft = 0
  #length = 0
  #isClosing = false
  /** Of its content, that are still to come. */
  #left = 0
  #isClosed = false

  /** To be told of every piece, in their order. Returns how many frames have begun in it. */
  take(chunk: Buffer): number {
    let frames = 0
    for (let at = 0; at < chunk.length && !this.isOver(); ) {
      if (this.#left === 0 && this.#headBytes === 0) {
        for (let end = smallEnd(chunk, at); end > 0; end = smallEnd(chunk, at)) {
          at = end
          frames++
        }
        if (at === chunk.length) break
      }
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at)
        this.#left -= taken
        at += taken
      } else if (this.#takeHead(chunk[at++] ?? 0)) frames++
    }
    return frames
  }

  /** Whether the head is complete with this byte. */
  #takeHead(byte: number): boolean {
    switch (this.#headBytes++) {
      case 0:
        this.#isClosing = (byte & 0x0f) === closeOpcode
        return false
      case 1: {
        const short = byte & 0x7f
        this.#lengthLeft = short === 127 ? 8 : short === 126 ? 2 : 0
        this.#length = this.#lengthLeft > 0 ? 0 : short
        // With the mask.
        this.#headLeft = this.#lengthLeft + (byte & 0x80 ? 4 : 0)
        break
      }
      default:
        if (this.#lengthLeft > 0) {
          this.#lengthLeft--
          this.#length = this.#length * 256 + byte
        }
        this.#headLeft--
    }
    if (this.#headLeft > 0) return false
    this.#headBytes = 0
    this.#left = this.#length
    this.#isClosed = this.#isClosing
    return true
  }

  /** Whether a frame may be put in here: none has begun, and none has said that it was the last. */
  isBetween(): boolean {
    return this.#left === 0 && this.#headBytes === 0 && !this.#isClosed
  }

  /** Whether the last one has come, whole. What follows it is none. */
  isOver(): boolean {
    return this.#left === 0 && this.#headBytes === 0 && this.#isClosed
  }
}

/** Where a frame of at most 125 bytes ends that is there as a whole and is not the last one; 0 where it is another. Of tiny ones there are many. */
function smallEnd(chunk: Buffer, at: number): number {
  const second = chunk[at + 1]
  if (second === undefined || ((chunk[at] ?? 0) & 0x0f) === closeOpcode) return 0
  const length = second & 0x7f
  const end = at + 2 + (second & 0x80 ? 4 : 0) + length
  return length > 125 || end > chunk.length ? 0 : end
}

/** A frame that ends a WebSocket. @param reason at most 123 bytes */
export function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason)
  return Buffer.concat([Buffer.from([0x80 | closeOpcode, 2 + text.length, code >> 8, code & 0xff]), text])
}
