/**
 * Cookies as they come in, and the names and flags of ours as they go out. (@fastify/cookie writes them.)
 *
 * A browser may send several cookies of one name: a page below `/user/NAME/` can set one that shadows ours. All of
 * them are looked at, so that a false one cannot log anybody out.
 */
import type { IncomingMessage } from 'node:http'
import { toldInFront } from '../front-proxy/trust.ts'

/** A browser sends one for each path that fits; each costs a look, and a stranger may send thousands. */
const mostOfOneName = 4

/** Every cookie of ours but `_xsrf`, which is JupyterHub's name. Browsers send the second kind to the one host that set it. */
const ownName = /^(?:__Host-)?tljh-/

export interface OwnCookie {
  name: string
  options: { path: string; httpOnly: true; sameSite: 'lax'; secure: boolean }
}

/**
 * The name and the flags of a cookie of ours called `name`. Over TLS, `__Host-` keeps the pages of other hosts from setting one of that
 * name; it wants the whole host as the path.
 */
export function ownCookie(name: string, { path, isSecure }: { path: string; isSecure: boolean }): OwnCookie {
  return {
    name: ownCookieName(name, isSecure),
    options: { path: isSecure ? '/' : path, httpOnly: true, sameSite: 'lax', secure: isSecure },
  }
}

export function ownCookieName(name: string, isSecure: boolean): string {
  return isSecure ? `__Host-${name}` : name
}

/** Whether the browser speaks TLS with us, or with the web server in front. */
export function isSecure(request: IncomingMessage): boolean {
  const { socket } = request
  return toldInFront(request)?.isSecure ?? ('encrypted' in socket && socket.encrypted === true)
}

/** The values of the first few cookies called `name`, in the order in which the browser sent them. */
export function cookieValues(header: string | undefined, name: string, most = mostOfOneName): string[] {
  const values: string[] = []
  for (const cookie of read(header).cookies) {
    if (cookie.name !== name) continue
    values.push(cookie.value)
    if (values.length === most) break
  }
  return values
}

/** The header without our own cookies, which are not for users' servers; undefined where nothing is left. */
export function withoutOwnCookies(header: string): string | undefined {
  return read(header).others
}

interface Read {
  cookies: readonly { name: string; value: string }[]
  /** The header without our own. */
  others: string | undefined
}

const nothing: Read = { cookies: [], others: undefined }

/** By header: a browser sends the same with each of its requests, which are asked for it several times. */
const known = new Map<string, Read>()
const mostKnown = 200
const longestKnown = 2048

function read(header: string | undefined): Read {
  if (header === undefined) return nothing
  const before = known.get(header)
  if (before) return before
  const pairs = header.split(';').map(pair => pair.trim())
  const found: Read = {
    cookies: pairs.map(pair => ({ name: nameOf(pair), value: pair.slice(pair.indexOf('=') + 1).trim() })),
    // Not `_xsrf`: the hub's is for `hub/` alone, and Jupyter has its own of that name.
    others: pairs.filter(pair => !ownName.test(nameOf(pair))).join('; ') || undefined,
  }
  if (known.size >= mostKnown) known.clear()
  if (header.length <= longestKnown) known.set(header, found)
  return found
}

function nameOf(pair: string): string {
  const equals = pair.indexOf('=')
  return equals < 0 ? '' : pair.slice(0, equals).trimEnd()
}
