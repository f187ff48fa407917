/**
 * Reads the answers of a user's server out of what comes on a connection (RFC 9112), one after the other.
 *
 * A student's program may have written it, so nothing is guessed: what could be read in two ways is a fault, and the connection is given
 * up. Nothing is gathered but the head of an answer, the line in front of a chunk and what stands behind the last one, and all of that has a limit.
 *
 * Texts have one character a byte. Header lists are as Node's `rawHeaders`: name, value, name, value.
 */

export interface AnswerHead {
  /** From 100 on. */
  status: number
  /** What stands behind it; it need not be printable. */
  reason: string
  headers: string[]
  /** Bytes of the body, where that is said before it comes. */
  length: number | undefined
}

export interface AnswerListener {
  onHead(head: AnswerHead): void
  /** Once, at most, for each `take`. The piece is there for this moment only. */
  onBody(piece: Buffer): void
  /** @param isLast whether nothing more may be asked on this connection */
  onEnd(trailers: readonly string[], isLast: boolean): void
  /** What follows is no HTTP any more. @param rest has come already */
  onUpgrade(head: AnswerHead, rest: Buffer): void
}

/** What may be answered: `head` has no body, whatever its head says of one. */
export type Kind = 'usual' | 'head' | 'upgrade'

type State = 'nothing' | 'head' | 'sized' | 'size' | 'chunk' | 'chunk-end' | 'trailers' | 'until-close' | 'over'

const headEnd = '\r\n\r\n'
const lineEnd = '\r\n'

/** More than any program says: Node.js takes half of it. */
const mostHeadBytes = 32 * 1024
/** Programs may write more into the line than the size (RFC 9112, section 7.1.1), and none does. */
const mostSizeBytes = 256
/** A server says `103 Early Hints` once, if ever. One that does nothing else would keep the hub busy. */
const mostInterimAnswers = 8

/** A class, because it has a life: that of a connection. */
export class AnswerParser {
  readonly #listener: AnswerListener
  #kind: Kind = 'usual'
  #state: State = 'nothing'
  /** Of a head or a line, as long as it has not come to its end. */
  #gathered = ''
  #tail = ''
  /** Of a body or a chunk, that are still to come. */
  #left = 0
  /** Where in the chunk that is read the body is that has come with it. */
  #bodyFrom = 0
  #bodyTo = 0
  #trailers: string[] = []
  #trailerBytes = 0
  #interimAnswers = 0
  #isLast = false

  constructor(listener: AnswerListener) {
    this.#listener = listener
  }

  /** The next answer is to one that was asked in this way. */
  begin(kind: Kind): void {
    this.#kind = kind
    this.#state = 'head'
    this.#gathered = ''
    this.#interimAnswers = 0
    this.#trailers = []
    this.#trailerBytes = 0
  }

