/**
 * Takes connections out of the kernel's queue of a listening socket, by accept4(2). libuv takes one in each turn of the event loop; behind a
 * program that connects without end, everybody else would wait in the queue for hundreds of turns, and longer where it is full: the kernel
 * throws away who comes then, and they come again after a second.
 */
import { closeSync } from 'node:fs'
import { Socket } from 'node:net'
import { shortest } from '../machine/endpoints.ts'

export interface Arrival {
  descriptor: number
  /** Undefined: it is a unix socket. */
  address: string | undefined
  port: number | undefined
}

/** Of Linux, the same on x86-64 and arm64. */
const AF_INET = 2
const AF_INET6 = 10
const SOCK_NONBLOCK = 0x800
const SOCK_CLOEXEC = 0x80000
/** Of a sockaddr_in6. One of a unix socket is cut. */
const addressBytes = 28

const address = Buffer.alloc(addressBytes)
const length = Buffer.alloc(4)

/** Answers who is next, or that nobody waits. Undefined where node:ffi, which is experimental, cannot be used. */
export function openQueue(listening: number): (() => Arrival | undefined) | undefined {
  try {
    const { functions } = process
      .getBuiltinModule('node:ffi')
      .dlopen(null, { accept4: { arguments: ['i32', 'buffer', 'buffer', 'i32'], return: 'i32' } })
    return () => {
      length.writeInt32LE(addressBytes)
      const descriptor = functions.accept4(listening, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC)
      return descriptor < 0 ? undefined : { descriptor, ...readAddress(address) }
    }
  } catch {
    return undefined
  }
}

/** As node:net makes it of what it has taken itself. */
export function asSocket({ descriptor }: Arrival, allowHalfOpen: boolean): Socket | undefined {
  try {
    const socket = new Socket({ fd: descriptor, allowHalfOpen, readable: true, writable: true })
    socket.setNoDelay(true)
    return socket
  } catch {
    turnAway({ descriptor })
    return undefined
  }
}

/** Whoever has sent something is told that the connection is reset. */
export function turnAway({ descriptor }: Pick<Arrival, 'descriptor'>): void {
  try {
    closeSync(descriptor)
  } catch {
    // What went wrong on it before is told here, and it is closed all the same.
  }
}

/** From a sockaddr (ip(7), ipv6(7)), whose family is in the machine's order; both machines of ours have the lower byte first. */
export function readAddress(bytes: Buffer): Omit<Arrival, 'descriptor'> {
  const family = bytes.readUInt16LE(0)
  const port = bytes.readUInt16BE(2)
  if (family === AF_INET) return { address: bytes.subarray(4, 8).join('.'), port }
  if (family !== AF_INET6) return { address: undefined, port: undefined }
  const isMapped = bytes.subarray(8, 18).every(byte => byte === 0) && bytes.readUInt16BE(18) === 0xffff
  if (isMapped) return { address: bytes.subarray(20, 24).join('.'), port }
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(8 + 2 * index).toString(16))
  return { address: shortest(groups.join(':')), port }
}
