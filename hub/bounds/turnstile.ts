/**
 * How many new connections of one address begin in one turn of the event loop. To take one from the kernel's queue costs little, and what is
 * asked on it costs twenty times that; so all are taken at once, and whoever connects without end waits behind himself and not before everybody else.
 *
 * What always holds:
 * 1. Besides the one that node:net takes itself, no more than `mostATurn` of one network (hub/bounds/door.ts) begin in a turn, and no more than
 *    `mostOfAll` of all of them, in rotation. The others wait, and are not read.
 * 2. Nobody waits for another network's, but for their turn in the rotation.
 * 3. Programs of this machine's own have a short line, of `mostOfOwn`: a class does not come from there. Beyond it, one of them is turned away.
 * 4. No more than `mostWaiting` wait. Where that many do, no more are taken from the kernel, as long as it passes by itself: after a restart, a whole class
 *    comes at once. What lasts is a flood; then, and for a minute after, one of the longest line is turned away for each who comes.
 */
import { networkOf, ownNetwork } from './door.ts'

export const mostATurn = 4
export const mostOfAll = 32
export const mostOfOwn = 256
/** A class of a hundred browsers, with six connections each, has begun by then. */
const patienceMs = 250
/** Whoever has flooded the hub does it again. */
const floodMs = 60_000

export interface Comer {
  /** Undefined: it came by a unix socket. */
  address: string | undefined
  port: number | undefined
  begin(): void
  turnAway(): void
}

export interface Turnstile {
  /** Whether more are to be taken from the kernel. */
  hasRoom(): boolean
  /** Has it begin, now or in a later turn, or turns one away. */
  enter(comer: Comer): void
  /** Has all begin that wait, and from now on everybody at once. */
  open(): void
}

export interface TurnstileOptions {
  mostWaiting: number
  /** Whether an address stands for many. */
  isExempt?(address: string): boolean
  /** In milliseconds. */
  now?(): number
  /** From 0 to 1, less than that. */
  random?(): number
}

/**
 * For a hub that has descriptors for `most` connections: those that wait have one each. And what was sent on them is in memory that counts as the
 * hub's, up to 128 KB on each.
 */
export function mostWaiting(most: number): number {
  return Math.min(2048, Math.floor(most / 8))
}

export function createTurnstile({
  mostWaiting,
  isExempt = () => false,
  now = () => performance.now(),
  random = Math.random,
}: TurnstileOptions): Turnstile {
  /** In this turn, by network. */
  const begun = new Map<string, number>()
  let begunOfAll = 0
  /** By network; nobody's line is empty. Whose turn is next is first. */
  const lines = new Map<string, Comer[]>()
  let count = 0
  /** Since when there is no room; undefined: there is. */
  let fullSince: number | undefined
  let floodedUntil = -Infinity
  let isTurning = false
  let isOpen = false

  function turn(): void {
    isTurning = false
    begun.clear()
    begunOfAll = 0
    const now: Comer[] = []
    for (const [network, line] of [...lines]) {
      const some = line.splice(0, Math.min(mostATurn, mostOfAll - now.length))
      if (some.length === 0) break
      now.push(...some)
      begun.set(network, some.length)
      lines.delete(network)
      if (line.length > 0) lines.set(network, line)
    }
    begunOfAll = now.length
    count -= now.length
    if (count <= mostWaiting / 2) fullSince = undefined
    for (const comer of now) comer.begin()
    if (now.length > 0) plan()
  }

  function plan(): void {
    if (isTurning) return
    isTurning = true
    setImmediate(turn)
  }

  function wait(comer: Comer, network: string): void {
    const line = lines.get(network)
    if (line) line.push(comer)
    else lines.set(network, [comer])
    count++
    if (count >= mostWaiting) fullSince ??= now()
  }

  function longestLine(): string {
    let longest = { network: '', length: 0 }
    for (const [network, { length }] of lines) if (length > longest.length) longest = { network, length }
    return longest.network
  }

  /** One of them at random: else the same would be turned away each time. */
  function turnOneAway(network: string): void {
    const line = lines.get(network) ?? []
    const [left] = line.splice(Math.floor(random() * line.length), 1)
    if (line.length === 0) lines.delete(network)
    count--
    left?.turnAway()
  }

  return {
    hasRoom() {
      if (count < mostWaiting) return true
      const at = now()
      if (fullSince !== undefined && at - fullSince >= patienceMs) floodedUntil = at + floodMs
      return at < floodedUntil
    },
    enter(comer) {
      if (isOpen || comer.address === undefined || isExempt(comer.address)) return comer.begin()
      const network = networkOf(comer.address, comer.port)
      const hasBegun = begun.get(network) ?? 0
      if (!lines.has(network) && hasBegun < mostATurn && begunOfAll < mostOfAll) {
        begun.set(network, hasBegun + 1)
        begunOfAll++
        comer.begin()
      } else {
        wait(comer, network)
        if (network === ownNetwork && (lines.get(network)?.length ?? 0) > mostOfOwn) turnOneAway(network)
        else if (count > mostWaiting) turnOneAway(longestLine())
      }
      plan()
    },
    open() {
      isOpen = true
      const all = [...lines.values()].flat()
      lines.clear()
      count = 0
      for (const comer of all) comer.begin()
    },
  }
}
