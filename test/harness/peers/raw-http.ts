/**
 * Bytes on a connection, as no HTTP client would send them, and what comes back until the other side closes it.
 */
import { connect } from 'node:net'

/** No answer of the hub's takes longer; it cuts off whoever sends half a request after thirty seconds. */
const mostMs = 180_000

/** Writes all of it at once (or piece by piece), and collects until the connection is closed. Throws where it stays open. */
export function say(url: string, ...pieces: (string | Buffer)[]): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port) || 80, hostname)
    const chunks: Buffer[] = []
    const said = () => Buffer.concat(chunks).toString('latin1')
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`the connection was left open after ${JSON.stringify(said())}`))
    }, mostMs)
    socket.on('connect', () => {
      for (const piece of pieces) socket.write(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)
    })
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    // Who is cut off in the middle of sending sees the connection break: that is an answer.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(said())
    })
  })
}

/** The statuses of the answers in it, in their order. */
export function statusesIn(text: string): number[] {
  return [...text.matchAll(/(?:^|[\r\n}>])HTTP\/1\.[01] (\d{3})/g)].map(match => Number(match[1]))
}

/** A request, line by line, with what follows the empty line. */
export function lines(head: readonly string[], body = ''): string {
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
