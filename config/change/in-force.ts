/**
 * The configuration file as a running service sees it: always a good version.
 *
 * The file is looked at whenever somebody asks, so a change is in force at once. A version that is not valid, or that
 * cannot be read, never replaces a good one: it is reported once, and the service goes on with the last good one. A
 * service that starts takes the newest of the history where the file itself is no good, and where there is none, the
 * default, which lets nobody in.
 */
import { readFileSync, statSync } from 'node:fs'
import { ProblemError } from '../../problem.ts'
import { type Config, parseConfig } from '../meaning/config.ts'
import { newestGood } from './history.ts'

export interface ConfigFile {
  /** The configuration in force. */
  current(): Config
  /** Why the file on disk is not what is in force; undefined where it is. */
  problem(): ProblemError | undefined
}

/** `report` is told of each version that could not be taken. */
export function openConfigFile(path: string, report: (problem: ProblemError) => void): ConfigFile {
  let good: Config | undefined
  let seen: string | undefined
  let problem: ProblemError | undefined

  function look(): Config {
    const version = stamp(path)
    if (good && version === seen) return good
    seen = version
    try {
      good = parseConfig(read(path, good !== undefined))
      problem = undefined
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      problem = error
      report(error)
      good ??= newestGood(path) ?? parseConfig('')
    }
    return good
  }

  return {
    current: look,
    problem() {
      look()
      return problem
    },
  }
}

/** Changes with every change of the file. */
function stamp(path: string): string {
  try {
    const { ino, mtimeNs, ctimeNs, size } = statSync(path, { bigint: true })
    return `${ino} ${mtimeNs} ${ctimeNs} ${size}`
  } catch (error) {
    return String(error)
  }
}

/**
 * A machine without the file is one on which nothing was set yet. But a file that becomes empty, or goes, under a service
 * that had one is most often an editor in the middle of saving: nobody wants everybody logged out.
 */
function read(path: string, hadOne: boolean): Uint8Array {
  try {
    const content = readFileSync(path)
    if (hadOne && content.length === 0) throw unusable(path, 'is empty', undefined)
    return content
  } catch (error) {
    if (error instanceof ProblemError) throw error
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    if (isMissing && !hadOne && newestGood(path) === undefined) return new Uint8Array()
    throw unusable(path, isMissing ? 'is not there' : 'could not be read', error)
  }
}

function unusable(path: string, how: string, cause: unknown): ProblemError {
  return new ProblemError('CONFIG_UNREADABLE', {
    what: `${path} ${how}`,
    why: cause instanceof Error ? cause.message : 'the configuration before it stays in force',
    fix: 'Put it back: sudo tljh-ts config rollback. It is a file that root may write and the group tljh-hub may read (mode 0640)',
    cause,
  })
}
