/**
 * The sockets that systemd holds for the hub, and which is which: by the names that their units give them, `http`, `https` and
 * `visit`, and by their ports, as the configuration has them. While it changes, one can be of another port for a moment: it is left
 * alone, or pages there would count as what they are not. (Earlier versions had one unit and one name for all, plain HTTP first.)
 *
 * node:net takes one connection of a socket in a turn of the event loop. Those that wait behind it are taken with it (hub/kernel-queue.ts), and begin as hub/bounds/turnstile.ts lets them.
 */
import { once } from 'node:events'
import type { Server as HttpServer } from 'node:http'
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Listening } from '../config/meaning/config.ts'
import { ProblemError } from '../problem.ts'
import type { Turnstile } from './bounds/turnstile.ts'
import { asSocket, openQueue, turnAway } from './kernel-queue.ts'
import type { Tls } from './tls/tls.ts'

/** SD_LISTEN_FDS_START: the first descriptor that systemd hands over. */
const firstSocket = 3
const mostSockets = 3
/** Of each socket, in a turn of the event loop: those who are turned away take eight thousandths of a second then. With 128, a queue that is always full took a second. */
const mostAtOnce = 1024
/**
 * Where nobody waited behind a connection, it is not looked behind the next one, then the next three, and so on up to fifteen: to look costs as much as a
 * tenth of a WebSocket's opening, and a flood that is noticed fifteen turns later harms nobody.
 */
const mostEmpty = 4
/** As systemd's, which node:net would make smaller. */
const backlog = 4_096
const names = ['http', 'https', 'visit']

export interface ListenOptions {
  /** The name of each socket that there is. */
  sockets: readonly string[]
  http: Listening
  visitPort: number | undefined
  tls: Tls | undefined
  /** Whether there is room for a connection (hub/bounds/door.ts). */
  admit: (socket: Socket) => boolean
  turnstile: Turnstile
  log: (line: string) => void
}

export interface Listeners {
  /** When the last connection came whose TLS handshake is under way, if one is (hub/tls/tls-listener.ts). */
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
  const end = tls?.open(pass)
  const take = end ? secure : pass
  /** All but those that the server has taken itself. */
  const passedOn = new WeakSet<Socket>()

  function pass(socket: Socket): void {
    passedOn.add(socket)
    server.emit('connection', socket)
  }

  function secure(socket: Socket): void {
    if (admit(socket)) end?.take(socket)
    else socket.destroy()
  }

  /** To be called when a connection of that socket was taken: takes those that wait behind it. */
  function theRest(descriptor: number, allowHalfOpen: boolean, begin: (socket: Socket) => void): () => void {
    const next = openQueue(descriptor)
    if (!next) log('node:ffi cannot be used: connections are taken one by one, and a flood of them delays everybody')
    let skips = 0
    let empty = 0
    return () => {
      if (skips > 0) return void skips--
      for (let count = 0; count < mostAtOnce; count++) {
        const hasRoom = turnstile.hasRoom()
        const arrival = hasRoom ? next?.() : undefined
        if (!arrival) {
          empty = count > 0 || !hasRoom ? 0 : Math.min(empty + 1, mostEmpty)
          skips = 2 ** empty - 1
          return
        }
        turnstile.enter({
          ...arrival,
          begin() {
            const socket = asSocket(arrival, allowHalfOpen)
            if (socket) begin(socket)
          },
          turnAway: () => turnAway(arrival),
        })
      }
    }
  }

  server.prependListener('connection', (socket: Socket) => {
    // Those that were inside of another came in with that.
    if (!(socket instanceof TLSSocket) && !admit(socket)) socket.destroy()
  })
  const takeRest = theRest(firstSocket + first, true, pass)
  server.on('connection', socket => {
    if (!passedOn.has(socket)) takeRest()
  })
  server.listen({ fd: firstSocket + first }, backlog)
  await once(server, 'listening')
  const wanted = new Map<number | undefined, string>([
    [http.tls?.port, 'https'],
    [visitPort, 'visit'],
  ])
  wanted.delete(undefined)
  const others: NetServer[] = []
  for (const [index, name] of sockets.entries()) {
    if (index === first) continue
    const descriptor = firstSocket + index
    // As node:http has it of its own, and so has node:https.
    const given = { allowHalfOpen: !end, noDelay: true }
    const takeRest = theRest(descriptor, given.allowHalfOpen, take)
    const listener = createServer(given, socket => {
      take(socket)
      takeRest()
    })
    listener.listen({ fd: descriptor }, backlog)
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
      turnstile.open()
    },
  }
}
