/** The head of a message as it is written (RFC 9112), request or answer. */

/** What no header may hold; also what would be cut to one of those when it is written as a byte. */
const unfit = /[^\t\x20-\x7e\x80-\xff]/

/**
 * One character a byte.
 * @param start the line in front of the headers
 * @param headers name, value, name, value
 * Throws for what would begin another line; who has read the headers has refused that before.
 */
export function headText(start: string, headers: readonly string[]): string {
  let text = `${start}\r\n`
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const line = `${headers[index]}: ${headers[index + 1]}`
    if (unfit.test(line)) throw Object.assign(new Error('a header that is two'), { statusCode: 400 })
    text += `${line}\r\n`
  }
  return `${text}\r\n`
}
