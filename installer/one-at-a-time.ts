/**
 * One installation, or its undoing, at a time. The lock is flock(2), held by a small program that ends when this one does, so the kernel
 * gives it back whatever happens to the holder.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lockFile } from '../lock-file.ts'
import { ProblemError } from '../problem.ts'

/** In /run, which is there on every machine, and stays when our own folder goes. */
const installFile = '/run/tljh-ts-install.lock'

/** Disposing of the result gives the lock back. Throws `INSTALL_BUSY`. Other work than an installation has a lock of its own. */
export async function oneAtATime(
  what: string,
  { file, why } = {
    file: installFile,
    why: 'another installation, or an uninstallation, is under way on this machine',
  },
): Promise<AsyncDisposable> {
  const child = spawn('flock', ['--nonblock', '--no-fork', lockFile(file), 'sh', '-c', 'echo; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    // A Ctrl-C in the terminal must not take the lock away from what goes on.
    detached: true,
  })
  const ended = once(child, 'close')
  const isHeld = await Promise.race([once(child.stdout, 'data').then(() => true), ended.then(() => false)])
  if (!isHeld) {
    throw new ProblemError('INSTALL_BUSY', {
      what,
      why,
      fix: 'Wait until that is finished, and start the same command again',
    })
  }
  child.unref()
  return {
    async [Symbol.asyncDispose]() {
      // Else nothing would keep this process waiting for it.
      child.ref()
      child.stdin.end()
      await ended
    },
  }
}
