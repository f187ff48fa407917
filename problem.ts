/**
 * The one error that people read. It is made where the knowledge is (the code that knows what was wrong with which
 * value), and turned into text, an HTTP status or an exit code only at the edges.
 *
 * A message always says what happened, why, and what to do, in that order. It stands at the root of the tree because
 * every folder makes problems, and none of them owns the idea.
 */

export interface ProblemText {
  /** What happened, naming the thing: a sentence without a full stop. */
  what: string
  why: string
  /** What the reader can do now. */
  fix: string
  cause?: unknown
}

/** SQLITE_FULL (sqlite3.h): what node:sqlite says of a full disk. */
const sqliteFull = 13

/** Whether the system has refused to write because the disk is full, or somebody's share of it. */
export function isDiskFull(error: unknown): error is Error {
  if (!(error instanceof Error && 'code' in error)) return false
  if (error.code === 'ERR_SQLITE_ERROR') return 'errcode' in error && error.errcode === sqliteFull
  return error.code === 'ENOSPC' || error.code === 'EDQUOT'
}

export class ProblemError extends Error {
  /** For programs: stable, upper case, never shown alone. */
  readonly code: string
  readonly what: string
  readonly why: string
  readonly fix: string

  constructor(code: string, { what, why, fix, cause }: ProblemText) {
    super(`${what}: ${why}. ${fix}`, cause === undefined ? undefined : { cause })
    this.name = 'ProblemError'
    this.code = code
    this.what = what
    this.why = why
    this.fix = fix
  }
}
