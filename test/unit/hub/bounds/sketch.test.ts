import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createSketch } from '../../../../hub/bounds/sketch.ts'

const bucket = { points: 5, everyMs: 30_000 }

/** Exact buckets, in a table that grows. */
function exact(now: () => number) {
  const empty = new Map<string, number>()
  return {
    wait: (key: string) => Math.max(0, (empty.get(key) ?? 0) - now() - (bucket.points - 1) * bucket.everyMs),
    add: (key: string) => empty.set(key, Math.max(empty.get(key) ?? 0, now()) + bucket.everyMs),
  }
}

test('a counter is never lower than it should be, whatever else is counted', () => {
  const keys = fc.integer({ min: 0, max: 50_000 }).map(String)
  fc.assert(
    fc.property(fc.array(fc.tuple(keys, fc.integer({ min: 0, max: 20_000 })), { maxLength: 500 }), steps => {
      let time = 0
      const [sketch, truth] = [createSketch(bucket, () => time), exact(() => time)]
      for (const [key, ms] of steps) {
        time += ms
        sketch.add(key)
        truth.add(key)
        assert.ok(sketch.wait(key) >= truth.wait(key))
      }
    }),
    { numRuns: 30 },
  )
})

test('a flood of other keys frees no counter, keeps nobody else out, and takes no more memory', () => {
  const sketch = createSketch(bucket, () => 0)
  for (let count = 0; count < bucket.points; count++) sketch.add('ann')
  const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
  for (let count = 0; count < 20_000; count++) sketch.add(`flood ${count}`)
  globalThis.gc?.()
  const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before
  assert.ok(grown < 40 * 1024 ** 2, `${grown} bytes`)
  // Each of four cells is one too high with a chance of a half, so all four are so in one run of 25; three too high, once in three million.
  const points = sketch.wait('ann') / bucket.everyMs
  assert.ok(points >= 1 && points <= 3, `${points}`)
  const others = Array.from({ length: 1000 }, (_, index) => sketch.wait(`somebody ${index}`))
  assert.deepEqual(
    others.filter(wait => wait > 0),
    [],
  )
})

test('a counter leaks with the time, and one that was added is taken back', () => {
  let time = 0
  const sketch = createSketch(bucket, () => time)
  for (let count = 0; count < bucket.points; count++) sketch.add('ann')
  assert.equal(sketch.wait('ann'), bucket.everyMs)
  time += bucket.everyMs
  assert.equal(sketch.wait('ann'), 0, 'one has leaked out')
  sketch.add('ann')
  assert.equal(sketch.wait('ann'), bucket.everyMs)
  sketch.remove('ann')
  assert.equal(sketch.wait('ann'), 0)
})
