/**
 * The configuration file as a running service sees it: always the last good version.
 *
 * The file is looked at whenever somebody asks, so a change is in force at once. A version that is not valid, or that
 * cannot be read, never replaces a good one; it is reported once, and the service goes on.
 */
import { readFileSync, statSync } from 'node:fs'
import { ProblemError } from '../problem.ts'
import { type Config, parseConfig } from './config.ts'

export interface ConfigFile {
  /** The configuration in force. Throws a `ProblemError` only where there has never been a good one. */
  current(): Config
}

/** `report` is told of each version that could not be taken. */
export function openConfigFile(path: string, report: (problem: ProblemError) => void): ConfigFile {
  let good: Config | undefined
  let seen: string | undefined
  let problem: ProblemError | undefined

  return {
    current() {
      const version = versionOf(path)
      if (version !== seen) {
        seen = version
        try {
          good = parseConfig(read(path))
          problem = undefined
        } catch (error) {
          if (!(error instanceof ProblemError)) throw error
          problem = error
          report(error)
        }
      }
      if (good) return good
      throw problem ?? unreadable(path, undefined)
    },
  }
}

function versionOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true })
  return stat ? `${stat.ino} ${stat.mtimeNs} ${stat.size}` : 'absent'
}

/** A missing file is a machine on which nothing was set yet. */
function read(path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw unreadable(path, error)
  }
}

function unreadable(path: string, cause: unknown): ProblemError {
  return new ProblemError('CONFIG_UNREADABLE', {
    what: `${path} could not be read`,
    why: cause instanceof Error ? cause.message : 'there is no good version of it',
    fix: 'Make it a UTF-8 text file that root may write and the group tljh-hub may read (mode 0640)',
    cause,
  })
}
