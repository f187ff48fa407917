/**
 * Who starts next. The first seconds of a Jupyter server are the processor's: where a whole class starts at once, everybody waits for the
 * last. So a few start at a time, administrators first and the others in the order in which they asked, and each who waits is told how many
 * are before them.
 *
 * Where the machine has no memory for one more, nobody starts: the kernel would kill what others work with. Servers that are just starting
 * have not taken yet what they will, so it counts as taken. Who has waited long in vain is told so.
 *
 * A start that takes long (a student's own settings may keep it from ever being ready) gives its place up, and goes on.
 */
import { readFileSync } from 'node:fs'
import { ProblemError } from '../../problem.ts'

export interface Wait {
  /** How many start before. */
  ahead: number
  isForMemory: boolean
}

export interface Entrant {
  /** Before all who are not. */
  isFirst: boolean
  /** Asked again at each look: an order that was taken back has no turn. */
  isWanted(): boolean
  /** Told where it stands, as long as it has to wait. */
  onWait(wait: Wait): void
}

export interface StartQueue {
  /** Resolves at the turn, with what is disposed of when the start is over; with undefined where it is not wanted any more. Throws `START_NO_MEMORY`. */
  enter(entrant: Entrant): Promise<Disposable | undefined>
  /** Looks again, because an order was taken back. */
  look(): void
}

export interface StartQueueOptions {
  /** How many may start at a time, now. */
  atOnce(): number
  /** Bytes of the machine's memory that no start may touch, now. */
  reserve(): number
  /** Bytes that the machine could give; for tests of this module alone. */
  available?(): number
}

/** A Jupyter server takes about 70 MB, and its first kernel about as much. */
export const startBytes = 160 * 1024 ** 2
/** A place is kept so long; a start takes a second or two, and on a slow machine with a cold disk twenty. */
const turnMs = 30_000
const lookEveryMs = 1_000
/** Somebody may stop a server meanwhile. */
const memoryPatienceMs = 60_000

interface Waiting extends Entrant {
  since: number
  turn: PromiseWithResolvers<Disposable | undefined>
}

export function createStartQueue({ atOnce, reserve, available = availableBytes }: StartQueueOptions): StartQueue {
  let waiting: Waiting[] = []
  /** Each that starts and holds a place. */
  const places = new Set<symbol>()
  /** Since when nothing starts for want of memory, in milliseconds since 1970. */
  let shortSince: number | undefined
  let timer: NodeJS.Timeout | undefined

  function take(): Disposable {
    const place = Symbol('place')
    places.add(place)
    const leave = () => {
      clearTimeout(late)
      if (places.delete(place)) look()
    }
    const late = setTimeout(leave, turnMs)
    late.unref()
    return { [Symbol.dispose]: leave }
  }

  function look(): void {
    waiting = waiting.filter(one => {
      const isWanted = one.isWanted()
      if (!isWanted) one.turn.resolve(undefined)
      return isWanted
    })
    let free = available() - reserve() - places.size * startBytes
    let hasMemory = true
    while (waiting[0] && places.size < atOnce()) {
      hasMemory = free >= startBytes
      if (!hasMemory) break
      free -= startBytes
      waiting.shift()?.turn.resolve(take())
    }
    const isShort = !hasMemory && places.size === 0
    shortSince = isShort ? (shortSince ?? Date.now()) : undefined
    if (shortSince !== undefined) refuseLate(shortSince, free + reserve())
    for (const [ahead, one] of waiting.entries()) one.onWait({ ahead, isForMemory: isShort })
    clearTimeout(timer)
    // Memory comes back without anybody telling.
    if (waiting.length > 0) timer = setTimeout(look, lookEveryMs).unref()
  }

  function refuseLate(since: number, free: number): void {
    waiting = waiting.filter(one => {
      const isLate = Date.now() - Math.max(one.since, since) > memoryPatienceMs
      if (isLate) one.turn.reject(noMemory(free, reserve()))
      return !isLate
    })
  }

  return {
    look,
    enter(entrant) {
      const one = { ...entrant, since: Date.now(), turn: Promise.withResolvers<Disposable | undefined>() }
      const behind = entrant.isFirst ? waiting.findIndex(other => !other.isFirst) : -1
      waiting.splice(behind < 0 ? waiting.length : behind, 0, one)
      look()
      return one.turn.promise
    },
  }
}

/** What the machine could give without swapping (`MemAvailable` of proc(5)), in bytes. */
function availableBytes(): number {
  const [, kibibytes] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8')) ?? []
  return Number(kibibytes) * 1024
}

function noMemory(free: number, reserve: number): ProblemError {
  const inMegabytes = (bytes: number) => `${Math.max(0, Math.round(bytes / 1024 ** 2))} MB`
  return new ProblemError('START_NO_MEMORY', {
    what: 'The server was not started',
    why: `the machine has no memory for it: ${inMegabytes(free)} are free, a server takes ${inMegabytes(startBytes)} to begin with, and ${inMegabytes(reserve)} are kept free for the machine itself`,
    fix: 'Try again when somebody has stopped theirs. The teacher can stop servers on the page People, or give the machine more memory',
  })
}
