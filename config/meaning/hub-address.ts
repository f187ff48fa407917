/** Where the hub is to be found by a browser, as far as this machine can tell. */
import { randomInt } from 'node:crypto'
import { hostname } from 'node:os'
import { firstUnprivileged } from '../../machine/endpoints.ts'
import { runProgram } from '../../machine/run-program.ts'
import type { Config, Listening } from './config.ts'

/** Ends with a slash. The machine's first address, where the configuration names none. */
export async function hubAddress(
  config: Pick<Config, 'baseUrl' | 'http' | 'https' | 'userDomains' | 'publicUrl'>,
): Promise<string> {
  const { baseUrl, http, https, userDomains, publicUrl } = config
  if (publicUrl) return `${publicUrl}${baseUrl}`
  const { address, port } = http.tls ?? http
  const host = userDomains || (http.tls && https.letsencrypt?.domains[0]) || address || (await ownAddress())
  const usualPort = http.tls ? 443 : 80
  return `http${http.tls ? 's' : ''}://${host}${port === usualPort ? '' : `:${port}`}${baseUrl}`
}

async function ownAddress(): Promise<string> {
  const { stdout } = await runProgram('hostname', ['--all-ip-addresses'])
  return stdout.split(' ')[0]?.trim() || hostname()
}

export type FromHere = { socketPath: string } | { host: string; port: number; localPort?: number }

/** Where a program of this machine reaches the hub without TLS, as node:http takes it. */
export function fromHere({ address, port, socket }: Listening): FromHere {
  return socket ? { socketPath: socket.path } : { host: hostFromHere(address), port, ...portOfRoot() }
}

/** Only root can come from there. The hub tells by it root's programs from those of students, who may flood it (hub/bounds/door.ts). */
function portOfRoot(): { localPort?: number } {
  return process.getuid?.() === 0 ? { localPort: randomInt(600, firstUnprivileged) } : {}
}

/** The same, for people. */
export function placeFromHere(http: Listening): string {
  const place = fromHere(http)
  if ('socketPath' in place) return place.socketPath
  return `${place.host.includes(':') ? `[${place.host}]` : place.host}:${place.port}`
}

/** Where a program of this machine reaches what listens on `address`. */
export function hostFromHere(address: string): string {
  return address === '' || address === '0.0.0.0' || address === '::' ? '127.0.0.1' : address
}

/** The page on which somebody with a one-time code chooses a password. */
export function welcomeLink(address: string, user: string, code: string): string {
  return `${address}hub/welcome?${new URLSearchParams({ user, code })}`
}
