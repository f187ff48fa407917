/**
 * Files that are held by flock(1), a small program that ends when this one does, so the kernel gives the lock back whatever happens to the
 * holder: a moment after the end, so that whoever comes directly after one that was killed has to be patient.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, closeSync, openSync } from 'node:fs'

const patienceSeconds = 1

/** Makes it where it is missing, for root alone: whoever may open a file can hold its lock, and keep everybody else waiting. Answers its path. */
export function lockFile(path: string): string {
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  return path
}

/** Disposing of the result gives the lock back. Undefined: it is held for longer than a second, or the file cannot be opened. With `waits`, the former is waited for, until `signal` ends it. */
export async function holdLock(
  file: string,
  { waits = false, signal }: { waits?: boolean; signal?: AbortSignal | undefined } = {},
): Promise<AsyncDisposable | undefined> {
  const how = waits ? ['--no-fork'] : [`--wait=${patienceSeconds}`, '--no-fork']
  const child = spawn('flock', [...how, file, 'sh', '-c', 'echo; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    // A Ctrl-C in the terminal is for others, and must not take the lock away from what goes on.
    detached: true,
  })
  const ended = once(child, 'close')
  const giveUp = () => void child.kill()
  signal?.addEventListener('abort', giveUp)
  if (signal?.aborted) giveUp()
  const isHeld = await Promise.race([once(child.stdout, 'data').then(() => true), ended.then(() => false)])
  signal?.removeEventListener('abort', giveUp)
  if (!isHeld) return undefined
  child.unref()
  return {
    async [Symbol.asyncDispose]() {
      // Else nothing would keep this process waiting for it, and it would end in the middle of what it does.
      child.ref()
      child.stdin.end()
      await ended
    },
  }
}
