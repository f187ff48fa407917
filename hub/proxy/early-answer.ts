/**
 * Answers that begin before the upload that they answer has ended: a file that is too big, say, is refused at its beginning.
 *
 * What always holds: the browser hears such an answer whole. Whoever closes a connection with unread bytes in it takes back what was said on
 * it last (nginx calls the cure lingering).
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** How long what still comes of an upload is thrown away after the answer, on a connection that is to be closed. */
const lingerMs = 10_000

/** By connection, the request that was answered early on it last. */
const early = new WeakMap<Socket, IncomingMessage>()

/** To be called when an answer begins: a connection that node:http would close after it is closed when the request has ended, too. */
export function lingerAfter({ req: request, socket }: ServerResponse): void {
  if (request.complete || !socket) return
  const isKnown = early.has(socket)
  early.set(socket, request)
  // Once for each connection, however many requests come on it.
  if (!isKnown) closeLate(socket)
}

function closeLate(socket: Socket): void {
  const close = socket.destroySoon.bind(socket)
  socket.destroySoon = () => {
    const request = early.get(socket)
    if (!request || request.complete) return close()
    socket.end()
    const timer = setTimeout(close, lingerMs)
    request.once('end', close)
    socket.once('close', () => clearTimeout(timer))
  }
}
