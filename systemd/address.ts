/**
 * Where a socket unit of ours listens: a drop-in beside it, because the unit itself belongs to the release.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'

export interface ListenAddress {
  /** Empty: all addresses, of both families. */
  address: string
  port: number
  /** Where it listens with TLS. */
  tls?: { address: string; port: number } | undefined
  /** One more, at the address of the one with TLS, if there is one, or the first. The service gets the sockets in this order, and those that are not set are not there. */
  visitPort?: number | undefined
}

/** Writes the drop-in and answers whether it was another. systemd takes it up at a reload and a restart of the unit. */
export function setListenAddress(
  unit: string,
  { address, port, tls, visitPort }: ListenAddress,
  unitFolder = '/etc/systemd/system',
): boolean {
  const folder = join(unitFolder, `${unit}.d`)
  const file = join(folder, 'address.conf')
  const places = [
    { address, port },
    ...(tls ? [tls] : []),
    ...(visitPort === undefined ? [] : [{ address: tls ? tls.address : address, port: visitPort }]),
  ]
  const streams = places.map(place => `ListenStream=${written(place)}\n`)
  // An address that comes up later (a network that is slow at boot) is waited for by the kernel, not refused by systemd.
  const origin = `# Written by tljh-ts from http.address, http.port${tls ? ', https.address, https.port' : ''} and admins.visit_port.`
  const content = `${origin}\n[Socket]\nListenStream=\n${streams.join('')}FreeBind=yes\n`
  if (read(file) === content) return false
  mkdirSync(folder, { recursive: true })
  // systemd reads nothing that does not end in .conf, so half a file is never taken for one.
  writeFileSync(`${file}.new`, content, { flush: true })
  renameSync(`${file}.new`, file)
  return true
}

function written({ address, port }: { address: string; port: number }): string {
  return address === '' ? String(port) : `${isIPv6(address) ? `[${address}]` : address}:${port}`
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
