/**
 * Slows down whoever guesses, without locking out whom they guess at.
 *
 * Only failures count. Three counters are kept, each of them a bucket that empties with time: of a name tried from an address, of
 * all names tried from an address (high, because a whole class shares one), and of a name tried from all addresses
 * together. The last two do not count for somebody who has been let in from that address before. Names that nobody has count like others, so
 * being slowed down tells nothing.
 *
 * All is kept in memory: a restart forgets it, and a flood of addresses is bounded by the library's expiry.
 */
import { isIPv6 } from 'node:net'
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { ProblemError } from '../problem.ts'

/** What is tried: a password, a code of the second factor. What is typed for the one never counts for the other. */
export type Attempted = 'password' | 'second-factor'

export interface Throttle {
  /**
   * Counts an attempt, as if it had failed already: of very many at the same time no more get through. Throws `LOGIN_TOO_OFTEN` while that
   * name may not be tried from that address.
   */
  begin(what: Attempted, name: string, address: string): Promise<void>
  /** Takes the attempt back. */
  succeeded(what: Attempted, name: string, address: string): Promise<void>
  /** For what makes something new for whoever asks: counts by address alone. Throws `TOO_MANY_NEW`. */
  beginNew(address: string): Promise<void>
}

/** Failures, and the seconds after which they are forgotten. */
const limits = {
  nameAndAddress: { points: 5, duration: 60 },
  address: { points: 200, duration: 600 },
  name: { points: 30, duration: 600 },
  /** A class that signs up at one address, and somebody who does it for fun. */
  made: { points: 100, duration: 600 },
} as const
/** For how long an address is known as its owner's. Timers of Node.js end at 24 days. */
const knownSeconds = 14 * 24 * 3600

export function createThrottle(): Throttle {
  const nameAndAddress = new RateLimiterMemory({ ...limits.nameAndAddress, keyPrefix: 'both' })
  const byAddress = new RateLimiterMemory({ ...limits.address, keyPrefix: 'address' })
  const byName = new RateLimiterMemory({ ...limits.name, keyPrefix: 'name' })
  const made = new RateLimiterMemory({ ...limits.made, keyPrefix: 'made' })
  const known = new RateLimiterMemory({ points: 1, duration: knownSeconds, keyPrefix: 'known' })

  /** Milliseconds until the next attempt; 0 where this one may be made. */
  async function count(limiter: RateLimiterMemory, key: string): Promise<number> {
    const { consumedPoints, msBeforeNext } = await limiter.penalty(key)
    return consumedPoints > limiter.points ? msBeforeNext : 0
  }

  return {
    async begin(what, name, address) {
      const network = networkOf(address)
      const both = `${what} ${network} ${name}`
      const waits = [await count(nameAndAddress, both)]
      // Somebody else who guesses, here or elsewhere, must not keep the owner out.
      if ((await known.get(both)) === null) {
        waits.push(await count(byAddress, network), await count(byName, `${what} ${name}`))
      }
      const longest = Math.max(...waits)
      if (longest > 0) throw tooOften(longest)
    },
    async succeeded(what, name, address) {
      const network = networkOf(address)
      const both = `${what} ${network} ${name}`
      if ((await known.get(both)) === null) {
        await byAddress.reward(network)
        await byName.reward(`${what} ${name}`)
      }
      await nameAndAddress.delete(both)
      await known.set(both, 1, knownSeconds)
    },
    async beginNew(address) {
      const wait = await count(made, networkOf(address))
      if (wait > 0) throw tooManyNew(wait)
    },
  }
}

/** Of IPv6 the /64, which is what one customer has. */
function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const left = head.split(':').filter(Boolean)
  const right = tail?.split(':').filter(Boolean) ?? []
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right].slice(0, 4).join(':')
}

function tooOften(waitMs: number): ProblemError {
  return new ProblemError('LOGIN_TOO_OFTEN', {
    what: 'You are not logged in',
    why: 'there were too many wrong attempts',
    fix: `Wait ${inWords(waitMs)}, and try again. If the password is forgotten, an administrator gives you a one-time code`,
  })
}

function tooManyNew(waitMs: number): ProblemError {
  return new ProblemError('TOO_MANY_NEW', {
    what: 'Nothing was made for you yet',
    why: 'very many have asked for an account from where you are',
    fix: `Wait ${inWords(waitMs)}, and try again`,
  })
}

function inWords(waitMs: number): string {
  const seconds = Math.ceil(waitMs / 1000)
  return seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`
}
