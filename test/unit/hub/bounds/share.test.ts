/** What one owner's server may take of the hub's thread and memory, reckoned without a clock. */
import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { mock, type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Outlet } from '../../../../hub/bounds/outlet.ts'
import { Reader, Share } from '../../../../hub/bounds/share.ts'

const MB = 1024 * 1024
const piece = 64 * 1024
const inPieces = 11_000

/** A connection that can be read, or not. */
class Source {
  isRead = true
  pause(): void {
    this.isRead = false
  }
  resume(): void {
    this.isRead = true
  }
}

/** Readers of one owner, in the same turn of the event loop until `next`. */
function readers(count: number) {
  let number = 0
  const share = new Share(() => number)
  const sources = Array.from({ length: count }, () => new Source())
  const made = sources.map(source => new Reader(source, share))
  return {
    share,
    sources,
    made,
    next: () => number++,
    /** Reads of each that is still read, until none is. Returns how many reads that took. */
    exhaust(bytes: number, pieces: number): number {
      for (let reads = 0; ; ) {
        for (const [index, source] of sources.entries()) {
          if (!source.isRead) continue
          made[index]?.read(bytes, pieces)
          if (++reads > 100_000) return reads
        }
        if (sources.every(({ isRead }) => !isRead)) return reads
      }
    },
  }
}

test('what comes in tiny pieces holds all of its owner’s connections after a few reads, and some go on after a pause', t => {
  const timers = mockTimers(t)
  const { share, sources, exhaust } = readers(400)
  const reads = exhaust(piece, inPieces)
  assert.ok(reads < 20, `${reads} reads of 64 KB in one turn`)
  const isRead = () => sources.filter(source => source.isRead).length
  timers.tick(10)
  assert.equal(isRead(), 0)
  for (const ms of [10, 10]) timers.tick(ms)
  const first = isRead()
  assert.ok(first > 0 && first < 20, `${first} at once`)
  const other = new Share(() => 0)
  other.read(piece, 0)
  // All have their turn.
  for (let count = 0; count < 400; count++) timers.tick(20)
  assert.equal(isRead(), 400)
  share.read(piece, 0)
  assert.equal(isRead(), 400)
})

test('what comes in big pieces holds them only where it fills a turn, and they go on in the next', async () => {
  const { share, sources, made, exhaust, next } = readers(20)
  for (let count = 0; count < 10_000; count++) {
    share.read(piece, 1)
    next()
  }
  assert.ok(sources.every(({ isRead }) => isRead))
  const reads = exhaust(piece, 1)
  assert.ok(reads > 90 && reads < 300, `${reads} reads of 64 KB in one turn`)
  // The other side of one of them is full meanwhile.
  made[0]?.stop()
  await turn()
  assert.deepEqual([sources[0]?.isRead, sources.slice(1).every(({ isRead }) => isRead)], [false, true])
  made[0]?.goOn()
  assert.equal(sources[0]?.isRead, true)
})

test('a connection that has ended is neither held nor read on', async () => {
  const { sources, made, exhaust } = readers(2)
  made[0]?.close()
  assert.ok(exhaust(piece, 1) > 0)
  await turn()
  assert.ok(sources.every(({ isRead }) => isRead))
})

test('none of an owner’s connections waits for ever behind others that always come first', t => {
  const timers = mockTimers(t)
  const { share: _share, sources, made } = readers(16)
  const reads = sources.map(() => 0)
  for (let ms = 0; ms < 5_000; ms++) {
    // As the kernel has it: a connection is read as often as there is something, and only then the next.
    for (const [index, source] of sources.entries()) {
      for (let count = 0; count < 8 && source.isRead; count++) {
        made[index]?.read(piece, inPieces)
        reads[index] = (reads[index] ?? 0) + 1
      }
    }
    timers.tick(1)
  }
  const [least, most] = [Math.min(...reads), Math.max(...reads)]
  assert.ok(least > 0 && most < least * 3, reads.join(' '))
})

function mockTimers(t: TestContext) {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  return mock.timers
}

/** Takes nothing until `takeAll`. */
class Slow extends Writable {
  readonly #done: (() => void)[] = []
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    this.#done.push(done)
  }
  takeAll(): void {
    for (let done = this.#done.pop(); done; done = this.#done.pop()) done()
  }
}

function slowSides(share: Share, count: number) {
  return Array.from({ length: count }, () => {
    const to = new Slow()
    const outlet = new Outlet(to, share)
    return { to, outlet, write: (bytes: number) => outlet.wrote(bytes, to.write(Buffer.alloc(bytes))) }
  })
}

test('one slow side may let half a megabyte wait, and many of one owner together not that much each', () => {
  const share = new Share()
  const [alone] = slowSides(share, 1)
  let written = 0
  while (!alone?.write(piece)) written += piece
  assert.ok(written > 0.4 * MB && written < MB, `${written} bytes`)

  const many = slowSides(share, 400)
  for (const { to, write } of many) {
    for (let isFull = false; !isFull && !to.destroyed; ) isFull = write(piece)
  }
  assert.ok(share.waitingBytes() <= 32 * MB, `${share.waitingBytes()} bytes wait`)
  assert.ok(
    many.some(({ to }) => to.destroyed),
    'what is too much is given up',
  )
  assert.equal(many[0]?.to.destroyed, false)
  // Others' sides are as before.
  const [other] = slowSides(new Share(), 1)
  assert.equal(other?.write(piece), false)
})

test('single bytes that wait count as what it takes to keep them', () => {
  const share = new Share()
  const [side] = slowSides(share, 1)
  let written = 0
  while (side && !side.to.destroyed && written < MB) {
    side.write(1)
    written++
  }
  assert.ok(written < 100_000, `${written} single bytes wait`)
})

test('what was taken is counted no more, though nobody has said so', () => {
  const share = new Share()
  for (const { to, write } of slowSides(share, 2_000)) {
    write(16 * 1024)
    to.takeAll()
    assert.equal(to.destroyed, false)
  }
  share.sweep(0)
  assert.equal(share.waitingBytes(), 0)
})

test('a side that takes nothing for ten minutes is given up, and one that takes little is not', () => {
  const share = new Share()
  const [stuck, slow] = slowSides(share, 2)
  for (const side of [stuck, slow]) side?.write(piece)
  const minute = 60_000
  for (let minutes = 0; minutes <= 10; minutes++) {
    share.sweep(minutes * minute)
    slow?.write(piece)
    slow?.to.takeAll()
    slow?.write(piece)
  }
  assert.equal(stuck?.to.destroyed, false)
  share.sweep(11 * minute)
  assert.deepEqual([stuck?.to.destroyed, slow?.to.destroyed], [true, false])
})
