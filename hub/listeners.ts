/**
 * The sockets that systemd holds for the hub, and which is which: by the names that their units give them, `http`, `https` and
 * `visit`, and by their ports, as the configuration has them. While it changes, one can be of another port for a moment: it is left
 * alone, or pages there would count as what they are not. (Earlier versions had one unit and one name for all, plain HTTP first.)
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
const names = ['http', 'https', 'visit']

export interface ListenOptions {
  /** The name of each socket that there is. */
  sockets: readonly string[]
  http: Listening
  visitPort: number | undefined
  tls: Tls | undefined
  /** Whether there is room for a connection that shakes hands first (hub/door.ts); the server asks for the others. */
  admit: (socket: Socket) => boolean
  log: (line: string) => void
}

export interface Listeners {
  /** When the last connection came whose TLS handshake is under way, if one is (hub/tls/listener.ts). */
  lastHandshake(): number | undefined
  /** Takes no more connections on the ports beside the first. */
  close(): void
}

/** The names of the sockets that systemd has handed over (sd_listen_fds_with_names(3)). Throws `HUB_SOCKET`. */
export function socketNames({ LISTEN_FDS, LISTEN_FDNAMES = '' }: NodeJS.ProcessEnv): string[] {
  const count = Number(LISTEN_FDS)
  const given = LISTEN_FDNAMES.split(':')
  if (Number.isInteger(count) && count >= 1 && count <= mostSockets)
    return Array.from({ length: count }, (_, index) => given[index] ?? '')
  throw new ProblemError('HUB_SOCKET', {
    what: 'The hub has nothing to listen on',
    why: 'systemd did not hand it the socket of tljh-hub.socket',
    fix: 'Start it with: sudo systemctl start tljh-hub.socket tljh-hub.service',
  })
}

/** Everything that comes in goes to `server`, whose requests know their ports and whether they came by TLS. */
export async function listen(server: HttpServer, options: ListenOptions): Promise<Listeners> {
  const { sockets, http, visitPort, tls, admit, log } = options
  const first = Math.max(0, sockets.indexOf('http'))
  server.listen({ fd: firstSocket + first })
  await once(server, 'listening')
  const plain = (socket: Socket) => void server.emit('connection', socket)
  const end = tls?.open(socket => void server.emit('connection', socket))
  const take = end ? (socket: Socket) => (admit(socket) ? end.take(socket) : socket.destroy()) : plain
  const wanted = new Map<number | undefined, string>([
    [http.tls?.port, 'https'],
    [visitPort, 'visit'],
  ])
  wanted.delete(undefined)
  const others: NetServer[] = []
  for (const [index, name] of sockets.entries()) {
    if (index === first) continue
    // As node:http has it of its own, and so has node:https.
    const listener = createServer({ allowHalfOpen: !end }, take)
    listener.listen({ fd: firstSocket + index })
    await once(listener, 'listening')
    const address = listener.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const isRight = name === wanted.get(port) || name === 'http' || !names.includes(name)
    if (isRight && wanted.delete(port)) others.push(listener)
    else listener.close()
  }
  for (const port of wanted.keys()) log(`systemd holds no socket of port ${port}; it is tried again until there is one`)
  return {
    lastHandshake: () => end?.lastHandshake(),
    close() {
      for (const listener of others) listener.close()
    },
  }
}
