/**
 * Refusals on their way to the audit log. Strangers cause them, thousands a second, so they are joined.
 *
 * Equal ones (kind, address and reason) are written one by one at first. Those beyond are counted, and become one entry after a minute.
 *
 * What always holds: memory has a bound; each refusal is in an entry of its own or in a count; nothing is written but by `next`.
 */

interface Refusal {
  kind: string
  message: string
  /** What was typed. */
  who: string
  address?: string | undefined
  reason?: string | undefined
}

export interface Joined {
  /** How many refusals the entry stands for. */
  count: number
  /** The first few names that were typed. */
  names: readonly string[]
}

export interface Refusals<Entry extends Refusal> {
  add(entry: Entry): void
  /** The next one to be written, if there is one. */
  next(): Entry | (Entry & Joined) | undefined
  /** Makes every count ready to be written. */
  close(): void
}

interface Tally<Entry> {
  first: Entry
  written: number
  count: number
  names: Set<string>
  isDue: boolean
  timer: NodeJS.Timeout
}

const joinMs = 60_000
/** Of equal ones in that time: a person who mistypes has entries of their own. */
const mostAlone = 10
const mostWaiting = 200
/** Beyond so many addresses and reasons, what comes is counted together. */
const mostTallies = 256
const mostNames = 8

/** @param onDue called when `next` has something that it had not before */
export function createRefusals<Entry extends Refusal>(onDue: () => void): Refusals<Entry> {
  const waiting: Entry[] = []
  const tallies = new Map<string, Tally<Entry>>()

  function tallyOf(entry: Entry): Tally<Entry> {
    const own = `${entry.kind} ${entry.address} ${entry.reason}`
    const isOther = !tallies.has(own) && tallies.size >= mostTallies
    const key = isOther ? entry.kind : own
    const known = tallies.get(key)
    if (known) return known
    const timer = setTimeout(() => {
      tally.isDue = true
      onDue()
    }, joinMs).unref()
    const first = isOther ? { ...entry, address: undefined, reason: undefined } : entry
    const tally: Tally<Entry> = { first, written: 0, count: 0, names: new Set(), isDue: false, timer }
    tallies.set(key, tally)
    return tally
  }

  return {
    add(entry) {
      const tally = tallyOf(entry)
      if (tally.written < mostAlone && waiting.length < mostWaiting) {
        tally.written++
        waiting.push(entry)
        return
      }
      tally.count++
      if (tally.names.size <= mostNames) tally.names.add(entry.who)
    },
    next() {
      const alone = waiting.shift()
      if (alone) return alone
      for (const [key, tally] of tallies) {
        if (!tally.isDue) continue
        tallies.delete(key)
        clearTimeout(tally.timer)
        if (tally.count > 0) return joined(tally)
      }
      return undefined
    },
    close() {
      for (const tally of tallies.values()) tally.isDue = true
    },
  }
}

function joined<Entry extends Refusal>({ first, count, names }: Tally<Entry>): Entry & Joined {
  const shown = [...names].slice(0, mostNames)
  const quoted = shown.map(name => JSON.stringify(name)).join(', ')
  const more = names.size > mostNames ? ' and others' : ''
  const from = first.address ? `(${first.reason}) from ${first.address}` : 'from other addresses'
  const message = `${first.kind.replace('-', ' ')} ${from}, ${count} more within a minute, for ${quoted}${more}`
  return { ...first, message, who: shown[0] ?? '', count, names: shown }
}
