/**
 * Speaks to systemd directly (sd_notify(3)), by the C library's own functions: Node.js has no datagram sockets of the local kind.
 *
 * What always holds: to say something takes no new process and no new descriptor. A service that has used up either would otherwise be
 * killed by its watchdog, though it lives.
 */

/** Of Linux, the same on x86-64 and arm64. */
const AF_UNIX = 1
const SOCK_DGRAM = 2
const SOCK_CLOEXEC = 0x80000
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000

/**
 * Opens what stays open for the life of the process. Undefined where node:ffi, which is experimental, cannot be used.
 * @param path as in $NOTIFY_SOCKET; with `@` first, it is a name in the abstract namespace
 * @returns sends a message, and answers whether it was taken
 */
export function openNotifySocket(path: string): ((message: string) => boolean) | undefined {
  try {
    const { functions } = process.getBuiltinModule('node:ffi').dlopen(null, {
      socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
      sendto: { arguments: ['i32', 'buffer', 'u64', 'i32', 'buffer', 'u32'], return: 'i64' },
    })
    const address = socketAddress(path)
    const descriptor = functions.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    if (descriptor < 0) return undefined
    return message => {
      const bytes = Buffer.from(message)
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL
      return functions.sendto(descriptor, bytes, BigInt(bytes.length), flags, address, address.length) >= 0n
    }
  } catch {
    return undefined
  }
}

/** A `sockaddr_un` (unix(7)). */
function socketAddress(path: string): Buffer {
  const family = Buffer.alloc(2)
  family.writeUInt16LE(AF_UNIX)
  return Buffer.concat([family, Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : path)])
}
