/**
 * The end of TLS: takes connections as systemd's sockets give them, and hands on what was said in them. A certificate is changed while
 * connections go on; those that are open keep the one that they began with.
 *
 * HTTP/1.1 alone is spoken: what passes to users' servers is kept byte for byte, and WebSockets would need a connection of their own
 * in any case.
 */

import type { Socket } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { type Certificate, contextOptions } from './certificate.ts'
import { type Challenges, challengeProtocol } from './challenges.ts'

export interface TlsEnd {
  /** Takes a connection that was accepted. */
  take(connection: Socket): void
  /** When the last connection came, in milliseconds of `performance.now()`; undefined where none is shaking hands. */
  lastHandshake(): number | undefined
  /** For connections from now on. */
  use(certificate: Certificate): void
}

const inside = new WeakMap<Socket, TLSSocket>()

/** What came out of a connection that was taken; undefined as long as it shakes hands. */
export function insideOf(connection: Socket): TLSSocket | undefined {
  return inside.get(connection)
}

/** Whoever connects and says nothing is cut off. */
const slowestHandshakeMs = 15_000

export function createTlsEnd(
  first: Certificate,
  challenges: Challenges,
  onConnection: (socket: TLSSocket) => void,
): TlsEnd {
  /** Connections on which hands are shaken, by both of their ends: node:tls does not say in which of them a secure one is. */
  const handshakes = new Map<string, Socket>()
  let last = 0
  const server = createServer({
    ...contextOptions(first),
    handshakeTimeout: slowestHandshakeMs,
    ALPNCallback(this: TLSSocket, { servername, protocols }) {
      const context = protocols.includes(challengeProtocol) ? challenges.contextFor(servername) : undefined
      if (!context) return protocols.includes('http/1.1') ? 'http/1.1' : undefined
      this.setKeyCert(context)
      return challengeProtocol
    },
  })
  server.on('secureConnection', socket => {
    const ends = endsOf(socket)
    const connection = handshakes.get(ends)
    handshakes.delete(ends)
    if (connection) inside.set(connection, socket)
    if (socket.alpnProtocol !== challengeProtocol) return onConnection(socket)
    // Whoever checks a domain has seen the certificate, and there is nothing else to be had that way.
    socket.on('error', () => socket.destroy())
    socket.end()
  })
  // The other way in which each handshake ends; its connection is closed then.
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  return {
    take(connection) {
      const ends = endsOf(connection)
      handshakes.set(ends, connection)
      connection.once('close', () => {
        if (handshakes.get(ends) === connection) handshakes.delete(ends)
      })
      last = performance.now()
      server.emit('connection', connection)
    },
    lastHandshake: () => (handshakes.size > 0 ? last : undefined),
    use: certificate => server.setSecureContext(contextOptions(certificate)),
  }
}

/** No two connections have the same. From one port of a machine, there may be one to each of ours. */
function endsOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`
}
