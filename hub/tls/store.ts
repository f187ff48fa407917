/**
 * What is kept of certificates over a restart, in a folder of the hub's own: keys of accounts, certificates with their keys, and what
 * came of the last attempts. Each file is replaced as a whole, and is for the hub alone.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Certificate, readCertificate } from './certificate.ts'
import type { KeyAndChain } from './self-signed.ts'
import type { FailureKind } from './waits.ts'

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

export interface Store {
  accountKey(directoryUrl: string): string | undefined
  keepAccountKey(directoryUrl: string, key: string): void
  /** Undefined where there is none that could be used. */
  certificate(directoryUrl: string): Certificate | undefined
  keepCertificate(directoryUrl: string, pair: KeyAndChain): void
  attempts(): Attempts | undefined
  keepAttempts(attempts: Attempts | undefined): void
  /** For programs beside the hub, such as `tljh-ts status`. */
  keepStatus(status: unknown): void
}

export function openStore(folder: string): Store {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const of = (what: string, directoryUrl: string) =>
    `${what}-${createHash('sha256').update(directoryUrl).digest('hex').slice(0, 16)}.pem`

  function read(name: string): string | undefined {
    try {
      return readFileSync(join(folder, name), 'utf8')
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
  }

  function write(name: string, content: string): void {
    const file = join(folder, name)
    writeFileSync(`${file}.new`, content, { mode: 0o600, flush: true })
    renameSync(`${file}.new`, file)
  }

  return {
    accountKey: directoryUrl => read(of('account', directoryUrl)),
    keepAccountKey: (directoryUrl, key) => write(of('account', directoryUrl), key),
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
    keepCertificate: (directoryUrl, { key, chain }) =>
      write(of('certificate', directoryUrl), `${key.trim()}\n${chain}`),
    attempts: () => asAttempts(read('attempts.json')),
    keepAttempts: attempts => write('attempts.json', JSON.stringify(attempts ?? null)),
    keepStatus: status => write('status.json', `${JSON.stringify(status, undefined, 2)}\n`),
  }
}

function asAttempts(text: string | undefined): Attempts | undefined {
  try {
    const attempts = JSON.parse(text ?? 'null') as Attempts | null
    return attempts && Number.isFinite(attempts.nextAttempt) && typeof attempts.about === 'string'
      ? attempts
      : undefined
  } catch {
    return undefined
  }
}
