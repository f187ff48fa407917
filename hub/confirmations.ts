/**
 * Who has just given the password again. A session lasts for two weeks, and a computer stands open for a moment: what
 * reaches the whole machine wants the password of the person who sits there now.
 *
 * It is kept in memory alone: a hub that starts asks again.
 */
import type { Session } from './sessions.ts'

export interface Confirmations {
  add(session: Session): void
  /** Whether the password was given in this session within the last ten minutes. */
  isFresh(session: Session): boolean
}

const freshMs = 10 * 60_000

/** `now` is in milliseconds. */
export function createConfirmations(now: () => number = () => performance.now()): Confirmations {
  /** By session id. */
  const times = new Map<string, number>()
  const isRecent = (time: number | undefined) => time !== undefined && now() - time < freshMs
  return {
    add({ id }) {
      for (const [known, time] of times) if (!isRecent(time)) times.delete(known)
      times.set(id, now())
    },
    isFresh: ({ id }) => isRecent(times.get(id)),
  }
}
