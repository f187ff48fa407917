/**
 * What web servers between the browser and the hub say of a request: from where it came, whether by https, and to which name. Pure; whose
 * word counts is decided in hub/front-proxy/trust.ts.
 *
 * The lists grow at their ends: each web server adds what it has seen itself, and leaves what it was told in front of that. So they are
 * read from the end, as long as the one that is named there is to be believed itself; whatever stands before that
 * could be anybody's invention. What makes no sense is the end of what is known, never an error.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { isIP, isIPv4, SocketAddress } from 'node:net'

export interface Told {
  /** Where the browser is; where nobody says that, the last that is known. */
  address: string
  /** Whether an address was told at all. */
  hasAddress: boolean
  /** Undefined: nothing is said. */
  isSecure: boolean | undefined
  /** With a port, or without. Undefined: nothing is said. */
  host: string | undefined
}

/** One web server's word on whom it had before it. */
interface Hop {
  address: string | undefined
  protocol: string | undefined
  host: string | undefined
}

export interface Source {
  /** Which of the two kinds of headers counts. */
  kind: 'x-forwarded' | 'forwarded'
  /** Whom the request comes from directly: it is believed. */
  peer: string
  isTrusted(address: string): boolean
}

export function readForwarded(headers: IncomingHttpHeaders, { kind, peer, isTrusted }: Source): Told {
  const hops = kind === 'forwarded' ? standardHops(headers) : usualHops(headers)
  let address = peer
  let told: Hop = { address: undefined, protocol: undefined, host: undefined }
  for (const hop of hops) {
    told = hop
    if (hop.address === undefined) break
    address = hop.address
    if (!isTrusted(address)) break
  }
  const { protocol, host } =
    kind === 'forwarded' ? told : { protocol: last(headers, 'proto'), host: last(headers, 'host') }
  return {
    address,
    hasAddress: address !== peer || told.address !== undefined,
    isSecure: readProtocol(protocol),
    host: host !== undefined && /^(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i.test(host) ? host : undefined,
  }
}

/** An address as Node.js writes it, without a port, a zone and IPv6's way of writing IPv4; undefined for everything else. */
export function readAddress(text: string): string | undefined {
  const [, inBrackets, plain] = /^(?:\[([^\]]*)\]|(\d{1,3}(?:\.\d{1,3}){3}))(?::\w{1,6})?$/.exec(text) ?? []
  const written = inBrackets ?? plain ?? text
  if (isIP(written) === 0 || written.includes('%')) return undefined
  if (isIPv4(written)) return written
  return new SocketAddress({ address: written, family: 'ipv6' }).address.replace(/^::ffff:(?=\d+\.)/, '')
}

/** The nearest first. */
function* usualHops(headers: IncomingHttpHeaders): Iterable<Hop> {
  const text = joined(headers, 'x-forwarded-for')
  if (text === undefined) return
  for (const part of fromTheEnd(text, ',')) {
    yield { address: readAddress(part.trim()), protocol: undefined, host: undefined }
  }
}

/** RFC 7239. The nearest first. */
function* standardHops(headers: IncomingHttpHeaders): Iterable<Hop> {
  const text = joined(headers, 'forwarded')
  if (text === undefined) return
  for (const element of fromTheEnd(text, ',')) {
    const pairs = new Map<string, string>()
    for (const pair of fromTheEnd(element, ';')) {
      const [, name = '', quoted, token] = /^\s*([\w-]+)=(?:"(.*)"|([^\s"]*))\s*$/.exec(pair) ?? []
      pairs.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? token ?? '')
    }
    yield { address: readAddress(pairs.get('for') ?? ''), protocol: pairs.get('proto'), host: pairs.get('host') }
  }
}

/**
 * The pieces between separators that are not in quotes, the last one first. Counted from the end, so that a quote which somebody opened further
 * in front, and never closed, swallows nothing that was added behind it.
 */
function* fromTheEnd(text: string, separator: string): Iterable<string> {
  let end = text.length
  let isQuoted = false
  for (let at = text.length - 1; at >= 0; at--) {
    if (text[at] === '"') isQuoted = !isQuoted
    if (isQuoted || text[at] !== separator) continue
    yield text.slice(at + 1, end)
    end = at
  }
  yield text.slice(0, end)
}

/** Of these, web servers in a row say the same, or the nearest adds its own. */
function last(headers: IncomingHttpHeaders, what: 'proto' | 'host'): string | undefined {
  return joined(headers, `x-forwarded-${what}`)?.split(',').at(-1)?.trim()
}

function readProtocol(text: string | undefined): boolean | undefined {
  if (text === undefined || !/^https?$/i.test(text)) return undefined
  return text.length === 'https'.length
}

/** Node.js joins repeated headers of these names by commas. */
function joined(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : value?.join(',')
}
