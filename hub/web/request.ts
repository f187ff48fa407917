/** What a request says of itself: from where, and by what kind of page it was sent. */
import type { IncomingMessage } from 'node:http'
import { peerOf, toldInFront } from '../front-proxy/trust.ts'

/** Where the browser is: where the request comes from, or where a web server in front says that it comes from. */
export function addressOf(request: IncomingMessage): string {
  return toldInFront(request)?.address ?? peerOf(request)
}

/**
 * Whether a page of ours sent this request, as far as a browser tells. Programs send no `Origin`, and browsers leave it
 * out of navigations and of reading requests to one's own origin. Another port or another user's host is the same site to
 * browsers, and another origin all the same.
 */
export function isSameOrigin({ headers }: IncomingMessage): boolean {
  const site = headers['sec-fetch-site']
  const { origin, host } = headers
  if (origin === undefined) return site === undefined || site === 'same-origin' || site === 'none'
  if (host === undefined) return false
  // As nearly every page of ours says it.
  return origin === `http://${host}` || origin === `https://${host}` || URL.parse(origin)?.host === host.toLowerCase()
}

/**
 * Whether a page of ours, or the person at the browser, led here. Over plain http browsers do not say so outright: then
 * only the address of the page tells, which no other page can forge. Whoever hides it is taken for a stranger.
 */
export function isOwnLink(request: IncomingMessage): boolean {
  const site = request.headers['sec-fetch-site']
  return site === undefined ? isFromHere(request) : site === 'same-origin' || site === 'none'
}

/** Whether a page of this very host and port led here, by way of other hosts of ours or directly. */
export function isFromHere({ headers }: IncomingMessage): boolean {
  return headers.host !== undefined && URL.parse(headers.referer ?? '')?.host === headers.host.toLowerCase()
}

/**
 * Whether a person sees the answer as a page of its own: not a script's request, an image or a frame. Browsers say so
 * outright where the connection is safe (https, localhost), and elsewhere only by what they accept.
 */
export function isNavigation({ headers }: IncomingMessage): boolean {
  const { 'sec-fetch-mode': mode, 'sec-fetch-dest': destination, accept } = headers
  if (mode !== undefined) return mode === 'navigate' && destination === 'document'
  return accept?.includes('text/html') ?? false
}

/**
 * Where `next`, which came with a request, may lead: a path of ours, or nowhere (''). Browsers read backslashes as
 * slashes and drop control characters, so the URL is parsed as they do. What the parser made of it is what is used, unless it left the path
 * as it is: then the query stays byte for byte, because programs behind it may tell %27 from an apostrophe.
 */
export function ownPath(next: string, baseUrl: string): string {
  if (!next.startsWith('/')) return ''
  const url = URL.parse(next, 'http://hub.invalid')
  if (url?.origin !== 'http://hub.invalid') return ''
  const isPlain = /^[!-[\]-~]*$/.test(next) && url.pathname === next.split(/[?#]/, 1)[0]
  const path = isPlain ? next : `${url.pathname}${url.search}${url.hash}`
  return path.startsWith(baseUrl) && !path.startsWith('//') ? path : ''
}
