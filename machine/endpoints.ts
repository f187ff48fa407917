/**
 * Addresses with ports, at which programs of this machine listen for TCP, and which of them keeps which other from being listened at.
 *
 * What always holds: an address is compared in its shortest form (RFC 5952), so that `0:0::1` and `::1` are the same.
 */
import { readFileSync } from 'node:fs'
import { isIPv6, SocketAddress } from 'node:net'
import { endianness } from 'node:os'

export interface Endpoint {
  /** In its shortest form. Empty: all addresses, of both families where the machine has both. */
  address: string
  port: number
}

/** Below, only root may listen (net.ipv4.ip_unprivileged_port_start). systemd/hold-ports.py has the same number. */
export const firstUnprivileged = 1024

/** The shortest form of an address of either family. Anything else comes back as it is. */
export function shortest(address: string): string {
  // Node.js would leave the zone out.
  if (!isIPv6(address) || address.includes('%')) return address
  return new SocketAddress({ address, family: 'ipv6' }).address
}

/** Of an address of IPv6 the /64, which is what a provider gives one customer. */
export function prefixOf(address: string): string {
  const [front = '', back] = shortest(address.replace(/%.*/, '')).split('::')
  const left = front.split(':').filter(Boolean)
  const right = back?.split(':').filter(Boolean) ?? []
  const zeros = back === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right].slice(0, 4).join(':')
}

/** An address of IPv4 as such, though it comes through a socket for both. */
export function withoutMapping(address: string): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address
}

/** Reads `8080`, `127.0.0.1:8080`, `[::1]:8080` and `*:8080`, as which ss(8) shows `[::]:8080` where it is for both families. Undefined: it is none, such as a path. */
export function readEndpoint(text: string): Endpoint | undefined {
  const [, inBrackets, plain = '', port] = /^(?:(?:\[([^\]/]*)\]|([^:/]*)):)?(\d+)$/.exec(text) ?? []
  const address = inBrackets ?? (plain === '*' ? '::' : plain)
  return port === undefined ? undefined : { address: shortest(address), port: Number(port) }
}

/** As systemd and ss(8) write it. */
export function showEndpoint({ address, port }: Endpoint): string {
  return `${isIPv6(address) ? `[${address}]` : address || '*'}:${port}`
}

export function isSameEndpoint(one: Endpoint, other: Endpoint): boolean {
  return one.port === other.port && one.address === other.address
}

/** Whether a socket at `open` is the one that is wanted. One for all addresses is shown with IPv6, or with IPv4 where the machine has no IPv6. */
export function isOpenFor(wanted: Endpoint, open: Endpoint): boolean {
  if (open.port !== wanted.port) return false
  return open.address === wanted.address || (wanted.address === '' && /^(?:::|0\.0\.0\.0)$/.test(open.address))
}

/**
 * Whether a program at one of them keeps others from listening at the other. All addresses of IPv6 are taken for those of IPv4, too:
 * the kernel's table does not say whether a program has asked for IPv6 alone.
 */
export function isInTheWay(one: Endpoint, other: Endpoint): boolean {
  if (one.port !== other.port) return false
  const first = withoutMapping(one.address)
  const second = withoutMapping(other.address)
  return first === second || isAmong(first, second) || isAmong(second, first)
}

/** Who of those keeps the hub from listening there. From 1024 on, it takes a port only where nobody has it at any address (systemd/hold-ports.py). */
export function obstacleTo<Other extends Endpoint>(wanted: Endpoint, others: readonly Other[]): Other | undefined {
  const obstacles = others.filter(other => other.port === wanted.port)
  const inTheWay = obstacles.find(other => isInTheWay(wanted, other))
  return inTheWay ?? (wanted.port >= firstUnprivileged ? obstacles[0] : undefined)
}

/** Where somebody listens, on the network of this process. */
export function listeners(): Endpoint[] {
  // A service that sees nothing of /proc but processes (ProcSubset=pid) still sees these.
  return ['/proc/self/net/tcp', '/proc/self/net/tcp6'].flatMap(file => listenersIn(read(file)))
}

/** The machine's own addresses, as the network of this process has them. */
export function ownAddresses(): Set<string> {
  return ownAddressesIn(read('/proc/self/net/fib_trie'), read('/proc/self/net/if_inet6'))
}

/** From the kernel's routes of IPv4, of which those to the machine itself are marked, and its list of addresses of IPv6, in hexadecimal. */
export function ownAddressesIn(routes: string, list: string): Set<string> {
  const four = [...routes.matchAll(/\|-- (\S+)\n\s+\/32 host LOCAL/g)].map(([, address = '']) => address)
  const six = [...list.matchAll(/^([\da-f]{32}) /gm)].map(([, hex = '']) => shortest(hex.replace(/.{4}(?=.)/g, '$&:')))
  return new Set([...four, ...six])
}

/** From proc_net_tcp(5): the second column is the local address and port in hexadecimal, the fourth 0A where it listens. */
export function listenersIn(table: string): Endpoint[] {
  return table.split('\n').flatMap(line => {
    const [, local = '', , state] = line.trim().split(/\s+/)
    const [address = '', port = ''] = local.split(':')
    return state === '0A' ? [{ address: addressIn(address), port: Number.parseInt(port, 16) }] : []
  })
}

/** Whether `all` is all addresses of a family that `one` is of. */
function isAmong(one: string, all: string): boolean {
  return all === '' || all === '::' || (all === '0.0.0.0' && !isIPv6(one))
}

/** Each eight digits are four bytes, in the order of this machine. */
function addressIn(hex: string): string {
  const words = hex.match(/.{8}/g) ?? []
  const bytes = words.flatMap(word => {
    const four = [...Buffer.from(word, 'hex')]
    return endianness() === 'LE' ? four.reverse() : four
  })
  if (bytes.length === 4) return bytes.join('.')
  return shortest(
    Buffer.from(bytes)
      .toString('hex')
      .replace(/.{4}(?=.)/g, '$&:'),
  )
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // A machine without IPv6 has no table of it.
    return ''
  }
}
