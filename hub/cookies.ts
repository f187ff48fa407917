/**
 * Cookies as they come in. (Going out, @fastify/cookie writes them.)
 *
 * A browser may send several cookies of one name: a page below `/user/NAME/` can set one that shadows ours. All of
 * them are looked at, so that a false one cannot log anybody out.
 */

/** A browser sends one for each path that fits; each costs a look, and a stranger may send thousands. */
const mostOfOneName = 4

/** The values of the first few cookies called `name`, in the order in which the browser sent them. */
export function cookieValues(header: string | undefined, name: string): string[] {
  return pairs(header)
    .filter(pair => nameOf(pair) === name)
    .slice(0, mostOfOneName)
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

function pairs(header: string | undefined): string[] {
  return header?.split(';').map(pair => pair.trim()) ?? []
}

function nameOf(pair: string): string {
  const equals = pair.indexOf('=')
  return equals < 0 ? '' : pair.slice(0, equals).trimEnd()
}
