/**
 * How many new connections of one address begin in one turn of the event loop. To take one from the kernel's queue costs little, and what is
 * asked on it costs twenty times that; so all are taken at once, and whoever connects without end waits behind himself and not before everybody else.
 *
 * What always holds:
 * 1. Of one network (hub/door.ts), no more than `mostATurn` begin in a turn. The others wait, are not read, and begin in the order in which they came.
 * 2. Nobody waits for another network's.
 * 3. No more than `mostWaiting` wait, and half as many of one network. Whoever comes then is turned away.
 *
 * A turn of a hub that has little to do is short: a class behind one address does not notice.
 */
import { networkOf } from './door.ts'

export const mostATurn = 4

export interface Comer {
  /** Undefined: it came by a unix socket. */
  address: string | undefined
  begin(): void
  turnAway(): void
}

export interface Turnstile {
  /** Has it begin, now or in a later turn, or turns it away. */
  enter(comer: Comer): void
  /** Has all begin that wait, and from now on everybody at once. */
  open(): void
}

export interface TurnstileOptions {
  mostWaiting: number
  /** Whether an address stands for many. */
  isExempt?(address: string): boolean
}

/** For a hub that has descriptors for `most` connections: those that wait have one each. */
export function mostWaiting(most: number): number {
  return Math.min(2048, Math.floor(most / 8))
}

export function createTurnstile({ mostWaiting, isExempt = () => false }: TurnstileOptions): Turnstile {
  /** In this turn, by network. */
  const begun = new Map<string, number>()
  /** By network; nobody's list is empty. */
  const waiting = new Map<string, Comer[]>()
  let count = 0
  let isTurning = false
  let isOpen = false

  function turn(): void {
    isTurning = false
    begun.clear()
    // Whoever begins may bring others.
    for (const [network, comers] of [...waiting]) {
      const now = comers.splice(0, mostATurn)
      if (comers.length === 0) waiting.delete(network)
      count -= now.length
      begun.set(network, now.length)
      for (const comer of now) comer.begin()
    }
    if (begun.size > 0) plan()
  }

  function plan(): void {
    if (isTurning) return
    isTurning = true
    setImmediate(turn)
  }

  return {
    enter(comer) {
      if (isOpen || comer.address === undefined || isExempt(comer.address)) return comer.begin()
      const network = networkOf(comer.address)
      const before = waiting.get(network)
      const hasBegun = begun.get(network) ?? 0
      if (!before && hasBegun < mostATurn) {
        begun.set(network, hasBegun + 1)
        comer.begin()
      } else if (count >= mostWaiting || (before && before.length >= mostWaiting / 2)) comer.turnAway()
      else {
        count++
        if (before) before.push(comer)
        else waiting.set(network, [comer])
      }
      plan()
    },
    open() {
      isOpen = true
      const all = [...waiting.values()].flat()
      waiting.clear()
      count = 0
      for (const comer of all) comer.begin()
    },
  }
}
