/**
 * Every configuration that was ever in force: one file for each, beside `config.yaml` in `history/`, numbered from 1.
 *
 * A version is there whole (written beside, flushed, renamed) before it comes into force, and is never changed. What was
 * edited by hand is taken in when the next change is made, so nothing that was in force is ever lost.
 */
import { chownSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { replaceFile } from '../../machine/replace-file.ts'
import { ProblemError } from '../../problem.ts'
import { type Config, readConfig } from '../meaning/config.ts'

export interface Version {
  /** Counted from 1. */
  number: number
  /** Milliseconds since 1970. */
  time: number
  /** The administrator, or the account that called the command. */
  who: string
  /** What was done, such as `edit`, `set limits.memory`, `rollback 3`. */
  how: string
  text: string
}

export function historyFolder(configFile: string): string {
  return join(dirname(configFile), 'history')
}

/** All versions, the oldest first. Files that are none of ours are passed over. */
export function versions(configFile: string): Version[] {
  return numbers(configFile).flatMap(number => versionAt(configFile, number) ?? [])
}

/** Throws `CONFIG_NO_VERSION` where there is none of that number. */
export function version(configFile: string, number: number): Version {
  const found = versionAt(configFile, number)
  if (found) return found
  const known = numbers(configFile)
  throw new ProblemError('CONFIG_NO_VERSION', {
    what: `There is no version ${number} of the configuration`,
    why: known.length ? `the history has ${known[0]} to ${known.at(-1)}` : 'the history is empty',
    fix: 'See what there is with: tljh-ts config log',
  })
}

/** Adds a version, and answers it with its number. Only one process may do so at a time (config/change/lock.ts). */
export function addVersion(configFile: string, added: Omit<Version, 'number'>): Version {
  const folder = historyFolder(configFile)
  mkdirSync(folder, { recursive: true, mode: 0o750 })
  // The group of the configuration, so that the hub can read what it falls back on.
  chownSync(folder, 0, statSync(dirname(configFile)).gid)
  const number = (numbers(configFile).at(-1) ?? 0) + 1
  const made = { number, ...added }
  replaceFile(join(folder, `${number}.json`), `${JSON.stringify(made, null, 1)}\n`)
  return made
}

/** Removes the oldest, down to as many as are to be kept. */
export function prune(configFile: string, keep: number): void {
  for (const number of numbers(configFile).slice(0, -keep)) removeVersion(configFile, number)
}

export function removeVersion(configFile: string, number: number): void {
  rmSync(join(historyFolder(configFile), `${number}.json`))
}

/** The newest version that is valid as the configuration is read today. */
export function newestGood(configFile: string): Config | undefined {
  for (const number of numbers(configFile).toReversed()) {
    const found = versionAt(configFile, number)
    const config = found && readConfig(found.text).config
    if (config) return config
  }
  return undefined
}

function numbers(configFile: string): number[] {
  try {
    return readdirSync(historyFolder(configFile))
      .flatMap(name => (/^[1-9]\d*\.json$/.test(name) ? [Number.parseInt(name, 10)] : []))
      .toSorted((a, b) => a - b)
  } catch {
    // No folder yet, or one that this account may not read.
    return []
  }
}

function versionAt(configFile: string, number: number): Version | undefined {
  try {
    const read = JSON.parse(readFileSync(join(historyFolder(configFile), `${number}.json`), 'utf8')) as Version
    return typeof read.text === 'string' ? { ...read, number } : undefined
  } catch {
    return undefined
  }
}
