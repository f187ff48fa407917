/**
 * How many connections there are at a time: as many as the hub has descriptors for, with a reserve for its own work, and not all of them for
 * one address. Without that, one student's program takes all, from 127.0.0.1, which no firewall looks at.
 *
 * What always holds:
 * 1. There are never more than `most`, nor more than `mostEach` of one address. All addresses of the machine are one, and so is an IPv6 /64.
 * 2. Whoever comes when it is full is let in, and the oldest connection of that address on which nothing is asked, nor was just now, is ended. So a class behind
 *    one address gets in, though somebody there holds thousands of silent connections.
 * 3. Only where all are busy is somebody turned away.
 *
 * A web server in front, and whoever comes by a unix socket, is no address: all the browsers come from there.
 */
import { readFileSync } from 'node:fs'
import { isIPv4, type Socket } from 'node:net'
import { firstUnprivileged, ownAddresses, prefixOf, shortest, withoutMapping } from '../../machine/endpoints.ts'
import { briefMemo } from '../web/brief-memo.ts'

export interface DoorOptions {
  most: number
  mostEach: number
  /** Whether nothing is lost with a connection. */
  isIdle(socket: Socket): boolean
  /** Whether an address stands for many. */
  isExempt?(address: string): boolean
}

export interface Door {
  /** Counts a connection until it closes, once however often it is asked. False: it is turned away, and was not counted. */
  admit(socket: Socket): boolean
}

/** Of those that are looked at for one that is idle; the others have their turn the next time. */
const mostLooks = 64
/** Descriptors for the database, the spawner, certificates, and what else the hub opens by itself. */
const reserve = 512
/** One to the browser, one to the user's server. */
const descriptorsEach = 2

/** As many as this process may have. A machine may give less than the unit asks for. */
export function mostConnections(limits = readFileSync('/proc/self/limits', 'utf8')): number {
  const descriptors = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? 1024)
  return Math.floor((descriptors - Math.min(reserve, descriptors / 4)) / descriptorsEach)
}

export function createDoor({ most, mostEach, isIdle, isExempt = () => false }: DoorOptions): Door {
  /** In the order in which they came, but for those that were looked at meanwhile. */
  const all = new Set<Socket>()
  const byNetwork = new Map<string, Set<Socket>>()
  const networks = new WeakMap<Socket, string>()

  function makeRoom(among: Set<Socket>): boolean {
    let looks = 0
    for (const socket of among) {
      if (++looks > mostLooks) return false
      if (isIdle(socket)) {
        leave(socket)
        socket.destroy()
        return true
      }
      among.delete(socket)
      among.add(socket)
    }
    return false
  }

  function leave(socket: Socket): void {
    if (!all.delete(socket)) return
    const network = networks.get(socket)
    if (network === undefined) return
    const same = byNetwork.get(network)
    same?.delete(socket)
    if (same?.size === 0) byNetwork.delete(network)
  }

  return {
    admit(socket) {
      if (all.has(socket)) return true
      const { remoteAddress, remotePort } = socket
      const isOfMany = remoteAddress === undefined || isExempt(remoteAddress)
      const network = isOfMany ? undefined : networkOf(remoteAddress, remotePort)
      const same = network === undefined ? undefined : byNetwork.get(network)
      if (same && same.size >= mostEach && !makeRoom(same)) return false
      if (all.size >= most && !(same && makeRoom(same)) && !makeRoom(all)) return false
      all.add(socket)
      if (network !== undefined) {
        networks.set(socket, network)
        byNetwork.set(network, (byNetwork.get(network) ?? new Set()).add(socket))
      }
      socket.once('close', () => leave(socket))
      return true
    },
  }
}

/** An address that is taken off a machine, or comes to it, counts so soon. */
const ownForMs = 2_000
export const ownNetwork = 'loopback'
const own = briefMemo(ownAddresses, ownForMs)

/**
 * What counts as one address. A provider gives each customer 2^64 of IPv6, and every machine has 2^24 of its own and some more. Only root has
 * ports below 1024: programs of root's on this machine are told apart from those of students by the one from which they come.
 */
export function networkOf(address: string, port?: number): string {
  const plain = withoutMapping(shortest(address.replace(/%.*/, '')))
  if (plain.startsWith('127.') || own.get().has(plain)) {
    return port !== undefined && port > 0 && port < firstUnprivileged ? 'root' : ownNetwork
  }
  return isIPv4(plain) ? plain : prefixOf(plain)
}
