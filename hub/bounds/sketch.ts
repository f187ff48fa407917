/**
 * Leaky buckets for keys that strangers choose, in a table that cannot grow (a count-min sketch).
 *
 * Each key has one cell in each of a few rows, found by a hash with a secret of this process. A cell holds when its bucket will be empty.
 * A key's level is that of its lowest cell: cells that it shares with other keys can only be higher.
 *
 * What always holds:
 * 1. Memory is fixed, so nothing is ever evicted: a flood of other keys cannot free a counter.
 * 2. Nobody can choose keys that share cells with a certain other one, because the hash has a secret.
 * 3. Where very many keys come at once, the table errs towards too high for all alike.
 */
import { createHmac, randomBytes } from 'node:crypto'

export interface Sketch {
  /** Milliseconds until one more fits into the bucket of that key; 0 where it fits now. */
  wait(key: string): number
  add(key: string): void
  /** Takes one back that was added. */
  remove(key: string): void
}

export interface Bucket {
  /** How many fit into an empty one. */
  points: number
  /** How long until one has leaked out. */
  everyMs: number
}

const rows = 4
/** Cells of a row, 8 bytes each. With 20 000 keys of one point, another key reads five too many once in 10^14 times. */
const columns = 2 ** 15

/** @param now milliseconds of a clock that nobody sets */
export function createSketch({ points, everyMs }: Bucket, now: () => number): Sketch {
  const secret = randomBytes(32)
  const cells = new Float64Array(rows * columns)

  function cellsOf(key: string): number[] {
    const digest = createHmac('sha256', secret).update(key).digest()
    return Array.from({ length: rows }, (_, row) => row * columns + (digest.readUInt32LE(row * 4) % columns))
  }

  return {
    wait(key) {
      const empty = Math.min(...cellsOf(key).map(cell => cells[cell] ?? 0))
      // A bucket that is full but for less than one point takes no more.
      return Math.max(0, Math.ceil(empty - now() - (points - 1) * everyMs))
    },
    add(key) {
      for (const cell of cellsOf(key)) cells[cell] = Math.max(cells[cell] ?? 0, now()) + everyMs
    },
    remove(key) {
      for (const cell of cellsOf(key)) cells[cell] = (cells[cell] ?? 0) - everyMs
    },
  }
}
