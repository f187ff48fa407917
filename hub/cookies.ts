/**
 * Cookies as they come in, and the names and flags of ours as they go out. (@fastify/cookie writes them.)
 *
 * A browser may send several cookies of one name: a page below `/user/NAME/` can set one that shadows ours. All of
 * them are looked at, so that a false one cannot log anybody out.
 */
import type { IncomingMessage } from 'node:http'
import { toldInFront } from './front-proxies.ts'

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
    name: isSecure ? `__Host-${name}` : name,
    options: { path: isSecure ? '/' : path, httpOnly: true, sameSite: 'lax', secure: isSecure },
  }
}

/** Whether the browser speaks TLS with us, or with the web server in front. */
export function isSecure(request: IncomingMessage): boolean {
  const { socket } = request
  return toldInFront(request)?.isSecure ?? ('encrypted' in socket && socket.encrypted === true)
}

/** The names of our own cookies in a header, which are not for users' servers. */
export function ownCookieNames(header: string | undefined): ReadonlySet<string> {
  return new Set(
    pairs(header)
      .map(nameOf)
      .filter(name => ownName.test(name)),
  )
}

/** The values of the first few cookies called `name`, in the order in which the browser sent them. */
export function cookieValues(header: string | undefined, name: string, most = mostOfOneName): string[] {
  return pairs(header)
    .filter(pair => nameOf(pair) === name)
    .slice(0, most)
    .map(pair => pair.slice(pair.indexOf('=') + 1).trim())
}

/** The header without the cookies called `names`; undefined where nothing is left. */
export function withoutCookies(header: string, names: ReadonlySet<string>): string | undefined {
  return (
    pairs(header)
      .filter(pair => !names.has(nameOf(pair)))
      .join('; ') || undefined
  )
}

/** The header that was read last: a request's is asked for several times. */
let last: { header: string; pairs: readonly string[] } = { header: '', pairs: [''] }

function pairs(header: string | undefined): readonly string[] {
  if (header === undefined) return []
  if (header !== last.header) last = { header, pairs: header.split(';').map(pair => pair.trim()) }
  return last.pairs
}

function nameOf(pair: string): string {
  const equals = pair.indexOf('=')
  return equals < 0 ? '' : pair.slice(0, equals).trimEnd()
}
