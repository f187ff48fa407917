/**
 * Reading the audit log (systemd/audit/audit.ts) from the journal, and `tljh-ts audit`.
 *
 * Any user of the machine can write lines with our fields. Those count that root or the hub's account wrote: journald has that from
 * the kernel (`_UID`), not from the line.
 */
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { auditMessageId } from './audit.ts'

export interface AuditRecord {
  /** Milliseconds since 1970. */
  timeMs: number
  kind: string
  message: string
  who: string
  whom?: string
  address?: string
  reason?: string
  /** How many refusals it stands for, where it is more than one. */
  count?: number
}

export interface AuditQuery {
  /** As journalctl(1) reads times: `yesterday`, `2026-11-21 09:00`, `-2h`. */
  since?: string | undefined
  until?: string | undefined
  /** Who did it, or whom it was done to. */
  user?: string | undefined
  kind?: string | undefined
  /** The last so many. */
  count: number
}

const readTimeoutMs = 60_000
const hubAccount = 'tljh-hub'

/** The oldest first. Must run as root, or as somebody who may read the journal. Throws `AUDIT_UNREADABLE`. */
export async function readAudit({ since, until, user, kind, count }: AuditQuery): Promise<AuditRecord[]> {
  const { stdout } = await runProgram('getent', ['passwd', hubAccount])
  const hubUid = stdout.split(':')[2]
  // The same field twice means 'or', and so does `+` between groups.
  const written = [`MESSAGE_ID=${auditMessageId}`, '_UID=0', ...(hubUid ? [`_UID=${hubUid}`] : [])]
  const wanted = kind ? [...written, `TLJH_EVENT=${kind}`] : written
  const matches = user ? [...wanted, `TLJH_WHO=${user}`, '+', ...wanted, `TLJH_WHOM=${user}`] : wanted
  const times = [...(since ? [`--since=${since}`] : []), ...(until ? [`--until=${until}`] : [])]
  const result = await runProgram(
    'journalctl',
    ['--quiet', '--no-pager', '--output=json', '--all', '--reverse', `--lines=${count}`, ...times, '--', ...matches],
    { timeoutMs: readTimeoutMs },
  )
  if (result.code !== 0) throw unreadable(result.stderr)
  return result.stdout.split('\n').filter(Boolean).map(recordOf).toReversed()
}

/** A line for each: when, what, and from where. */
export function showAudit(records: readonly AuditRecord[]): string {
  const lines = records.map(({ timeMs, kind, message }) => {
    const time = new Date(timeMs).toISOString().slice(0, 19).replace('T', ' ')
    return `${time} UTC  ${kind.padEnd(14)} ${message}`
  })
  return lines.join('\n')
}

function recordOf(line: string): AuditRecord {
  const entry = JSON.parse(line) as Record<string, unknown>
  // A field that was written several times comes as a list.
  const texts = (name: string) => [entry[name]].flat().filter(value => typeof value === 'string')
  const text = (name: string) => texts(name).join(', ') || undefined
  const count = Number(text('TLJH_COUNT'))
  const [whom, address, reason] = [text('TLJH_WHOM'), text('TLJH_ADDRESS'), text('TLJH_REASON')]
  return {
    timeMs: Math.floor(Number(entry.__REALTIME_TIMESTAMP) / 1000),
    kind: text('TLJH_EVENT') ?? '',
    message: text('MESSAGE') ?? '',
    who: text('TLJH_WHO') ?? '',
    ...(whom ? { whom } : {}),
    ...(address ? { address } : {}),
    ...(reason ? { reason } : {}),
    ...(count > 1 ? { count } : {}),
  }
}

function unreadable(stderr: string): ProblemError {
  return new ProblemError('AUDIT_UNREADABLE', {
    what: 'The audit log could not be read',
    why: stderr || 'journalctl gave no reason',
    fix: 'Start it with sudo. Times are written like: yesterday, -2h, "2026-11-21 09:00"',
  })
}
