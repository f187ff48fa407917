/**
 * Slows down whoever guesses passwords, without locking out whom they guess at.
 *
 * Only failures count. Three counters are kept, each of them a bucket that empties with time: of a name tried from an address, of
 * all names tried from an address (high, because a whole class shares one), and of a name tried from all addresses
 * together, which does not count against addresses from which its owner has been let in before. Names that nobody has count like
 * others, so being slowed down tells nothing.
 *
 * All is kept in memory: a restart forgets it, and a flood of addresses is bounded by the library's expiry.
 */
import { isIPv6 } from 'node:net'
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { ProblemError } from '../problem.ts'

export interface Throttle {
  /**
   * Counts an attempt, as if it had failed already: of very many at the same time no more get through. Throws `LOGIN_TOO_OFTEN` while that
   * name may not be tried from that address.
   */
  begin(name: string, address: string): Promise<void>
  /** Takes the attempt back. */
  succeeded(name: string, address: string): Promise<void>
}

/** Failures, and the seconds after which they are forgotten. */
const limits = {
  nameAndAddress: { points: 5, duration: 60 },
  address: { points: 200, duration: 600 },
  name: { points: 30, duration: 600 },
} as const
/** For how long an address is known as its owner's. Timers of Node.js end at 24 days. */
const knownSeconds = 14 * 24 * 3600

export function createThrottle(): Throttle {
  const nameAndAddress = new RateLimiterMemory({ ...limits.nameAndAddress, keyPrefix: 'both' })
  const byAddress = new RateLimiterMemory({ ...limits.address, keyPrefix: 'address' })
  const byName = new RateLimiterMemory({ ...limits.name, keyPrefix: 'name' })
  const known = new RateLimiterMemory({ points: 1, duration: knownSeconds, keyPrefix: 'known' })

  /** Milliseconds until the next attempt; 0 where this one may be made. */
  async function count(limiter: RateLimiterMemory, key: string): Promise<number> {
    const { consumedPoints, msBeforeNext } = await limiter.penalty(key)
    return consumedPoints > limiter.points ? msBeforeNext : 0
  }

  return {
    async begin(name, address) {
      const network = networkOf(address)
      const both = `${name} ${network}`
      const isKnown = (await known.get(both)) !== null
      const waits = [await count(nameAndAddress, both), await count(byAddress, network)]
      // Somebody elsewhere who guesses must not keep the owner out.
      if (!isKnown) waits.push(await count(byName, name))
      const longest = Math.max(...waits)
      if (longest > 0) throw tooOften(longest)
    },
    async succeeded(name, address) {
      const network = networkOf(address)
      const both = `${name} ${network}`
      if ((await known.get(both)) === null) await byName.reward(name)
      await byAddress.reward(network)
      await nameAndAddress.delete(both)
      await known.set(both, 1, knownSeconds)
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
  const seconds = Math.ceil(waitMs / 1000)
  return new ProblemError('LOGIN_TOO_OFTEN', {
    what: 'You are not logged in',
    why: 'the password was wrong too often',
    fix: `Wait ${seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`}, and try again. If it is forgotten, an administrator gives you a one-time code`,
  })
}
