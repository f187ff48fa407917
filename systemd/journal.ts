/**
 * The last lines that a unit wrote, from the journal.
 *
 * Lines of an earlier run are never among them: lines are asked for by the unit's name from the moment when the run began,
 * and those that have the invocation id of another run are left out. (To ask by the id alone would lose lines: journald
 * looks the id up when it reads a line, and finds none if the program has ended by then: so it was with 7 % of the programs
 * that failed at once, measured on systemd 252.)
 *
 * systemd may report a failure before the journal has taken in the last line, because the two are different programs.
 * `journalctl --sync` returns when journald has worked off all that was sent to it before: 6 ms, measured. While some
 * unit floods the journal it does not return at all, so it is given two seconds, and then the lines are taken that are
 * there.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { ProblemError } from '../problem.ts'
import type { UnitState } from './state.ts'

export interface JournalLine {
  /** Milliseconds since 1970. */
  timestampMs: number
  /** One line, without control characters, at most 2,000 characters of it. */
  text: string
  /** As in syslog(3): 3 is an error, 6 is information. */
  priority: number
}

export interface JournalQuery {
  unit: Pick<UnitState, 'name' | 'invocationId' | 'startTimestampMs'>
  /** How many lines at most. */
  count: number
  /** The unit's LogNamespace=, where it has one. */
  namespace?: string
}

const LONGEST_LINE = 2_000
/** A line of the journal has at most 48 KiB (LineMax= in journald.conf(5)), in JSON up to six times as much. */
const MAX_OUTPUT_BYTES = 32 * 1024 ** 2
const SYNC_TIMEOUT_MS = 2_000
const READ_TIMEOUT_MS = 10_000

const run = promisify(execFile)

/**
 * Gives the last lines that the unit's processes wrote in this run or the last, the oldest first, and waits for lines
 * that are on their way. Needs root (or membership in systemd-journal, and then it does not wait).
 * @throws ProblemError JOURNAL_UNREADABLE
 */
export async function lastLines({ unit, count, namespace }: JournalQuery): Promise<JournalLine[]> {
  if (unit.startTimestampMs === undefined) return []
  // Whatever comes of it: the lines are read all the same.
  const journal = namespace ? [`--namespace=${namespace}`] : []
  await journalctl([...journal, '--sync'], SYNC_TIMEOUT_MS).catch(() => {})
  const fields = '--output-fields=MESSAGE,PRIORITY,_SYSTEMD_INVOCATION_ID'
  const since = `--since=@${unit.startTimestampMs / 1000}`
  // Backwards: with --since, --lines counts from there. --all: without it a line of more than 4,096 bytes is null.
  const match = [since, '--reverse', '--all', `--lines=${count}`, `_SYSTEMD_UNIT=${unit.name}`]
  const output = await journalctl([...journal, '--output=json', fields, ...match], READ_TIMEOUT_MS)
  return parseLines(output, unit.invocationId).toReversed()
}

/** Reads what `journalctl --output=json` prints: an object on each line. Leaves out what another run wrote. */
export function parseLines(output: string, invocationId: string): JournalLine[] {
  return output
    .split('\n')
    .filter(Boolean)
    .flatMap(line => {
      const entry: Record<string, unknown> = JSON.parse(line)
      if ((entry._SYSTEMD_INVOCATION_ID ?? invocationId) !== invocationId) return []
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

async function journalctl(args: readonly string[], timeout: number): Promise<string> {
  const options = {
    maxBuffer: MAX_OUTPUT_BYTES,
    timeout,
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
