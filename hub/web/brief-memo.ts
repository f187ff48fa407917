/**
 * Answers that count for a moment, whoever and however many ask in it: nobody can tell from outside which of two things came first that
 * are so close, and under load there are a hundred requests in a moment.
 */

export const momentMs = 5

/** `forget`: what was known before counts no more. What `ask` throws is not kept. */
export interface BriefMemo<Value> {
  get(): Value
  forget(): void
}

export function briefMemo<Value>(ask: () => Value, ms = momentMs): BriefMemo<Value> {
  let known: { value: Value; since: number } | undefined
  return {
    get() {
      // No timer: of a machine that has no time for us, it would come late.
      const now = performance.now()
      if (!known || now - known.since >= ms) known = { value: ask(), since: now }
      return known.value
    },
    forget() {
      known = undefined
    },
  }
}
