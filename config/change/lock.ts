/** One change of the configuration at a time. Who holds the lock since when is written in the file, for the others to read. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { holdLock } from '../../machine/lock-file.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'

export interface Holder {
  who: string
  /** What the holder does, such as `config edit`. */
  how: string
  pid: number
  /** Milliseconds since 1970. */
  since: number
}

/** Disposing of the result gives the lock back. Throws `CONFIG_LOCKED`, which says who holds it since when. */
export async function lockConfig(configFile: string, holder: Omit<Holder, 'pid' | 'since'>): Promise<AsyncDisposable> {
  const file = join(dirname(configFile), 'config.lock')
  mkdirSync(dirname(file), { recursive: true, mode: 0o750 })
  const lock = await holdLock(file)
  if (!lock) throw locked(readHolder(file))
  try {
    writeFileSync(file, JSON.stringify({ ...holder, pid: process.pid, since: Date.now() } satisfies Holder))
  } catch (error) {
    // The lock is held. On a full disk the others are just not told by whom.
    if (!isDiskFull(error)) throw error
  }
  return lock
}

function readHolder(file: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Holder
  } catch {
    return undefined
  }
}

function locked(holder: Holder | undefined): ProblemError {
  const minutes = holder ? Math.floor((Date.now() - holder.since) / 60_000) : 0
  const since = minutes < 1 ? 'just now' : `${minutes} minute${minutes === 1 ? '' : 's'} ago`
  return new ProblemError('CONFIG_LOCKED', {
    what: 'The configuration cannot be changed just now',
    why: holder
      ? `${holder.who} began '${holder.how}' ${since} (process ${holder.pid})`
      : 'somebody else is changing it',
    fix: 'Wait until that is finished, and try again',
  })
}
