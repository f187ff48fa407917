/**
 * What a benchmark is, and what it finds: numbers of ours and of a peer's, taken in the same run, in turns.
 */

export interface Benchmark {
  run(course: Course): Promise<Findings>
}

export interface Course {
  /** How many rounds are to count. What is slow only once (a cold cache) is for a round before them. */
  rounds: number
  /** What has to be taken away in the end, also when the run is broken off. */
  cleanup: AsyncDisposableStack
  /** Tells a person a line of what goes on. */
  report(line: string): void
}

/** A row of the table. */
export interface Comparison {
  /** BENCHMARK.WHAT */
  id: string
  unit: string
  better: 'lower' | 'higher'
  /** One number a round. */
  ours: readonly number[]
  peer: readonly number[]
  peerName: string
}

export interface Goal {
  /** A sentence: what is to be, and what was measured. */
  says: string
  isMet: boolean
}

export interface Findings {
  rounds: number
  rows: readonly Comparison[]
  goals: readonly Goal[]
  /** Lines below the table: versions, conditions, where the time goes. */
  notes: readonly string[]
}

/** @throws when there are no numbers: a median of nothing is a mistake */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  const [low, high] = [sorted[Math.ceil(sorted.length / 2) - 1], sorted[Math.floor(sorted.length / 2)]]
  if (low === undefined || high === undefined) throw new Error('there is no median of no numbers')
  return (low + high) / 2
}

/** The 99th percentile; NaN of no numbers. */
export function percentile99(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.ceil(numbers.length * 0.99) - 1] ?? Number.NaN
}

/** How many times better we are, by the medians; above 1 is better for us. */
export function ratio({ ours, peer, better }: Comparison): number {
  return better === 'lower' ? median(peer) / median(ours) : median(ours) / median(peer)
}
