/**
 * The audit log: who did what, as structured fields in the journal, beside the sentence that `journalctl` shows.
 *
 * The journal's own protocol wants datagrams, which Node.js has not, so logger(1) writes each entry.
 *
 * Fields that begin with TLJH_ are ours, but any user of the machine can write them: what counts is who wrote, which the kernel says
 * (`_UID`), and so it is read (systemd/audit/read.ts).
 *
 * What always holds:
 * 1. Entries are written in the order in which they were given, and nobody who is recorded waits.
 * 2. Refusals, which strangers can cause without end, have a queue of their own (systemd/audit/refusals.ts) and wait for all other entries.
 * 3. When very many others come at once, those beyond a bound are counted and the count is written.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRefusals, type Joined } from './refusals.ts'

export const auditKinds = [
  'login',
  'login-refused',
  'logout',
  'password',
  'code',
  'second-factor',
  'sign-up',
  'account',
  'visit',
  'server',
  'config',
  'lost',
] as const

export type AuditKind = (typeof auditKinds)[number]

export interface AuditEntry {
  kind: AuditKind
  /** A sentence in the past tense, without a full stop: `ann logged in`. */
  message: string
  /** Who did it: a user of the hub, or of the machine (`root`). What was typed, where nobody is known. */
  who: string
  /** Whom it was done to, where that is somebody else. */
  whom?: string | undefined
  /** Of the internet. */
  address?: string | undefined
  /** Why something was refused, as a problem's code. */
  reason?: string | undefined
}

export interface Audit {
  record(entry: AuditEntry): void
  /** Resolves when everything is written. */
  flush(): Promise<void>
}

/** For `journalctl MESSAGE_ID=`: a number of our own, see systemd-id128(1). */
export const auditMessageId = '6f0c2b8d7a534a0e9d3c41c5b7e2f18a'
const mostWaiting = 500
const mostCharacters = 2_000
const timeoutMs = 5_000

/** Writes the lines of one entry. */
export type AuditWriter = (lines: string) => Promise<void>

/** @param onProblem told when an entry could not be written; it is lost then */
export function createAudit(onProblem: (problem: unknown) => void, write: AuditWriter = writeEntry): Audit {
  const waiting: AuditEntry[] = []
  const refusals = createRefusals<AuditEntry>(begin)
  let lost = 0
  let isWriting = false
  let written: Promise<void> = Promise.resolve()

  function begin(): void {
    if (isWriting) return
    isWriting = true
    written = writeAll()
  }

  async function writeAll(): Promise<void> {
    for (;;) {
      const entry = waiting.shift() ?? lostEntry() ?? refusals.next()
      if (!entry) break
      await write(linesOf(entry)).catch(onProblem)
    }
    isWriting = false
  }

  function lostEntry(): AuditEntry | undefined {
    if (lost === 0) return undefined
    const message = `${lost} more entries came too fast to be written`
    lost = 0
    return { kind: 'lost', message, who: 'tljh-ts' }
  }

  return {
    record(entry) {
      if (entry.kind === 'login-refused') refusals.add(entry)
      else if (waiting.length >= mostWaiting) lost++
      else waiting.push(entry)
      begin()
    },
    async flush() {
      refusals.close()
      begin()
      await written
    },
  }
}

/** By logger(1), in this thread. */
export async function writeEntry(lines: string): Promise<void> {
  const child = spawn('logger', ['--journald'], { stdio: ['pipe', 'ignore', 'ignore'], timeout: timeoutMs })
  child.stdin.on('error', () => undefined)
  child.stdin.end(lines)
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`logger ended with code ${code}; not in the audit log: ${lines.split('\n')[0]}`)
}

/** As journald reads them: FIELD=value. */
function linesOf({ kind, message, who, whom, address, reason, ...joined }: AuditEntry | (AuditEntry & Joined)): string {
  const { names = [], count } = 'names' in joined ? joined : {}
  const fields = {
    MESSAGE: message,
    MESSAGE_ID: auditMessageId,
    PRIORITY: kind === 'login-refused' ? '4' : '5',
    SYSLOG_IDENTIFIER: 'tljh-audit',
    TLJH_EVENT: kind,
    TLJH_WHO: who,
    TLJH_WHOM: whom,
    TLJH_ADDRESS: address,
    TLJH_REASON: reason,
    TLJH_COUNT: count?.toString(),
  }
  const others = names.slice(1).map(name => ['TLJH_WHO', name])
  const lines = [...Object.entries(fields), ...others].flatMap(([name, value]) =>
    value ? [`${name}=${plainLine(value)}`] : [],
  )
  return `${lines.join('\n')}\n`
}

/** What came from outside cannot begin another field, nor colour a terminal. */
function plainLine(text: string): string {
  const short = text.length > mostCharacters ? `${text.slice(0, mostCharacters)}…` : text
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return short.replace(/[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g, '?')
}
