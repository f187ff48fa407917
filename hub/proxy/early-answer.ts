/**
 * Answers that begin before the upload that they answer has ended: a file that is too big, say, is refused at its beginning.
 *
 * What always holds: the browser hears such an answer whole. Two things stand in the way of that: a body that breaks breaks the stream that it
 * came from, and whoever closes a connection with unread bytes in it takes back what was said on it last (nginx calls the cure lingering).
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough, type Readable } from 'node:stream'

/** How long what still comes of an upload is thrown away after the answer, on a connection that is to be closed. */
const lingerMs = 10_000

/**
 * The body of a request, as something of its own: a server that answers before it has read all of it breaks this, and not the browser's
 * connection, on which the answer is on its way. What still comes is thrown away then.
 */
export function bodyOf(request: IncomingMessage): Readable {
  const body = new PassThrough()
  request.pipe(body)
  request.once('close', () => {
    if (!request.complete) body.destroy(new Error('the browser has gone'))
  })
  body.once('close', () => {
    request.unpipe(body)
    request.resume()
  })
  // undici has its own listener, as long as it reads.
  body.on('error', () => undefined)
  return body
}

/** To be called when an answer begins: a connection that node:http would close after it is closed when the request has ended, too. */
export function lingerAfter({ req: request, socket }: ServerResponse): void {
  if (request.complete || !socket) return
  const close = socket.destroySoon.bind(socket)
  socket.destroySoon = () => {
    if (request.complete) return close()
    socket.end()
    const timer = setTimeout(close, lingerMs)
    request.once('end', close)
    socket.once('close', () => clearTimeout(timer))
  }
}
