/** One installation, or its undoing, at a time. */
import { holdLock, lockFile } from '../../machine/lock-file.ts'
import { ProblemError } from '../../problem.ts'

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
  const lock = await holdLock(lockFile(file))
  if (lock) return lock
  throw new ProblemError('INSTALL_BUSY', {
    what,
    why,
    fix: 'Wait until that is finished, and start the same command again',
  })
}
