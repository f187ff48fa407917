/**
 * A lock between processes that want the same thing of the cache at once.
 *
 * It is flock(2), held by a small child that ends when its standard input closes. So the kernel gives the lock back
 * whatever happens to the holder, and there is no lock file to go stale. (The file stays: only the lock on it counts.)
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** Waits until `file` is locked for this process. Disposing of the result gives the lock back. */
export async function takeLock(file: string): Promise<AsyncDisposable> {
  const child = spawn('flock', [file, 'sh', '-c', 'echo; exec cat >/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  const isHeld = await Promise.race([once(child.stdout, 'data').then(() => true), ended.then(() => false)])
  if (!isHeld) throw new Error(`flock ${file} ended without a lock (code ${child.exitCode})`)
  return {
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await ended
    },
  }
}
