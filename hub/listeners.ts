/**
 * The sockets that systemd holds for the hub, and which is which: by the names that their units give them, `http`, `https` and
 * `visit`, and by their ports, as the configuration has them. While it changes, one can be of another port for a moment: it is left
 * alone, or pages there would count as what they are not. (Earlier versions had one unit and one name for all, plain HTTP first.)
 *
 * Where more connections come than are taken, each socket has several handles (hub/bursts.ts).
 */
import { once } from 'node:events'
import type { Server as HttpServer } from 'node:http'
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Listening } from '../config/config.ts'
import { ProblemError } from '../problem.ts'
import { followBursts } from './bursts.ts'
import type { Tls } from './tls/tls.ts'
import type { Turnstile } from './turnstile.ts'

/** SD_LISTEN_FDS_START: the first descriptor that systemd hands over. */
const firstSocket = 3
const mostSockets = 3
/** Connections that are taken in a turn of the event loop, of each socket, in a burst. */
const takenAtOnce = 32
/** As systemd's, which node:net would make smaller. */
const backlog = 4_096
const names = ['http', 'https', 'visit']

export interface ListenOptions {
  /** The name of each socket that there is. */
  sockets: readonly string[]
  http: Listening
  visitPort: number | undefined
  tls: Tls | undefined
  /** Whether there is room for a connection (hub/door.ts). The server asks as well, for those that did not come by here. */
  admit: (socket: Socket) => boolean
  turnstile: Turnstile
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
  const { sockets, http, visitPort, tls, admit, turnstile, log } = options
  const first = Math.max(0, sockets.indexOf('http'))
  server.listen({ fd: firstSocket + first }, backlog)
  await once(server, 'listening')
  const plain = (socket: Socket) => void server.emit('connection', socket)
  const end = tls?.open(socket => void server.emit('connection', socket))
  const secure = (socket: Socket) => {
    bursts.took()
    if (admit(socket)) end?.take(socket)
    else socket.destroy()
  }
  const take = end ? secure : plain
  const wanted = new Map<number | undefined, string>([
    [http.tls?.port, 'https'],
    [visitPort, 'visit'],
  ])
  wanted.delete(undefined)
  const others: NetServer[] = []
  const taking = new Map<number, (socket: Socket) => void>([[firstSocket + first, plain]])
  const bursts = followBursts({
    takeMore() {
      const more = [...taking].flatMap(([descriptor, onConnection]) => {
        const begin = (socket: Socket) => {
          onConnection(socket)
          socket.resume()
        }
        const onSocket = (socket: Socket) => (admit(socket) ? turnstile.enter(socket, begin) : void socket.destroy())
        const given = { allowHalfOpen: onConnection === plain, noDelay: true, pauseOnConnect: true }
        return copiesOf(descriptor).map(copy =>
          createServer(given, onSocket)
            .on('error', error => log(`one handle less takes connections: ${error.message}`))
            .listen({ fd: copy }, backlog),
        )
      })
      return { [Symbol.dispose]: () => more.forEach(listener => void listener.close()) }
    },
  })
  server.prependListener('connection', socket => {
    // Those that were inside of another came with that.
    if (!(socket instanceof TLSSocket)) bursts.took()
  })
  for (const [index, name] of sockets.entries()) {
    if (index === first) continue
    // As node:http has it of its own, and so has node:https.
    const descriptor = firstSocket + index
    const listener = createServer({ allowHalfOpen: !end, noDelay: true }, take)
    listener.listen({ fd: descriptor }, backlog)
    await once(listener, 'listening')
    const address = listener.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const isRight = name === wanted.get(port) || name === 'http' || !names.includes(name)
    if (!isRight || !wanted.delete(port)) {
      listener.close()
      continue
    }
    others.push(listener)
    taking.set(descriptor, take)
  }
  for (const port of wanted.keys()) log(`systemd holds no socket of port ${port}; it is tried again until there is one`)
  return {
    lastHandshake: () => end?.lastHandshake(),
    close() {
      bursts.close()
      for (const listener of others) listener.close()
    },
  }
}

/** The same socket by other descriptors (dup(2)). None where node:ffi, which is experimental, cannot be used. */
function copiesOf(descriptor: number): number[] {
  try {
    const { functions } = process
      .getBuiltinModule('node:ffi')
      .dlopen(null, { dup: { arguments: ['i32'], return: 'i32' } })
    const copies = Array.from({ length: takenAtOnce - 1 }, () => functions.dup(descriptor))
    return copies.filter(copy => copy >= 0)
  } catch {
    return []
  }
}
