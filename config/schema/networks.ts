/** Addresses, networks and origins as people write them. */
import { isIP, isIPv4 } from 'node:net'
import { shortest } from '../../machine/endpoints.ts'

/** Of one address, or of many: those that have the first `prefix` bits in common. */
export interface Network {
  /** In its shortest form. */
  address: string
  prefix: number
  family: 'ipv4' | 'ipv6'
}

/** Reads `192.0.2.7`, `10.1.0.0/16` or `2001:db8::/32`. A network of all addresses is none. */
export function readNetwork(text: string): Network | undefined {
  const [, address = '', bits] = /^([0-9a-f.:]+)(?:\/(\d{1,3}))?$/i.exec(text) ?? []
  if (isIP(address) === 0) return undefined
  const family = isIPv4(address) ? 'ipv4' : 'ipv6'
  const longest = family === 'ipv4' ? 32 : 128
  const prefix = bits === undefined ? longest : Number(bits)
  return prefix >= 1 && prefix <= longest ? { address: shortest(address), prefix, family } : undefined
}

/** Where a web server of this machine reaches the hub, and no user's program does. */
export const frontSocket = 'unix:/run/tljh/front.sock'
/** Debian's and Ubuntu's web servers run in it. */
export const usualSocketGroup = 'www-data'

export function isLoopback({ address, prefix, family }: Network): boolean {
  return family === 'ipv4' ? address.startsWith('127.') && prefix >= 8 : address === '::1' && prefix === 128
}

/** Reads `https://hub.example.org`, with a port or without, and gives it without a slash at the end. */
export function readOrigin(text: string): string | undefined {
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol) || url.host === '') return undefined
  return url.href === `${url.origin}/` ? url.origin : undefined
}
