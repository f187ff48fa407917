/**
 * Asks once in each turn of the event loop, whoever and however many want to know. What comes in between two turns has come at one moment,
 * as far as anybody can tell from outside; and under load, there are many requests in a turn.
 */

/** What `ask` throws is not kept. */
export function onceATurn<Value>(ask: () => Value): () => Value {
  let known: { value: Value } | undefined
  const forget = () => {
    known = undefined
  }
  return () => {
    if (!known) {
      known = { value: ask() }
      setImmediate(forget)
    }
    return known.value
  }
}
