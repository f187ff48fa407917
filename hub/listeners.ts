/**
 * The sockets that systemd holds for the hub, and which is which: the first is plain HTTP, and the others are known by their ports,
 * as the configuration has them. While it changes, one can be of another port for a moment: it is left alone, or pages there would
 * count as what they are not.
 */
import { once } from 'node:events'
import type { Server as HttpServer } from 'node:http'
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import type { Listening } from '../config/config.ts'
import { ProblemError } from '../problem.ts'
import type { Tls } from './tls/tls.ts'

/** SD_LISTEN_FDS_START: the first descriptor that systemd hands over. */
const firstSocket = 3
const mostSockets = 3

export interface ListenOptions {
  /** How many sockets there are. */
  count: number
  http: Listening
  visitPort: number | undefined
  tls: Tls | undefined
  log: (line: string) => void
}

export interface Listeners {
  /** When the last connection came whose TLS handshake is under way, if one is (hub/tls/listener.ts). */
  lastHandshake(): number | undefined
  /** Takes no more connections on the ports beside the first. */
  close(): void
}

/** How many sockets systemd has handed over (sd_listen_fds(3)). Throws `HUB_SOCKET`. */
export function socketCount({ LISTEN_FDS }: NodeJS.ProcessEnv): number {
  const count = Number(LISTEN_FDS)
  if (Number.isInteger(count) && count >= 1 && count <= mostSockets) return count
  throw new ProblemError('HUB_SOCKET', {
    what: 'The hub has nothing to listen on',
    why: 'systemd did not hand it the socket of tljh-hub.socket',
    fix: 'Start it with: sudo systemctl start tljh-hub.socket tljh-hub.service',
  })
}

/** Everything that comes in goes to `server`, whose requests know their ports and whether they came by TLS. */
export async function listen(server: HttpServer, options: ListenOptions): Promise<Listeners> {
  const { count, http, visitPort, tls, log } = options
  server.listen({ fd: firstSocket })
  await once(server, 'listening')
  const plain = (socket: Socket) => void server.emit('connection', socket)
  const end = tls?.open(socket => void server.emit('connection', socket))
  const take = end ? (socket: Socket) => end.take(socket) : plain
  const missing = new Set([http.tls?.port, visitPort].filter(port => port !== undefined))
  const others: NetServer[] = []
  for (let fd = firstSocket + 1; fd < firstSocket + count; fd++) {
    // As node:http has it of its own, and so has node:https.
    const listener = createServer({ allowHalfOpen: !end }, take)
    listener.listen({ fd })
    await once(listener, 'listening')
    const address = listener.address()
    const port = typeof address === 'object' ? address?.port : undefined
    if (port !== undefined && missing.delete(port)) others.push(listener)
    else listener.close()
  }
  for (const port of missing) log(`systemd holds no socket of port ${port}; it waits for the next restart`)
  return {
    lastHandshake: () => end?.lastHandshake(),
    close() {
      for (const listener of others) listener.close()
    },
  }
}
