/**
 * Reads the answers of a user's server out of what comes on a connection (RFC 9112), one after the other.
 *
 * A student's program may have written it, so nothing is guessed: what could be read in two ways is a fault, and the connection is given
 * up. Nothing is gathered but the head of an answer and what stands behind the last chunk, and all of that has a limit. A chunk may be one
 * byte, so what stands in front of it is read byte by byte: with a text for each, a read of 64 KB took the hub 18 ms.
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

/** Where in the line in front of a chunk the next byte stands. */
type SizePart = 'digits' | 'blanks' | 'extension' | 'line-end'

const headEnd = '\r\n\r\n'
const lineEnd = '\r\n'
const carriageReturn = 0x0d
const lineFeed = 0x0a
const semicolon = 0x3b

/** More than any program says: Node.js takes half of it. */
const mostHeadBytes = 32 * 1024
/** Header lines of an answer, and trailers. Each costs more than its bytes say. */
const mostFields = 256
/** Hexadecimal digits of a chunk's size. */
const mostDigits = 12
/** Programs may write more into the line than the size (RFC 9112, section 7.1.1), and none does. */
const mostSizeBytes = 256
/** A server says `103 Early Hints` once, if ever. One that does nothing else would keep the hub busy. */
const mostInterimAnswers = 8

/** Chunks that cost as much as a name or a value in a head. */
const fieldPieces = 4
/** For so many, a loop is quicker than a call. */
const fewBytes = 32

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
  #sizePart: SizePart = 'digits'
  #digits = 0
  /** Of the line in front of a chunk, or of the line's end behind it. */
  #lineBytes = 0
  #pieces = 0
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
   * browser a write. Throws where it is no answer, and what the listener throws. Returns how many pieces it was made of: chunks, and
   * lines of heads and trailers.
   */
  take(chunk: Buffer): number {
    this.#bodyFrom = this.#bodyTo = this.#pieces = 0
    const at = this.#read(chunk)
    if (this.#bodyTo > this.#bodyFrom) this.#listener.onBody(chunk.subarray(this.#bodyFrom, this.#bodyTo))
    if (this.#state === 'over') this.#end(at < chunk.length)
    return this.#pieces
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
          at = this.#readSize(chunk, at)
          break
        case 'chunk-end':
          at = this.#readChunkEnd(chunk, at)
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
    if (length > (end < 0 ? most + mark.length - 1 : most)) throw tooMuch()
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
    this.#pieces += fieldPieces * head.headers.length
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
    else if (framing === 'chunked') this.#beginSize()
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
    if (this.#left === 0) {
      this.#lineBytes = 0
      this.#state = this.#state === 'sized' ? 'over' : 'chunk-end'
    }
    return this.#addBody(chunk, at, end)
  }

  #addBody(chunk: Buffer, at: number, end: number): number {
    if (this.#bodyTo === 0) this.#bodyFrom = this.#bodyTo = at
    if (this.#bodyTo === at) this.#bodyTo = end
    else if (end - at > fewBytes) {
      chunk.copyWithin(this.#bodyTo, at, end)
      this.#bodyTo += end - at
    } else for (let from = at; from < end; from++) chunk[this.#bodyTo++] = chunk[from] ?? 0
    return end
  }

  #beginSize(): void {
    this.#state = 'size'
    this.#sizePart = 'digits'
    this.#left = this.#digits = this.#lineBytes = 0
  }

  #readSize(chunk: Buffer, from: number): number {
    for (let at = from; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0
      if (this.#sizePart === 'line-end') {
        if (byte !== lineFeed) throw noSize()
        this.#pieces++
        this.#state = this.#left === 0 ? 'trailers' : 'chunk'
        return at + 1
      }
      if (byte === carriageReturn) {
        if (this.#digits === 0 || this.#sizePart === 'blanks') throw noSize()
        this.#sizePart = 'line-end'
        continue
      }
      if (++this.#lineBytes > mostSizeBytes) throw tooMuch()
      this.#addToSize(byte)
    }
    return chunk.length
  }

  #addToSize(byte: number): void {
    if (this.#sizePart === 'extension') {
      if (byte !== 0x09 && (byte < 0x20 || byte === 0x7f)) throw noSize()
      return
    }
    const digit = this.#sizePart === 'digits' ? hexadecimal(byte) : -1
    if (digit >= 0) {
      if (++this.#digits > mostDigits) throw noSize()
      this.#left = this.#left * 16 + digit
    } else if (byte === semicolon && this.#digits > 0) this.#sizePart = 'extension'
    else if (isBlank(byte) && this.#digits > 0) this.#sizePart = 'blanks'
    else throw noSize()
  }

  #readChunkEnd(chunk: Buffer, at: number): number {
    if (chunk[at] !== (this.#lineBytes === 0 ? carriageReturn : lineFeed)) throw noSize()
    if (++this.#lineBytes === lineEnd.length) this.#beginSize()
    return at + 1
  }

  #takeTrailer(): void {
    const line = this.#gathered
    this.#gathered = ''
    if (line === '') {
      this.#state = 'over'
      return
    }
    this.#trailerBytes += line.length + lineEnd.length
    this.#pieces += fieldPieces
    readFields(line, this.#trailers)
  }
}

function hexadecimal(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const letter = byte | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}

function noSize(): Error {
  return new Error('it cuts its answer into pieces of no size')
}

function tooMuch(): Error {
  return new Error('it says more than anybody can take in')
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
  // Content-Length and Transfer-Encoding together: refuse (RFC 9112, 6.3; response smuggling).
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
    if (into.push(text.slice(at, colon), trimmed(text, colon + 1, end)) > 2 * mostFields) throw tooMuch()
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