  /**
   * Takes what has come, and may change it: of a body that comes in chunks, the pieces are moved together, or each byte could cost the
   * browser a write. Throws where it is no answer, and what the listener throws.
   */
  take(chunk: Buffer): void {
    this.#bodyFrom = this.#bodyTo = 0
    const at = this.#read(chunk)
    if (this.#bodyTo > this.#bodyFrom) this.#listener.onBody(chunk.subarray(this.#bodyFrom, this.#bodyTo))
    if (this.#state === 'over') this.#end(at < chunk.length)
  }

  /** Returns how far it has come: to the end of the chunk, or of the answer. */
  #read(chunk: Buffer): number {
    let at = 0
    while (at >= 0 && at < chunk.length && this.#state !== 'over') {
      switch (this.#state) {
        case 'head':
          at = this.#gather(chunk, at, headEnd, mostHeadBytes)
          if (at >= 0 && this.#takeHead(chunk, at)) return chunk.length
          break
        case 'sized':
        case 'chunk':
          at = this.#takeBody(chunk, at)
          break
        case 'size':
          at = this.#gather(chunk, at, lineEnd, mostSizeBytes)
          if (at >= 0) this.#takeSize()
          break
        case 'chunk-end':
          at = this.#gather(chunk, at, lineEnd, 0)
          if (at >= 0) {
            this.#gathered = ''
            this.#state = 'size'
          }
          break
        case 'trailers':
          at = this.#gather(chunk, at, lineEnd, mostHeadBytes - this.#trailerBytes)
          if (at >= 0) this.#takeTrailer()
          break
        case 'until-close':
          at = this.#addBody(chunk, at, chunk.length)
          break
        case 'nothing':
          throw new Error('it says something that nobody has asked for')
      }
    }
    return at < 0 ? chunk.length : at
  }

  /** The connection has come to its end. False: in the middle of an answer. */
  close(): boolean {
    if (this.#state !== 'until-close') return false
    this.#end(true)
    return true
  }

  #end(isLast: boolean): void {
    this.#state = 'nothing'
    // What has come behind the answer is no answer to anything.
    this.#listener.onEnd(this.#trailers, isLast || this.#isLast)
  }

  /** Gathers up to `mark`. Returns where it goes on behind that, or -1 where it has not come yet. Throws where there are more than `most` bytes. */
  #gather(chunk: Buffer, from: number, mark: string, most: number): number {
    const before = this.#gathered
    if (before !== '') {
      // The mark may have come in two pieces.
      const tail = this.#tail.slice(1 - mark.length)
      const seam = (tail + chunk.toString('latin1', from, from + mark.length - 1)).indexOf(mark)
      if (seam >= 0) {
        this.#gathered = before.slice(0, before.length - tail.length + seam)
        return from + seam + mark.length - tail.length
      }
    }
    const end = chunk.indexOf(mark, from, 'latin1')
    const piece = chunk.toString('latin1', from, end < 0 ? chunk.length : end)
    const length = before.length + piece.length
    // Of the mark itself all but the last byte may be there.
    if (length > (end < 0 ? most + mark.length - 1 : most)) throw new Error('it says more than anybody can take in')
    this.#gathered = before + piece
    if (end >= 0) return end + mark.length
    // Apart, so that a head which comes byte by byte is not put together for each of them.
    this.#tail = (piece.length < mark.length ? this.#tail + piece : piece).slice(1 - mark.length)
    return -1
  }

  /** Whether what follows is no HTTP any more. */
  #takeHead(chunk: Buffer, at: number): boolean {
    const text = this.#gathered
    this.#gathered = ''
    const { head, framing, isLast } = readHead(text)
    const { status } = head
    if (status === 101) {
      if (this.#kind !== 'upgrade') throw new Error('it changes to a protocol that nobody has asked for')
      this.#state = 'nothing'
      this.#listener.onUpgrade(head, chunk.subarray(at))
      return true
    }
    if (status < 200) {
      if (++this.#interimAnswers > mostInterimAnswers) throw new Error('it answers without ever coming to an end')
      return false
    }
    // Nobody knows what the server takes for the body of a handshake that it has refused.
    this.#isLast = isLast || this.#kind === 'upgrade'
    if (this.#kind === 'head' || status === 204 || status === 304 || head.length === 0) this.#state = 'over'
    else if (framing === 'chunked') this.#state = 'size'
    else if (head.length === undefined) this.#state = 'until-close'
    else {
      this.#state = 'sized'
      this.#left = head.length
    }
    this.#listener.onHead(head)
    return false
  }

  #takeBody(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#left)
    this.#left -= end - at
    if (this.#left === 0) this.#state = this.#state === 'sized' ? 'over' : 'chunk-end'
    return this.#addBody(chunk, at, end)
  }

  #addBody(chunk: Buffer, at: number, end: number): number {
    if (this.#bodyTo === 0) this.#bodyFrom = this.#bodyTo = at
    if (this.#bodyTo !== at) chunk.copyWithin(this.#bodyTo, at, end)
    this.#bodyTo += end - at
    return end
  }

  #takeSize(): void {
    const [, size] = /^([0-9a-f]{1,12})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?$/i.exec(this.#gathered) ?? []
    if (size === undefined) throw new Error('it cuts its answer into pieces of no size')
    this.#gathered = ''
    this.#left = Number.parseInt(size, 16)
    this.#state = this.#left === 0 ? 'trailers' : 'chunk'
  }

  #takeTrailer(): void {
    const line = this.#gathered
    this.#gathered = ''
    if (line === '') {
      this.#state = 'over'
      return
    }
    this.#trailerBytes += line.length + lineEnd.length
    readFields(line, this.#trailers)
  }
}

interface Read {
  head: AnswerHead
  framing: 'chunked' | undefined
  isLast: boolean
}

function readHead(text: string): Read {
  const end = text.indexOf(lineEnd)
  const line = end < 0 ? text : text.slice(0, end)
  const [, version, code, reason = ''] = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: ([^\r\n]*))?$/.exec(line) ?? []
  if (code === undefined) throw new Error('it does not answer by HTTP')
  const headers: string[] = []
  if (end >= 0) readFields(text.slice(end + lineEnd.length), headers)

  let length: number | undefined
  let framing: 'chunked' | undefined
  let isLast = version === '0'
  for (let index = 0; index < headers.length; index += 2) {
    const value = headers[index + 1] ?? ''
    switch (framingName(headers[index] ?? '')) {
      case 'content-length':
        if (length !== undefined || !/^\d{1,15}$/.test(value)) throw new Error('it does not say how long its answer is')
        length = Number(value)
        break
      case 'transfer-encoding':
        if (framing || version === '0' || !/^chunked$/i.test(value))
          throw new Error('it answers in a way that nobody knows')
        framing = 'chunked'
        break
      case 'connection':
        if (/(?:^|[\s,])close(?:$|[\s,])/i.test(value)) isLast = true
    }
  }
  // One of them is a lie, and others could believe the other.
  if (framing && length !== undefined) throw new Error('it says in two ways how long its answer is')
  return { head: { status: Number(code), reason, headers, length }, framing, isLast }
}

/** Of the few names that say how an answer comes: in small letters. */
function framingName(name: string): string | undefined {
  const { length } = name
  return length === 14 || length === 17 || length === 10 ? name.toLowerCase() : undefined
}

/** Lines of a name and what a value may hold (RFC 9110, section 5). */
const manyFields = /^(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*(?:\r\n|$))*$/

/** Reads `Name: value` from lines. */
function readFields(text: string, into: string[]): void {
  if (!manyFields.test(text)) throw new Error('one of its headers is none')
  for (let at = 0; at < text.length; ) {
    let end = text.indexOf(lineEnd, at)
    if (end < 0) end = text.length
    const colon = text.indexOf(':', at)
    into.push(text.slice(at, colon), trimmed(text, colon + 1, end))
    at = end + lineEnd.length
  }
}

/** Without spaces and tabs around it, and those alone: to others, a byte of a letter in UTF-8 can be a space. */
function trimmed(text: string, from: number, to: number): string {
  let start = from
  let end = to
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}
