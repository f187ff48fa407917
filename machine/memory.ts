/**
 * Memory that a service needs no more, given back to the machine, where students need it.
 *
 * Two keep it. The C library keeps what was freed between things that are still there: some ten MB after each busy time, and giving it back takes a
 * few thousandths of a second, so that is done as soon as it is quiet. And V8 keeps the pages into which its heap has grown, while the
 * code was read or a class came in, until new work makes it look at them; a service at rest would keep them for ever (a third of what it
 * has, measured). So it is made to look when nothing is to do: that takes a twentieth of a second or so.
 *
 * With V8's memory goes compiled code, because what it was made for is nowhere any more: 180 functions are compiled again in the first second
 * of work, which gives half of what it gives otherwise. So only a long rest counts, and the units keep V8 from doing it by
 * itself after each short one (`--no-memory-reducer`).
 */

const lookMs = 10_000
/** Quiet looks, one after the other, that are a rest: two minutes. */
const restLooks = 12
/** The share of time in which a service that is quiet does something. */
const quietShare = 0.05
/** Beyond what was left the last time. */
const growth = 1.15

/**
 * Looks from now on, while the process lives. It takes `--expose-gc`, which the units have; without, nothing happens.
 * @param everyMs how often it is looked
 */
export function giveMemoryBack(everyMs = lookMs): void {
  const collect = globalThis.gc
  if (!collect) return
  const trim = trimmer()
  let before = performance.eventLoopUtilization()
  let left = 0
  let wasQuiet = false
  let quietLooks = 0
  const look = () => {
    const { utilization } = performance.eventLoopUtilization(before)
    before = performance.eventLoopUtilization()
    const isQuiet = utilization <= quietShare
    if (isQuiet && !wasQuiet) trim()
    wasQuiet = isQuiet
    const isWorthIt = isQuiet && process.memoryUsage.rss() >= left * growth
    quietLooks = isWorthIt ? quietLooks + 1 : 0
    // Soon after the start, nothing is compiled yet.
    if (quietLooks < (left === 0 ? 1 : restLooks)) return
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
    trim()
    left = process.memoryUsage.rss()
    quietLooks = 0
  }
  setInterval(look, everyMs).unref()
}

/** malloc_trim(3), which glibc has and other C libraries do not: there, what the answer does is nothing. */
function trimmer(): () => void {
  try {
    const library = process
      .getBuiltinModule('node:ffi')
      .dlopen(null, { malloc_trim: { arguments: ['u64'], return: 'i32' } })
    return () => void library.functions.malloc_trim(0n)
  } catch {
    return () => undefined
  }
}
