/**
 * The heads of requests, as a user's server gets them.
 *
 * What stands below the first line is mostly the same in all that a browser asks on one connection. So it is kept with the connection, and
 * made anew where anything is different (docs/decisions.md has what that spares).
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { detached } from '../web/detached-string.ts'
import { badRequest, fieldLines } from './header-lines.ts'
import { type Forwarded, requestHeaders } from './headers.ts'
import { bodyOf } from './request.ts'

interface Said extends Forwarded {
  raw: readonly string[]
  lines: string
}

/** By connection, of the last request on it. */
const lastSaid = new WeakMap<Socket, Said>()
/** Characters of a request's headers. Browsers say less; of who says more, each connection would fill the hub's memory. */
const longestKept = 4096

/** Throws a problem of status 400 for an address that is none. */
export function requestHead(forwarded: Forwarded, target: string, request: IncomingMessage): string {
  return startLine(request.method ?? 'GET', target) + requestLines(forwarded, request)
}

/** Throws likewise, and where there is a body. */
export function handshakeHead(forwarded: Forwarded, target: string, request: IncomingMessage): string {
  // It would be taken for what is said on the WebSocket, or the other way round.
  if (bodyOf(request)) throw badRequest('a WebSocket is asked for without a body')
  return startLine('GET', target) + fieldLines(requestHeaders(request.rawHeaders, forwarded, true))
}

function requestLines(forwarded: Forwarded, { rawHeaders: raw, headers, socket }: IncomingMessage): string {
  const before = lastSaid.get(socket)
  if (before && isSame(before, raw, forwarded)) return before.lines
  const out = requestHeaders(raw, forwarded)
  // HTTP/1.0 needs none, and HTTP/1.1 does.
  if (headers.host === undefined) out.push('Host', 'localhost')
  if (headers['transfer-encoding'] !== undefined) out.push('Transfer-Encoding', 'chunked')
  const lines = fieldLines(out)
  if (raw.reduce((sum, text) => sum + text.length, 0) > longestKept) {
    lastSaid.delete(socket)
    return lines
  }
  const { user, address, protocol } = forwarded
  lastSaid.set(socket, { raw, lines: detached(lines), user, address, protocol })
  return lines
}

function isSame(said: Said, raw: readonly string[], { user, address, protocol }: Forwarded): boolean {
  if (said.user !== user || said.address !== address || said.protocol !== protocol) return false
  return said.raw.length === raw.length && said.raw.every((text, index) => text === raw[index])
}

/** node:http refuses whatever else could stand there, too. */
function startLine(method: string, target: string): string {
  if (!/^[\x21-\x7e\x80-\xff]+$/.test(target)) throw badRequest('that is no address')
  return `${method} ${target} HTTP/1.1\r\n`
}
