/**
 * One connection to a user's server, on which one thing is asked after the other.
 *
 * What always holds: whoever asks hears exactly one of: the end of the answer, that the protocol has changed, or an error; and nothing any
 * more once it has abandoned the connection. A connection on which anything was odd is closed and never used again.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Reader, type Share } from '../bounds/share.ts'
import { type AnswerHead, type AnswerListener, AnswerParser, type Kind } from './response-parser.ts'
import { Upload } from './upload.ts'
import { ServerSocket } from './upstream-socket.ts'

/** One request, by whoever wants to know the answer. */
export interface Asking {
  readonly kind: Kind
  /** The head of the request, as it is sent. */
  readonly head: string
  /** From where its body comes. */
  readonly body: { request: IncomingMessage; isChunked: boolean } | undefined
  /** It is asked now. */
  onConnection(connection: Connection): void
  /** Not for answers that only say that one is to come. */
  onHead(head: AnswerHead): void
  /** The piece is there for this moment only. */
  onBody(piece: Buffer): void
  /** More is to come, and nobody knows when. */
  onLull(): void
  onEnd(trailers: readonly string[]): void
  /** The connection belongs to whoever asked. @param rest has come on it already */
  onUpgrade(head: AnswerHead, server: ServerEnd, rest: Buffer): void
  onError(failure: Failure): void
}

/** A connection whose protocol has changed. */
export interface ServerEnd {
  socket: Socket
  /** What comes is read by it. */
  reader: Reader
  share: Share
  /** Gets all that comes; each piece is there for that moment only. There are no 'data' events. Returns of how many pieces it was. */
  taker: { take(chunk: Buffer): number }
}

export interface Failure {
  /**
   * `stale`: the connection was an old one, and the server closed it before it said anything.
   * `crowded`: more want to connect than the server has room for, and nothing was sent.
   * `silent`: nothing came for too long.
   */
  kind: 'stale' | 'crowded' | 'silent' | 'broken'
  cause: Error
}

/** Where the connection belongs. */
export interface Home {
  /** Called when the connection is idle and can be reused. */
  onFree(connection: Connection): void
  /** Called when it is closed or has become a WebSocket. */
  onGone(connection: Connection): void
}

export class Connection implements AnswerListener {
  readonly #socket: ServerSocket
  readonly #end: ServerEnd
  readonly #home: Home
  readonly #parser = new AnswerParser(this)
  #asking: Asking | undefined
  #upload: Upload | undefined
  #isOld = false
  /** Whether anything has come of this answer. */
  #isHeard = false
  #isAnswered = false
  /** Since when it is waited for the server, or for somebody who asks; of `performance.now()`. */
  #since = 0
  #isGone = false
  readonly #onEnded = () => this.#endBySocket(new Error('it has closed the connection'))
  readonly #onError = (error: Error) => this.#fail(error)

  /** @param memory for what is read, the same for all connections */
  constructor(path: string, { memory, share, home }: { memory: Buffer; share: Share; home: Home }) {
    this.#home = home
    const read = (length: number) => {
      end.reader.read(length, end.taker.take(memory.subarray(0, length)))
      return true
    }
    const socket = new ServerSocket({ onread: { buffer: memory, callback: read } })
    socket.connect({ path })
    const reader = new Reader(socket, share)
    const end: ServerEnd = { socket, reader, share, taker: this }
    socket.on('end', this.#onEnded).on('error', this.#onError).on('close', this.#onEnded)
    socket.once('close', () => reader.close())
    this.#socket = socket
    this.#end = end
  }

  ask(asking: Asking): void {
    this.#asking = asking
    this.#isHeard = false
    this.#isAnswered = false
    this.#since = performance.now()
    this.#parser.begin(asking.kind)
    asking.onConnection(this)
    if (this.#isGone) return
    this.#socket.write(asking.head, 'latin1')
    if (!asking.body) return
    const { request, isChunked } = asking.body
    this.#upload = new Upload(request, this.#socket, { isChunked, share: this.#end.share })
  }

  /** Nobody waits for the answer any more. */
  abandon(): void {
    this.#asking = undefined
    this.#leave()
  }

  pause(): void {
    this.#end.reader.stop()
  }

  resume(): void {
    this.#end.reader.goOn()
  }

  /** Of the owner whose server it is. */
  share(): Share {
    return this.#end.share
  }

  /** Milliseconds for which the server has had all that was to be sent and has not begun to answer; 0 where it is not its turn. */
  silenceMs(now: number): number {
    if (!this.#asking || this.#isAnswered) return 0
    if (!this.#upload) return now - this.#since
    return this.#upload.isWithServer() ? now - this.#upload.lastSent() : 0
  }

  /** Milliseconds for which nobody has asked anything; 0 where an answer is to come. */
  idleMs(now: number): number {
    return this.#asking ? 0 : now - this.#since
  }

  /** Gives the server up. */
  end(failure: Failure): void {
    const asking = this.#asking
    this.#asking = undefined
    this.#leave()
    asking?.onError(failure)
  }

  /** What has come. */
  take(chunk: Buffer): number {
    if (this.#isGone) return 0
    this.#isHeard = true
    try {
      const pieces = this.#parser.take(chunk)
      if (this.#isAnswered) this.#asking?.onLull()
      return pieces
    } catch (error) {
      this.#fail(problemIn(error))
      return 0
    }
  }

  onHead(head: AnswerHead): void {
    this.#isAnswered = true
    this.#asking?.onHead(head)
  }

  onBody(piece: Buffer): void {
    this.#asking?.onBody(piece)
  }

  onEnd(trailers: readonly string[], isLast: boolean): void {
    // What it throws ends the connection, and is told to it.
    this.#asking?.onEnd(trailers)
    this.#asking = undefined
    const isHalfSent = this.#socket.isDeaf || this.#upload?.isComplete() === false
    if (isLast || isHalfSent) this.#leave()
    else this.#rest()
  }

  onUpgrade(head: AnswerHead, rest: Buffer): void {
    const socket = this.#socket
    const asking = this.#asking
    this.#asking = undefined
    this.#isGone = true
    socket.off('end', this.#onEnded).off('error', this.#onError).off('close', this.#onEnded)
    this.#home.onGone(this)
    if (!asking) return void socket.destroy()
    try {
      asking.onUpgrade(head, this.#end, rest)
    } catch (error) {
      socket.destroy()
      asking.onError({ kind: 'broken', cause: problemIn(error) })
    }
  }

  #endBySocket(error: Error): void {
    if (this.#isGone) return
    try {
      if (this.#asking && this.#parser.close()) return
    } catch {
      // Who asked has thrown at the very end of the answer, and hears of it.
    }
    this.#fail(error)
  }

  #fail(cause: Error): void {
    if (this.#isGone) return
    const isCrowded = 'code' in cause && cause.code === 'EAGAIN'
    this.end({ kind: isCrowded ? 'crowded' : this.#isOld && !this.#isHeard ? 'stale' : 'broken', cause })
  }

  /** Until somebody asks the next thing. */
  #rest(): void {
    if (this.#isGone) return
    this.#upload = undefined
    this.#isOld = true
    this.#since = performance.now()
    this.resume()
    this.#home.onFree(this)
  }

  #leave(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#upload?.stop()
    this.#socket.destroy()
    this.#home.onGone(this)
  }
}

function problemIn(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
