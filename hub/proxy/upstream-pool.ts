/**
 * The connections to one user's server. They are kept open for what is asked next; what more is asked than there may be connections
 * waits for its turn.
 */
import { slowDown } from '../bounds/pipelining.ts'
import { Share } from '../bounds/share.ts'
import { pieceBytes } from './buffers.ts'
import { type Asking, Connection, type Home } from './upstream.ts'

export interface Limits {
  /** Connections at a time. */
  most: number
  /** Milliseconds for which one is kept that nobody uses. */
  keptMs: number
  /** Milliseconds until an answer begins, from when the server has the request. */
  answerMs: number
}

/** All connections read into it, one after the other. */
const memory = Buffer.allocUnsafeSlow(pieceBytes)

export class Connections implements Home {
  readonly #path: string
  readonly #limits: Limits
  readonly #share: Share
  readonly #all = new Set<Connection>()
  /** The last one that became free is taken first, so that those which are not needed grow old. */
  readonly #free: Connection[] = []
  readonly #waiting: Asking[] = []
  #isClosed = false

  /**
   * @param path of the server's socket
   * @param share of the owner, for all that goes to this server and comes from it
   */
  constructor(path: string, limits: Limits, share = new Share()) {
    this.#path = path
    this.#limits = limits
    this.#share = share
  }

  ask(asking: Asking): void {
    const free = this.#free.pop()
    if (free) free.ask(asking)
    else if (this.#all.size < this.#limits.most) this.#open().ask(asking)
    else {
      if (asking.body) slowDown(asking.body.request.socket)
      this.#waiting.push(asking)
    }
  }

  /** Asks on a connection that was never used: an old one may be closed by now. */
  askAnew(asking: Asking): void {
    // Others that are as old have probably been closed with it.
    for (const free of this.#free.splice(0)) free.abandon()
    this.ask(asking)
  }

  /** Whether it was still to be asked. It is not any more. */
  withdraw(asking: Asking): boolean {
    const at = this.#waiting.indexOf(asking)
    if (at >= 0) this.#waiting.splice(at, 1)
    return at >= 0
  }

  /** To be called now and then: ends what has been quiet for too long. */
  sweep(): void {
    const now = performance.now()
    for (const connection of this.#all) {
      if (connection.idleMs(now) > this.#limits.keptMs) connection.abandon()
      else if (connection.silenceMs(now) > this.#limits.answerMs)
        connection.end({ kind: 'silent', cause: new Error('it has not answered') })
    }
  }

  /** The server is no more, and nothing of it is to be used again. Those who wait hear of it. */
  close(): void {
    this.#isClosed = true
    const cause = new Error('the server is gone')
    for (const connection of this.#all) connection.end({ kind: 'broken', cause })
    for (const asking of this.#waiting.splice(0)) asking.onError({ kind: 'broken', cause })
  }

  onFree(connection: Connection): void {
    const next = this.#waiting.shift()
    if (next) connection.ask(next)
    else this.#free.push(connection)
  }

  onGone(connection: Connection): void {
    this.#all.delete(connection)
    const at = this.#free.indexOf(connection)
    if (at >= 0) this.#free.splice(at, 1)
    if (this.#isClosed) return
    const next = this.#waiting.shift()
    if (next) this.#open().ask(next)
  }

  #open(): Connection {
    const connection = new Connection(this.#path, { memory, share: this.#share, home: this })
    this.#all.add(connection)
    return connection
  }
}
