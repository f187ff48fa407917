/**
 * Audit entries written by a thread of its own, for the hub. To start a program holds whoever does it up for some milliseconds, and for more
 * the bigger the process is (17 ms, measured for 150 MB on a loaded machine): with a login at a time nobody notices, with a class of them everybody does.
 *
 * The commands of the command line write in their own thread: they change their effective user for a while, which threads share.
 */
import { Worker } from 'node:worker_threads'
import type { AuditWriter } from './audit.ts'

/** A thread has a V8 and 12 MB of its own, which a hub at rest has no use for. */
const idleMs = 10_000

/** One entry at a time, as `createAudit` has it. A thread that dies, or has had nothing to do for a while, is made anew for the next. */
export function createAuditThread(): AuditWriter {
  let worker: Worker | undefined
  let answer: PromiseWithResolvers<void> | undefined
  let idle: NodeJS.Timeout | undefined

  function thread(): Worker {
    if (worker) return worker
    const made = new Worker(new URL('./thread-main.ts', import.meta.url))
    made.on('message', (problem: string | undefined) => {
      if (problem === undefined) answer?.resolve()
      else answer?.reject(new Error(problem))
    })
    made.on('error', problem => answer?.reject(problem))
    made.on('exit', () => {
      worker = undefined
      answer?.reject(new Error('the thread that writes audit entries has ended'))
    })
    made.unref()
    worker = made
    return made
  }

  function end(): void {
    // The next may be there before this one is gone.
    worker?.removeAllListeners().on('error', () => undefined)
    void worker?.terminate()
    worker = undefined
  }

  return async lines => {
    clearTimeout(idle)
    // Throws where the machine has no room for another thread.
    const writer = thread()
    answer = Promise.withResolvers()
    // Nobody ends before it is written, and nobody stays for a thread that has nothing to write.
    writer.ref()
    writer.postMessage(lines)
    try {
      await answer.promise
    } finally {
      writer.unref()
      idle = setTimeout(end, idleMs).unref()
    }
  }
}
