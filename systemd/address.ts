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
  /** A second one, at the same address. The service gets its socket after the first. */
  visitPort?: number | undefined
}

/** Writes the drop-in and answers whether it was another. systemd takes it up at a reload and a restart of the unit. */
export function setListenAddress(
  unit: string,
  { address, port, visitPort }: ListenAddress,
  unitFolder = '/etc/systemd/system',
): boolean {
  const folder = join(unitFolder, `${unit}.d`)
  const file = join(folder, 'address.conf')
  const at = (port: number) => (address === '' ? String(port) : `${isIPv6(address) ? `[${address}]` : address}:${port}`)
  const streams = [port, ...(visitPort === undefined ? [] : [visitPort])].map(port => `ListenStream=${at(port)}\n`)
  // An address that comes up later (a network that is slow at boot) is waited for by the kernel, not refused by systemd.
  const origin = '# Written by tljh-ts from http.address, http.port and admins.visit_port.'
  const content = `${origin}\n[Socket]\nListenStream=\n${streams.join('')}FreeBind=yes\n`
  if (read(file) === content) return false
  mkdirSync(folder, { recursive: true })
  // systemd reads nothing that does not end in .conf, so half a file is never taken for one.
  writeFileSync(`${file}.new`, content, { flush: true })
  renameSync(`${file}.new`, file)
  return true
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
