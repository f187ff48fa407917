/** The headers of a message as they are written (RFC 9112), of a request or an answer. */

/** What no header may hold; also what would be cut to one of those when it is written as a byte. */
const unfit = /[^\t\x20-\x7e\x80-\xff]/

/**
 * With the empty line behind them; one character a byte.
 * @param headers name, value, name, value
 * Throws for what would begin another line; who has read the headers has refused that before.
 */
export function fieldLines(headers: readonly string[]): string {
  let text = ''
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const line = `${headers[index]}: ${headers[index + 1]}`
    if (unfit.test(line)) throw badRequest('a header that is two')
    text += `${line}\r\n`
  }
  return `${text}\r\n`
}

/** As Fastify reads errors: the fault of whoever asks. */
export function badRequest(message: string): Error {
  return Object.assign(new Error(message), { statusCode: 400 })
}
