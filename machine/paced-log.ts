/**
 * A service's log that nobody can fill: what a student's server, a browser or a stranger can make it write has a rate for each of them. What is
 * more is counted, and told of in one line.
 */

/** Lines about one person or one kind of failure, in a period: more than anybody reads. */
const mostLines = 20
/** All that is about nobody. */
const mostOthers = 200
const periodMs = 60_000
/** Whoever comes when there are so many shares one rate with all who come then. */
const mostSubjects = 1_000

/** @param about whose doing the line is; without it, the line counts among all that have no subject */
export type Log = (line: string, about?: string) => void

interface Subject {
  lines: number
  unwritten: number
}

/** The periods of all begin with the first line after a quiet one, and end with one timer. */
export function createPacedLog(write: (line: string) => void): Log {
  const subjects = new Map<string, Subject>()

  function endPeriod(): void {
    for (const [about, { unwritten }] of subjects) {
      if (unwritten > 0) write(`and ${unwritten} more such lines${about && ` about ${about}`} in the last minute`)
    }
    subjects.clear()
  }

  function subjectOf(about: string): Subject {
    const known = subjects.get(about)
    if (known) return known
    if (about !== '' && subjects.size >= mostSubjects) return subjectOf('')
    if (subjects.size === 0) setTimeout(endPeriod, periodMs).unref()
    const subject = { lines: 0, unwritten: 0 }
    subjects.set(about, subject)
    return subject
  }

  return (line, about = '') => {
    const subject = subjectOf(about)
    if (++subject.lines <= (about === '' ? mostOthers : mostLines)) write(line)
    else subject.unwritten++
  }
}
