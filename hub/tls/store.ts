/**
 * What is kept of certificates over a restart, in a folder of the hub's own: keys of accounts, certificates with their keys, and what
 * came of the last attempts. Each file is replaced as a whole, and is for the hub alone.
 *
 * Nothing in here throws: a disk that is full must neither take the hub down nor have it forget what it knows. A file is read once;
 * what was to be kept since counts from memory, also where it could not be written, and is written as soon as that is possible.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { replaceFile } from '../../machine/replace-file.ts'
import { type Certificate, readCertificate } from './certificate.ts'
import { type FailureKind, longestWaitMs } from './schedule.ts'
import type { KeyAndChain } from './self-signed.ts'

/** What has failed since the last success. */
export interface Attempts {
  /** Which server and domains they are about: others begin anew. */
  about: string
  kind: FailureKind
  /** Of that kind, one after the other. */
  failures: number
  /** Milliseconds since 1970. */
  nextAttempt: number
  /** When the server was last asked although the preflight had found a closed port. */
  askedBlindly: number
  problem: { what: string; why: string; fix: string }
}

/** What keeps something answers whether it is on the disk. */
export interface Store {
  accountKey(directoryUrl: string): string | undefined
  keepAccountKey(directoryUrl: string, key: string): boolean
  /** Undefined where there is none that could be used. */
  certificate(directoryUrl: string): Certificate | undefined
  keepCertificate(directoryUrl: string, pair: KeyAndChain): boolean
  attempts(): Attempts | undefined
  keepAttempts(attempts: Attempts | undefined): boolean
  /** For programs beside the hub, such as `tljh-ts status`. */
  keepStatus(status: unknown): void
  /** Writes what could not be written before; answers whether all is on the disk now. */
  isKept(): boolean
}

export function openStore(folder: string, log: (line: string) => void): Store {
  /** By name. Undefined: there is none. */
  const known = new Map<string, string | undefined>()
  const unwritten = new Set<string>()
  const of = (what: string, directoryUrl: string) =>
    `${what}-${createHash('sha256').update(directoryUrl).digest('hex').slice(0, 16)}.pem`

  function read(name: string): string | undefined {
    if (!known.has(name)) known.set(name, readFile(name))
    return known.get(name)
  }

  function readFile(name: string): string | undefined {
    try {
      return readFileSync(join(folder, name), 'utf8')
    } catch (error) {
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      if (!isMissing) log(`${join(folder, name)} cannot be read, and counts as if it were not there: ${String(error)}`)
      return undefined
    }
  }

  function keep(name: string, content: string): boolean {
    known.set(name, content)
    const wasWritten = unwritten.size === 0
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      replaceFile(join(folder, name), content, { mode: 0o600 })
      unwritten.delete(name)
      return true
    } catch (error) {
      unwritten.add(name)
      // Once, until all is written again: it is tried every few minutes.
      if (wasWritten)
        log(`nothing can be kept in ${folder}: ${String(error)}. See whether the disk is full: df -h ${folder}`)
      return false
    }
  }

  let attempts = asAttempts(read('attempts.json'))

  return {
    accountKey: directoryUrl => read(of('account', directoryUrl)),
    keepAccountKey: (directoryUrl, key) => keep(of('account', directoryUrl), key),
    certificate(directoryUrl) {
      // Key and chain are in one file, so they always belong together.
      const both = read(of('certificate', directoryUrl))
      if (both === undefined) return undefined
      const begin = both.indexOf('-----BEGIN CERTIFICATE')
      try {
        return readCertificate({ key: both.slice(0, begin), chain: both.slice(begin) })
      } catch {
        // Somebody has been at it: a new one is asked for, as if there were none.
        return undefined
      }
    },
    keepCertificate: (directoryUrl, { key, chain }) => keep(of('certificate', directoryUrl), `${key.trim()}\n${chain}`),
    attempts: () => attempts,
    keepAttempts(now) {
      attempts = now
      return keep('attempts.json', JSON.stringify(now ?? null))
    },
    keepStatus: status => void keep('status.json', `${JSON.stringify(status, undefined, 2)}\n`),
    isKept() {
      for (const name of [...unwritten]) keep(name, known.get(name) ?? '')
      return unwritten.size === 0
    },
  }
}

/** Of a time that no wait is long enough for, a clock was wrong when it was written. */
function asAttempts(text: string | undefined): Attempts | undefined {
  try {
    const attempts = JSON.parse(text ?? 'null') as Attempts | null
    const isWhole =
      Number.isFinite(attempts?.nextAttempt) && typeof attempts?.about === 'string' && attempts.problem !== undefined
    if (!attempts || !isWhole) return undefined
    return { ...attempts, nextAttempt: Math.min(attempts.nextAttempt, Date.now() + longestWaitMs) }
  } catch {
    return undefined
  }
}
