/**
 * Where the frames of a WebSocket end (RFC 6455, section 5.2), as far as it takes to say goodbye in the place of a server that no longer
 * can, or of a hub that goes: a frame may be put in between two others and nowhere else. What is in them is not looked at, and they pass as they are.
 */

/** What is known of one direction. */
export interface FrameEnds {
  /** To be told of every piece, in their order. */
  take(chunk: Buffer): void
  /** Whether a frame may be put in here: none has begun, and none has said that it was the last. */
  isBetween(): boolean
  /** Whether the last one has come, whole. */
  isOver(): boolean
}

const closeOpcode = 8

export function followFrames(): FrameEnds {
  /** The first bytes of a frame, as long as not all of its head has come. */
  let head: number[] = []
  /** Of its content, that are still to come. */
  let left = 0
  let isClosed = false

  return {
    take(chunk) {
      let at = 0
      while (at < chunk.length) {
        if (left > 0) {
          const taken = Math.min(left, chunk.length - at)
          left -= taken
          at += taken
          continue
        }
        head.push(chunk[at++] ?? 0)
        if (head.length < headLength(head)) continue
        if (((head[0] ?? 0) & 0x0f) === closeOpcode) isClosed = true
        left = contentLength(head)
        head = []
      }
    },
    isBetween: () => left === 0 && head.length === 0 && !isClosed,
    isOver: () => left === 0 && head.length === 0 && isClosed,
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
