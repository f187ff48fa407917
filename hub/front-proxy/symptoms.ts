/**
 * What is amiss with what a web server in front of the hub says, or does not say: seen by the pages that people ask for, and told in words.
 * Pure. Programs (checks of the health, scripts of this machine) are no sign of anything.
 */
import type { IncomingMessage } from 'node:http'
import type { ProblemText } from '../../problem.ts'
import type { Told } from './forwarded-headers.ts'

export type Amiss = 'no-address' | 'no-protocol' | 'no-host' | 'not-trusted' | 'mode'

export interface Seen {
  /** The kind of headers that counts; undefined where nothing is believed. */
  mode: 'x-forwarded' | 'forwarded' | undefined
  peer: string
  /** What is believed of it. */
  told: Told | undefined
}

/** Whether it is a person's request for a page. */
export function mayBeAmiss({ method, headers }: IncomingMessage): boolean {
  return method === 'GET' && headers.accept?.includes('text/html') === true
}

/** `nothing`: a page came as it should. Undefined: the request tells nothing about that. */
export function amissWith(request: IncomingMessage, { mode, peer, told }: Seen): Amiss | 'nothing' | undefined {
  if (!mayBeAmiss(request)) return undefined
  const { headers, socket } = request
  if (!told) {
    if (headers['x-forwarded-for'] === undefined && headers.forwarded === undefined) return undefined
    if (mode) return 'not-trusted'
    return isLoopback(peer) ? 'mode' : undefined
  }
  if (!told.hasAddress) return 'no-address'
  const host = headers.host ?? ''
  const name = host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  // Browsers say these over https alone, and to their own machine.
  const isSafe = headers['sec-fetch-site'] !== undefined && !isLoopback(name) && name !== 'localhost'
  if (told.isSecure === undefined && isSafe) return 'no-protocol'
  const isPassedOn = told.host === undefined && isLoopback(name) && host.endsWith(`:${socket.localPort}`)
  return isPassedOn && !isLoopback(told.address) ? 'no-host' : 'nothing'
}

export function problemWith(
  amiss: Amiss,
  { peer, headers }: { peer: string; headers: 'x-forwarded' | 'forwarded' },
): ProblemText {
  const names = headers === 'forwarded' ? forwarded : xForwarded
  const front = `The web server in front of the hub (${peer})`
  const fix = `Add what is missing to the configuration of that web server; docs/behind-proxy.md has a whole one for nginx, Caddy and Apache`
  switch (amiss) {
    case 'no-address':
      return {
        what: `${front} does not say where browsers are`,
        why: `there is no address in ${names.address}, so the audit log, and the brake on guessed passwords, take everybody for one`,
        fix,
      }
    case 'no-protocol':
      return {
        what: `${front} does not say whether browsers come by https`,
        why: `it sends no ${names.protocol}, so cookies are not kept to https, and links lead to http`,
        fix,
      }
    case 'no-host':
      return {
        what: `${front} does not say which name browsers ask for`,
        why: `Host is the hub’s own address, and there is no ${names.host}, so forms and notebooks are refused as another site’s`,
        fix,
      }
    case 'not-trusted':
      return {
        what: `A request from ${peer} says that it is passed on, and is not believed`,
        why: `http.trusted_proxies does not name ${peer}`,
        fix: 'If that is your web server: sudo tljh-ts config add-item http.trusted_proxies, with its address',
      }
    case 'mode':
      return {
        what: 'A web server of this machine seems to stand in front of the hub, and is not believed',
        why: 'http.mode is direct, so everybody counts as coming from this machine, and without https',
        fix: 'Set it, as docs/behind-proxy.md says: sudo tljh-ts config set http.mode behind-proxy',
      }
  }
}

const xForwarded = { address: 'X-Forwarded-For', protocol: 'X-Forwarded-Proto', host: 'X-Forwarded-Host' }
const forwarded = { address: 'Forwarded (for=)', protocol: 'Forwarded with proto=', host: 'Forwarded with host=' }

function isLoopback(text: string): boolean {
  return text.startsWith('127.') || text === '::1'
}
