/** Where the frames of a WebSocket end, whatever the pieces in which they come. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { closeFrame, FrameEnds } from '../../../../hub/proxy/frames.ts'

interface Frame {
  opcode: number
  length: number
  isMasked: boolean
  /** How many bytes say the length: 0, 2 or 8. */
  lengthBytes: 0 | 2 | 8
}

function bytesOf({ opcode, length, isMasked, lengthBytes }: Frame): Buffer {
  const head = Buffer.alloc(2 + lengthBytes)
  head[0] = 0x80 | opcode
  head[1] = (isMasked ? 0x80 : 0) | (lengthBytes === 8 ? 127 : lengthBytes === 2 ? 126 : length)
  if (lengthBytes > 0) head.writeUIntBE(length, 2 + lengthBytes - Math.min(lengthBytes, 4), Math.min(lengthBytes, 4))
  return Buffer.concat([head, Buffer.alloc(isMasked ? 4 : 0, 0xff), Buffer.alloc(length, 0xff)])
}

const frames = fc.array(
  fc.record({
    opcode: fc.constantFrom(0, 1, 2, 9, 10),
    length: fc.nat({ max: 125 }),
    isMasked: fc.boolean(),
    lengthBytes: fc.constantFrom(0, 2, 8),
  }),
  { maxLength: 20 },
)

test('frames are counted, and it is known after each byte whether another may be put in', () => {
  fc.assert(
    fc.property(frames, fc.array(fc.nat()), (all, cuts) => {
      const whole = Buffer.concat(all.map(bytesOf))
      const ends = new Set<number>()
      let end = 0
      for (const frame of all) {
        end += bytesOf(frame).length
        ends.add(end)
      }
      const places = [...new Set([0, ...cuts.map(cut => cut % (whole.length + 1)), whole.length])].toSorted(
        (a, b) => a - b,
      )
      const reader = new FrameEnds()
      let count = 0
      for (const [index, place] of places.entries()) {
        count += reader.take(whole.subarray(places[index - 1] ?? 0, place))
        assert.equal(reader.isBetween(), place === 0 || ends.has(place))
        assert.equal(reader.isOver(), false)
      }
      assert.equal(count, all.length)
    }),
  )
})

test('behind the frame that says goodbye nothing is a frame', () => {
  const reader = new FrameEnds()
  const goodbye = closeFrame(1000, 'bye')
  reader.take(goodbye.subarray(0, -1))
  assert.equal(reader.isOver(), false)
  reader.take(goodbye.subarray(-1))
  assert.deepEqual([reader.isOver(), reader.isBetween()], [true, false])
  assert.equal(reader.take(Buffer.alloc(1_000)), 0)
  assert.deepEqual([reader.isOver(), reader.isBetween()], [true, false])
})
