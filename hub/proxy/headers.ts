/**
 * What passes between a browser and a user's server, and what does not.
 *
 * Towards the server: it believes `X-Tljh-User` and `X-Forwarded-*`, so those are always ours and never the browser's;
 * and the server runs its user's code, so it never sees the hub's cookies. Towards the browser: all users share one
 * origin, so a server may set nothing that reaches beyond its own `/user/NAME/`.
 *
 * Header lists are Node's `rawHeaders`: name, value, name, value, as they were sent.
 */
import type { UserName } from '../../config/users/names.ts'
import { withoutOwnCookies } from '../web/cookies.ts'
import { detached } from '../web/detached-string.ts'

/** RFC 9110 section 7.6.1: these speak of one connection. So does whatever `Connection` names. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** What `Connection` may not name: without these the rest of the request would mean something else. */
const endToEnd = new Set(['content-length', 'content-type', 'cookie', 'host', 'origin', 'authorization', 'set-cookie'])

/** Ours to say. `expect` has been answered by Node.js when a request gets here. */
const fromHubAlone = /^(?:x-tljh-.*|x-forwarded-.*|forwarded|x-real-ip|x-scheme|x-scheme-.*|expect)$/

/** These speak for the whole origin, or could. */
const originWide = new Set([
  'alt-svc',
  'clear-site-data',
  'nel',
  'public-key-pins',
  'report-to',
  // Without it a worker reaches no further than the folder of its script.
  'service-worker-allowed',
  'strict-transport-security',
])

/**
 * Orders to a web server in front, which answers with a file of its own, asks elsewhere, or keeps the answer for others: nginx's,
 * Apache's and lighttpd's, LiteSpeed's, Perlbal's, and those of caches (Edge Architecture Specification, RFC 9213).
 */
const forWebServer = /^(?:x-(?:accel|lighttpd|litespeed|reproxy)-.*|x-sendfile.*|surrogate-.*|cdn-cache-control)$/

export interface Forwarded {
  /** Who asks. */
  user: UserName
  /** The browser's address. */
  address: string
  protocol: 'http' | 'https'
}

/** What becomes of a header, by its name. */
type Fate = 'dropped' | 'cookie' | 'upgrade' | 'kept'

/**
 * The headers of a request, as the user's server gets them. An upgrade keeps `Connection: Upgrade`; how a body is cut into chunks is
 * said by who sends it.
 */
export function requestHeaders(raw: readonly string[], forwarded: Forwarded, isUpgrade = false): string[] {
  const named = namedByConnection(raw)
  const out: string[] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
    const fate = requestFates.of(name)
    if (fate === 'upgrade') {
      if (isUpgrade) out.push('Connection', 'Upgrade', name, value)
    } else if (fate === 'dropped' || named?.has(name.toLowerCase())) {
      // Nobody hears of it.
    } else if (fate === 'cookie') {
      const kept = withoutOwnCookies(value)
      if (kept !== undefined) out.push(name, kept)
    } else {
      out.push(name, value)
    }
  }
  // Names are ASCII by config/users/names.ts; Tornado reads X-Forwarded-* where trust_xheaders is set.
  out.push('X-Forwarded-For', forwarded.address, 'X-Forwarded-Proto', forwarded.protocol)
  out.push('X-Tljh-User', encodeURIComponent(forwarded.user))
  return out
}

const requestFates = fates(key => {
  if (key === 'upgrade' || key === 'cookie') return key
  return hopByHop.has(key) || fromHubAlone.test(asInCgi(key)) ? 'dropped' : 'kept'
})

const answerFates = fates(key => {
  if (key === 'upgrade') return key
  if (key === 'set-cookie') return 'cookie'
  return hopByHop.has(key) || originWide.has(key) || isForWebServer(key) ? 'dropped' : 'kept'
})

function isForWebServer(key: string): boolean {
  return forWebServer.test(asInCgi(key))
}

/** Programs may be told of headers as CGI tells of them, where `_` and `-` are the same. */
function asInCgi(key: string): string {
  return key.replaceAll('_', '-')
}

const mostFates = 1_000
const longestName = 64

/** Known by the name as it was written: the same few come again and again. */
function fates(find: (key: string) => Fate): { of(name: string): Fate } {
  const known = new Map<string, Fate>()
  return {
    of(name) {
      const found = known.get(name)
      if (found) return found
      const fate = find(name.toLowerCase())
      // Strangers may think up names for ever.
      if (known.size >= mostFates) known.clear()
      if (name.length <= longestName) known.set(detached(name), fate)
      return fate
    },
  }
}

/** The headers of an answer of the server below `prefix` (`/user/NAME/`), as the browser gets them. */
export function responseHeaders(raw: readonly string[], prefix: string, isUpgrade = false): string[] {
  const named = namedByConnection(raw)
  const out: string[] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
    const fate = answerFates.of(name)
    if (fate === 'upgrade') {
      if (isUpgrade) out.push('Connection', 'Upgrade', name, value)
    } else if (fate === 'dropped' || named?.has(name.toLowerCase())) {
      // Nobody hears of it.
    } else if (fate === 'cookie') {
      out.push(name, confinedCookie(value, prefix))
    } else {
      out.push(name, value)
    }
  }
  return out
}

/** What an answer says after its body, as the browser gets it: nothing that means something for more than this answer. */
export function trailers(raw: readonly string[]): [string, string][] {
  const kept: [string, string][] = []
  for (const [name, value] of pairs(raw)) {
    const key = name.toLowerCase()
    const isForHead = hopByHop.has(key) || originWide.has(key) || isForWebServer(key) || endToEnd.has(key)
    if (!isForHead && !/^(?:content|access-control|cross-origin)-/.test(key)) kept.push([name, value])
  }
  return kept
}

/** The cookie, for `prefix` and nothing above: without a domain, and with a path that the server may set. */
function confinedCookie(cookie: string, prefix: string): string {
  const [pair = '', ...attributes] = cookie.split(';')
  const kept = [pair]
  let path = ''
  for (const attribute of attributes) {
    // By hand: with many spaces in it, an expression would look for their end again and again.
    const equals = attribute.indexOf('=')
    const name = (equals < 0 ? attribute : attribute.slice(0, equals)).trim().toLowerCase()
    // Browsers obey the last of several.
    if (name === 'path') path = equals < 0 ? path : attribute.slice(equals + 1).trim()
    else if (name !== 'domain') kept.push(attribute)
  }
  return [...kept, ` Path=${path.startsWith(prefix) ? path : prefix}`].join(';')
}

/** Undefined where nothing is named that means anything. */
function namedByConnection(raw: readonly string[]): Set<string> | undefined {
  let named: Set<string> | undefined
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue
    for (const token of value.split(',').map(text => text.trim().toLowerCase())) {
      if (endToEnd.has(token) || hopByHop.has(token)) continue
      named ??= new Set()
      named.add(token)
    }
  }
  return named
}

function* pairs(raw: readonly string[]): Iterable<[string, string]> {
  for (let index = 0; index + 1 < raw.length; index += 2) yield [raw[index] ?? '', raw[index + 1] ?? '']
}
