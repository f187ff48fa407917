/**
 * Whether connections come faster than they are taken. libuv takes one of a listening socket in each turn of the event loop; behind a
 * program that connects without end, everybody else would wait in the kernel's queue for hundreds of turns. More handles on the same socket
 * take more in a turn, and wake all of them for each connection, which doubles what that costs; so there are more only in a burst.
 *
 * What always holds:
 * 1. A burst begins where each turn takes a connection, for some milliseconds: then others wait.
 * 2. It ends when for some seconds no turn took two.
 */

/** For so long, a hub that has time for all who come seldom has one in each turn. */
const mostRowMs = 5
const lookMs = 5_000

export interface Bursts {
  /** To be told of each connection that was taken. */
  took(): void
  close(): void
}

export interface BurstOptions {
  /** Takes more connections in a turn, until it is disposed of. */
  takeMore(): Disposable
  /** A number that is one more in each turn of the event loop. */
  turn?(): number
  /** In milliseconds. */
  now?(): number
}

export function followBursts({ takeMore, turn = loopCount, now = () => performance.now() }: BurstOptions): Bursts {
  let lastTurn = -1
  /** Since when each turn took one. */
  let rowBegan = 0
  /** Whether a turn took two since it was looked last. */
  let isBurst = false
  let more: Disposable | undefined
  let looking: NodeJS.Timeout | undefined

  function close(): void {
    clearInterval(looking)
    more?.[Symbol.dispose]()
    more = undefined
  }

  function look(): void {
    if (!isBurst) close()
    isBurst = false
  }

  return {
    took() {
      const current = turn()
      if (current === lastTurn) {
        isBurst = true
        return
      }
      const at = now()
      if (current !== lastTurn + 1) rowBegan = at
      lastTurn = current
      if (at - rowBegan <= mostRowMs || more) return
      more = takeMore()
      isBurst = true
      looking = setInterval(look, lookMs).unref()
    },
    close,
  }
}

function loopCount(): number {
  return performance.nodeTiming.uvMetricsInfo.loopCount
}
