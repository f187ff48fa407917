/**
 * The last lines that a unit wrote, from the journal.
 *
 * Lines are asked for by invocation (each start of a unit has an id of its own), so lines of an earlier run are never
 * among them. systemd may report a unit's failure before the journal has taken its last line in, because the two are
 * different programs: `journalctl --sync` returns when journald has worked off all that was sent to it before.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { ProblemError } from '../problem.ts'

export interface JournalLine {
  /** Milliseconds since 1970. */
  timestampMs: number
  /** One line, without control characters, at most 2,000 characters of it. */
  text: string
  /** As in syslog(3): 3 is an error, 6 is information. */
  priority: number
}

export interface JournalQuery {
  /** From `UnitState.invocationId`. */
  invocationId: string
  /** How many lines at most. */
  count: number
}

const LONGEST_LINE = 2_000
/** A line of the journal has at most 48 KiB (LineMax= in journald.conf(5)), in JSON up to six times as much. */
const MAX_OUTPUT_BYTES = 32 * 1024 ** 2
const TIMEOUT_MS = 10_000

const run = promisify(execFile)

/**
 * Gives the last lines that processes of the unit wrote in one run, the oldest first. Waits for lines that are on their
 * way. Needs root, or membership in systemd-journal (then it does not wait).
 * @throws ProblemError JOURNAL_UNREADABLE
 */
export async function lastLines({ invocationId, count }: JournalQuery): Promise<JournalLine[]> {
  if (!/^[0-9a-f]{32}$/.test(invocationId)) return []
  if (process.getuid?.() === 0) await journalctl(['--sync'])
  const fields = '--output-fields=MESSAGE,PRIORITY'
  const output = await journalctl([
    '--output=json',
    fields,
    `--lines=${count}`,
    `_SYSTEMD_INVOCATION_ID=${invocationId}`,
  ])
  return parseLines(output)
}

/** Reads what `journalctl --output=json` prints: an object on each line. */
export function parseLines(output: string): JournalLine[] {
  return output
    .split('\n')
    .filter(Boolean)
    .map(line => {
      const entry: Record<string, unknown> = JSON.parse(line)
      return {
        timestampMs: Math.floor(Number(entry.__REALTIME_TIMESTAMP) / 1000),
        text: readable(message(entry.MESSAGE)),
        priority: Number(entry.PRIORITY ?? 6),
      }
    })
}

/** journalctl writes text that is not UTF-8, or has control characters, as an array of bytes; a field set twice as a list. */
function message(value: unknown): string {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return ''
  if (value.every(item => typeof item === 'number')) return Buffer.from(value).toString()
  return message(value[0])
}

function readable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours of terminals are what is taken out
  const plain = text.replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, '').replace(/[\x00-\x08\x0a-\x1f\x7f]/g, ' ')
  return plain.length > LONGEST_LINE ? `${plain.slice(0, LONGEST_LINE)}…` : plain
}

async function journalctl(args: readonly string[]): Promise<string> {
  const options = {
    maxBuffer: MAX_OUTPUT_BYTES,
    timeout: TIMEOUT_MS,
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' },
  }
  try {
    return (await run('journalctl', ['--quiet', '--no-pager', ...args], options)).stdout
  } catch (cause) {
    throw new ProblemError('JOURNAL_UNREADABLE', {
      what: 'the journal could not be read',
      why: cause instanceof Error ? cause.message.trim() : String(cause),
      fix: 'see `systemctl status systemd-journald`, and whether the disk is full: `df -h /var/log`',
      cause,
    })
  }
}
