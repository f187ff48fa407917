/** What the address of a request below `user/` means. It is read letter by letter, and what could be read in two ways is refused. */
import type { IncomingMessage } from 'node:http'
import { isUserName, type UserName } from '../../config/users/names.ts'
import { ambiguousAddress, noPage } from '../web/refusals.ts'

/** What a request below `user/` asks for. */
export interface Target {
  owner: UserName
  /** From the slash after the name on, without the query; empty for `user/NAME` itself. */
  rest: string
  /** With the `?`, or empty. */
  query: string
}

/** Throws `NO_PAGE` or `ADDRESS` for what is not, letter by letter, `user/NAME` or something below it. */
export function readTarget({ url = '' }: Pick<IncomingMessage, 'url'>, baseUrl: string): Target {
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  const query = mark < 0 ? '' : url.slice(mark)
  const prefix = `${baseUrl}user/`
  if (!path.startsWith(prefix)) throw noPage()
  const slash = path.indexOf('/', prefix.length)
  const owner = slash < 0 ? path.slice(prefix.length) : path.slice(prefix.length, slash)
  const rest = slash < 0 ? '' : path.slice(slash)
  if (!isUserName(owner)) throw noPage()
  if (!isReadable(rest)) throw ambiguousAddress()
  if (rest.includes('\\') || /(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i.test(rest) || url.includes('#'))
    throw ambiguousAddress()
  return { owner, rest, query }
}

/** Whether the characters that are written with `%` make a text. */
function isReadable(path: string): boolean {
  if (!path.includes('%')) return true
  try {
    decodeURIComponent(path)
    return true
  } catch {
    return false
  }
}

export const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
