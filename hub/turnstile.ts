/**
 * How many new connections of one address begin in one turn of the event loop. To take one from the kernel's queue costs little, and what is
 * asked on it costs ten times that; so all are taken at once, and whoever connects without end waits behind himself and not before everybody else.
 *
 * What always holds:
 * 1. Of one network (hub/door.ts), no more than `mostATurn` begin in a turn. The others wait, are not read, and begin in the order in which they came.
 * 2. Nobody waits for another network's.
 *
 * A turn of a hub that has little to do is short: a class behind one address does not notice.
 */
import type { Socket } from 'node:net'
import { networkOf } from './door.ts'

export const mostATurn = 4

export interface Turnstile {
  /** Calls `begin`, now or in a later turn, unless the connection has closed by then. */
  enter(socket: Socket, begin: (socket: Socket) => void): void
}

/** @param isExempt whether an address stands for many */
export function createTurnstile(isExempt: (address: string) => boolean = () => false): Turnstile {
  /** By network. */
  const begun = new Map<string, number>()
  const waiting = new Map<string, Map<Socket, (socket: Socket) => void>>()
  let isTurning = false

  function turn(): void {
    isTurning = false
    begun.clear()
    for (const [network, sockets] of waiting) {
      let left = mostATurn
      for (const [socket, begin] of sockets) {
        sockets.delete(socket)
        if (socket.destroyed) continue
        begin(socket)
        if (--left === 0) break
      }
      begun.set(network, mostATurn - left)
      if (sockets.size === 0) waiting.delete(network)
    }
    if (begun.size > 0) plan()
  }

  function plan(): void {
    if (isTurning) return
    isTurning = true
    setImmediate(turn)
  }

  return {
    enter(socket, begin) {
      const { remoteAddress } = socket
      if (remoteAddress === undefined || isExempt(remoteAddress)) return begin(socket)
      const network = networkOf(remoteAddress)
      const before = waiting.get(network)
      const count = begun.get(network) ?? 0
      if (!before && count < mostATurn) {
        begun.set(network, count + 1)
        begin(socket)
      } else if (before) before.set(socket, begin)
      else waiting.set(network, new Map([[socket, begin]]))
      plan()
    },
  }
}
