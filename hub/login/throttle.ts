/**
 * Slows down anyone who guesses, without locking out the people whose names are guessed at, or who share an address with a guesser.
 *
 * Only failures count, and what is refused unseen does not count again. Three buckets are kept, which empty with time: of a name tried from an
 * address, of all names tried from an address, and of a name tried from all addresses. The last two do not count for a person
 * who has been let in from that address before. Names that nobody has count like others, so being slowed down tells nothing.
 *
 * A whole class can share one address with a guesser, on its first morning too. So an address with many failures is not shut: it is crowded.
 * Then only names of people are looked at, and every refusal is the same and comes at the same time (hub/login/password-login.ts).
 *
 * What always holds:
 * 1. Memory has a bound, whatever is typed (hub/bounds/sketch.ts). A restart of the hub forgets everything.
 * 2. One address alone cannot fill the bucket of a name: it fills more slowly than that bucket empties.
 * 3. Names of people and names that nobody has are counted alike, also where only the first are looked at.
 */
import { isIPv6 } from 'node:net'
import { prefixOf } from '../../machine/endpoints.ts'
import { ProblemError } from '../../problem.ts'
import { createSketch } from '../bounds/sketch.ts'

/** What is tried: a password, a code of the second factor. What is typed for the one never counts for the other. */
export type Attempted = 'password' | 'second-factor'

export interface Throttle {
  /**
   * Counts an attempt, as if it had failed already: of very many at the same time no more get through. `isPerson`: whether the name is somebody's
   * who can be expected here. Throws `LOGIN_TOO_OFTEN` while that name may not be tried from that address.
   */
  begin(what: Attempted, name: string, address: string, isPerson: boolean): Attempt
  /** Makes the address known as that person's, who has shown by other means who they are. */
  letIn(what: Attempted, name: string, address: string): void
  /** For what makes something new for anyone who asks: counts by address alone. Throws `TOO_MANY_NEW`. */
  beginNew(address: string): void
}

export interface Attempt {
  /** Whether very many attempts failed at that address: then nothing but success may tell this attempt from others. */
  isCrowded: boolean
  /** Whether what was typed may be looked at. False only where it is crowded. */
  isLookedAt: boolean
  /** Takes the attempt back. */
  succeeded(): void
}

/** What fits at once, and how long until one more does. */
const buckets = {
  nameAndAddress: { points: 5, everyMs: 30_000 },
  address: { points: 200, everyMs: 3_000 },
  name: { points: 30, everyMs: 20_000 },
  /** A class that signs up at one address, and somebody who does it for fun. */
  made: { points: 100, everyMs: 6_000 },
} as const
/** For how long an address is known as its owner's. */
const knownMs = 14 * 24 * 3600_000
/** Beyond, those are forgotten who were let in the longest ago: they count like people who come for the first time. */
const mostKnown = 20_000

/** @param now milliseconds of a clock that nobody sets */
export function createThrottle(now: () => number = () => performance.now()): Throttle {
  const nameAndAddress = createSketch(buckets.nameAndAddress, now)
  const byAddress = createSketch(buckets.address, now)
  const byName = createSketch(buckets.name, now)
  const made = createSketch(buckets.made, now)
  /** Until when; who was let in last is last. */
  const known = new Map<string, number>()

  function remember(key: string): void {
    known.delete(key)
    known.set(key, now() + knownMs)
    const [oldest] = known.keys()
    if (known.size > mostKnown && oldest !== undefined) known.delete(oldest)
  }

  return {
    begin(what, name, address, isPerson) {
      const network = networkOf(address)
      const both = keyOf(what, name, network)
      const ofAll = `${what} ${name}`
      // Somebody else who guesses elsewhere must not keep the owner out. Whoever guesses at this name at this address can.
      const isKnown = (known.get(both) ?? 0) > now()
      // Anyone who types a second factor had the right password: what others at the address do says nothing against that.
      const countsForAddress = what === 'password' && !isKnown
      const isCrowded = countsForAddress && byAddress.wait(network) > 0
      const wait = Math.max(nameAndAddress.wait(both), isKnown ? 0 : byName.wait(ofAll))
      if (wait > 0 && !isCrowded) throw tooOften(wait)
      const counted = [
        { sketch: nameAndAddress, key: both },
        ...(isKnown ? [] : [{ sketch: byName, key: ofAll }]),
        ...(countsForAddress && !isCrowded ? [{ sketch: byAddress, key: network }] : []),
      ]
      // Also for names that nobody has: else the refusals that follow would tell which those are.
      if (wait === 0) for (const { sketch, key } of counted) sketch.add(key)
      return {
        isCrowded,
        isLookedAt: wait === 0 && (!isCrowded || isPerson),
        succeeded() {
          for (const { sketch, key } of counted) sketch.remove(key)
          remember(both)
        },
      }
    },
    letIn: (what, name, address) => remember(keyOf(what, name, networkOf(address))),
    beginNew(address) {
      const network = networkOf(address)
      const wait = made.wait(network)
      if (wait > 0) throw tooManyNew(wait)
      made.add(network)
    },
  }
}

function keyOf(what: Attempted, name: string, network: string): string {
  return `${what} ${network} ${name}`
}

function networkOf(address: string): string {
  return isIPv6(address) ? prefixOf(address) : address
}

function tooOften(waitMs: number): ProblemError {
  return new ProblemError('LOGIN_TOO_OFTEN', {
    what: 'Login failed',
    why: 'there were too many wrong attempts',
    fix: `Wait ${inWords(waitMs)}, and try again. Forgot the password? Ask your teacher for a one-time code; it works at once`,
  })
}

function tooManyNew(waitMs: number): ProblemError {
  return new ProblemError('TOO_MANY_NEW', {
    what: 'No account was created yet',
    why: 'very many people have asked for one from your network',
    fix: `Wait ${inWords(waitMs)}, and try again`,
  })
}

function inWords(waitMs: number): string {
  const seconds = Math.ceil(waitMs / 1000)
  return seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`
}
