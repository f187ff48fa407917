/**
 * Memory that a service needs no more, given back to the machine, where students need it.
 *
 * V8 keeps the pages into which its heap has grown, while the code was read or a class came in, until new work makes it look at them; a service at
 * rest would keep them for ever (a third of what it has, measured). So it is made to look when nothing is to do: that takes a
 * twentieth of a second or so.
 *
 * With the memory goes compiled code, because what it was made for is nowhere any more: 180 functions are compiled again in the first second
 * of work, which gives half of what it gives otherwise. So only a long rest counts, and the units keep V8 from doing it by
 * itself after each short one (`--no-memory-reducer`).
 */

/** Soon after the start, when nothing is compiled yet, and then so often. */
const lookMs = 20_000
/** Quiet looks, one after the other, that are a rest: two minutes. */
const restLooks = 6
/** The share of time in which a service that is quiet does something. */
const quietShare = 0.05
/** Beyond what was left the last time. */
const growth = 1.15

/** Looks from now on, while the process lives. It takes `--expose-gc`, which the units have; without, nothing happens. */
export function giveMemoryBack(): void {
  const collect = globalThis.gc
  if (!collect) return
  let before = performance.eventLoopUtilization()
  let left = 0
  let quietLooks = 0
  const look = () => {
    const { utilization } = performance.eventLoopUtilization(before)
    before = performance.eventLoopUtilization()
    const isWorthIt = utilization <= quietShare && process.memoryUsage.rss() >= left * growth
    quietLooks = isWorthIt ? quietLooks + 1 : 0
    if (quietLooks < (left === 0 ? 1 : restLooks)) return
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
    left = process.memoryUsage.rss()
    quietLooks = 0
  }
  setInterval(look, lookMs).unref()
}
