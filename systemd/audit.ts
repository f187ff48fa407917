/**
 * The audit log: who did what, as structured fields in the journal, beside the sentence that `journalctl` shows.
 *
 * The journal's own protocol wants datagrams, which Node.js has not, so logger(1) writes each entry. To start a program holds a process up for
 * some milliseconds, and for more the bigger it is (17 ms, measured for 150 MB on a loaded machine), so a thread of its own does it
 * (systemd/audit-writer.ts).
 *
 * Fields that begin with TLJH_ are ours, but any user of the machine can write them: what counts is who wrote, which the kernel says
 * (`_UID`), and so it is read (systemd/audit-log.ts).
 *
 * What always holds: entries are written in the order in which they were given, and whoever is recorded never waits. When very many come at
 * once (somebody guesses passwords), those beyond a bound are counted and the count is written.
 */
import { Worker } from 'node:worker_threads'

export type AuditKind =
  | 'login'
  | 'login-refused'
  | 'logout'
  | 'password'
  | 'code'
  | 'second-factor'
  | 'sign-up'
  | 'account'
  | 'visit'
  | 'server'
  | 'config'
  | 'lost'

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

/** @param onProblem told when an entry could not be written; it is lost then */
export function createAudit(onProblem: (problem: unknown) => void): Audit {
  let worker: Worker | undefined
  let waiting = 0
  let lost = 0
  let idle = Promise.withResolvers<void>()

  /** The thread is made for the first entry: most commands have none. */
  function writer(): Worker {
    if (worker) return worker
    const made = new Worker(new URL('./audit-writer.ts', import.meta.url))
    made.unref()
    made.on('message', (problem: string | undefined) => {
      if (problem !== undefined) onProblem(problem)
      written()
    })
    made.on('error', onProblem)
    made.on('exit', () => {
      worker = undefined
      waiting = 0
      idle.resolve()
    })
    worker = made
    return made
  }

  function written(): void {
    waiting--
    if (waiting > 0) return
    if (lost === 0) {
      idle.resolve()
      return
    }
    const message = `${lost} more entries came too fast to be written`
    lost = 0
    send({ kind: 'lost', message, who: 'tljh-ts' })
  }

  function send(entry: AuditEntry): void {
    if (waiting === 0) idle = Promise.withResolvers()
    waiting++
    writer().postMessage(linesOf(entry))
  }

  return {
    record(entry) {
      if (waiting >= mostWaiting) lost++
      else send(entry)
    },
    async flush() {
      if (waiting === 0) return
      worker?.ref()
      await idle.promise
      worker?.unref()
    },
  }
}

/** As journald reads them: FIELD=value. */
function linesOf({ kind, message, who, whom, address, reason }: AuditEntry): string {
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
  }
  const lines = Object.entries(fields).flatMap(([name, value]) => (value ? [`${name}=${plainLine(value)}`] : []))
  return `${lines.join('\n')}\n`
}

/** What came from outside cannot begin another field, nor colour a terminal. */
function plainLine(text: string): string {
  const short = text.length > mostCharacters ? `${text.slice(0, mostCharacters)}…` : text
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return short.replace(/[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g, '?')
}
