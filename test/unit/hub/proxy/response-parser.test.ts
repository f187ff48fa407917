import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { type AnswerHead, AnswerParser, type Kind } from '../../../../hub/proxy/response-parser.ts'

/** What whoever asked has heard of an answer; texts have one character a byte. */
interface Heard {
  status: number
  reason: string
  headers: readonly string[]
  length: number | undefined
  body: string
  trailers: readonly string[]
  /** `kept`: the next thing can be asked on this connection. */
  ending: 'kept' | 'last' | 'upgrade' | 'refused' | 'unfinished'
  /** What has come behind an upgrade. */
  rest: string
}

interface Example {
  kind: Kind
  raw: string
  /** Whether the server closes the connection behind it. */
  closes?: true
  heard: Partial<Heard>
}

const nothing: Heard = {
  ...{ status: 0, reason: '', headers: [], length: undefined, body: '', trailers: [] },
  ...{ ending: 'unfinished', rest: '' },
}

const hello = { status: 200, reason: 'OK', body: 'hello', ending: 'kept' } as const
const sized = ['Content-Length', '5']
const cut = ['Transfer-Encoding', 'chunked']
const cutAnswer = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
const sizedAnswer = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'

const examples: readonly Example[] = [
  { kind: 'usual', raw: sizedAnswer, heard: { ...hello, headers: sized, length: 5 } },
  {
    kind: 'usual',
    raw: 'HTTP/1.1 404 N\xf6 \r\nX:a\r\nx: \t b \t c\t\r\nEmpty:\r\ncontent-length:5\r\n\r\n\r\n\r\n\0',
    heard: {
      ...{ status: 404, reason: 'N\xf6 ', length: 5, body: '\r\n\r\n\0', ending: 'kept' },
      headers: ['X', 'a', 'x', 'b \t c', 'Empty', '', 'content-length', '5'],
    },
  },
  {
    kind: 'usual',
    raw: 'HTTP/1.1 999\r\ncontent-length: 0\r\n\r\n',
    heard: { status: 999, headers: ['content-length', '0'], length: 0, ending: 'kept' },
  },
  { kind: 'usual', raw: `${cutAnswer}5\r\nhello\r\n0\r\n\r\n`, heard: { ...hello, headers: cut } },
  {
    kind: 'usual',
    raw: `${cutAnswer}1;a=b\r\nh\r\n003 ; c="d;\xe9"\r\nell\r\n1\r\no\r\n0;e\r\nDigest: 1\r\nX:\r\n\r\n`,
    heard: { ...hello, headers: cut, trailers: ['Digest', '1', 'X', ''] },
  },
  {
    kind: 'usual',
    raw: `${cutAnswer}A\r\n\r\n0\r\n\r\n012\r\n0b\r\n0123456789a\r\n00\r\n\r\n`,
    heard: { ...hello, headers: cut, body: '\r\n0\r\n\r\n0120123456789a' },
  },
  { kind: 'usual', raw: 'HTTP/1.1 200 OK\r\n\r\nhello', closes: true, heard: { ...hello, ending: 'last' } },
  { kind: 'usual', raw: 'HTTP/1.1 200 OK\r\n\r\n', closes: true, heard: { ...hello, body: '', ending: 'last' } },
  {
    kind: 'usual',
    raw: 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    heard: { ...hello, headers: sized, length: 5, ending: 'last' },
  },
  {
    kind: 'usual',
    raw: 'HTTP/1.1 200 OK\r\nConnection: Keep-Alive, CLOSE\r\nContent-Length: 5\r\n\r\nhello',
    heard: { ...hello, headers: ['Connection', 'Keep-Alive, CLOSE', ...sized], length: 5, ending: 'last' },
  },
  {
    kind: 'usual',
    raw: 'HTTP/1.1 200 OK\r\nConnection: not-close\r\nContent-Length: 5\r\n\r\nhello',
    heard: { ...hello, headers: ['Connection', 'not-close', ...sized], length: 5 },
  },
  {
    kind: 'head',
    raw: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
    heard: { ...hello, headers: sized, length: 5, body: '' },
  },
  { kind: 'head', raw: cutAnswer, heard: { ...hello, headers: cut, body: '' } },
  { kind: 'head', raw: 'HTTP/1.1 200 OK\r\n\r\n', heard: { ...hello, body: '' } },
  { kind: 'usual', raw: 'HTTP/1.1 204 No\r\n\r\n', heard: { status: 204, reason: 'No', ending: 'kept' } },
  {
    kind: 'usual',
    raw: 'HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n',
    heard: { status: 304, reason: 'Same', headers: sized, length: 5, ending: 'kept' },
  },
  {
    kind: 'usual',
    raw: `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n${sizedAnswer}`,
    heard: { ...hello, headers: sized, length: 5 },
  },
  {
    kind: 'upgrade',
    raw: 'HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hiHTTP/1.1 200 OK\r\n\r\n',
    heard: {
      ...{ status: 101, reason: 'S', headers: ['Connection', 'Upgrade', 'Upgrade', 'websocket'] },
      ...{ ending: 'upgrade', rest: '\x81\x02hiHTTP/1.1 200 OK\r\n\r\n' },
    },
  },
  {
    kind: 'upgrade',
    raw: 'HTTP/1.1 103 E\r\n\r\nHTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n',
    heard: { status: 101, reason: 'S', headers: ['Upgrade', 'websocket'], ending: 'upgrade' },
  },
  // Nobody knows whether the server takes what comes next for another request.
  { kind: 'upgrade', raw: sizedAnswer, heard: { ...hello, headers: sized, length: 5, ending: 'last' } },
]

test('whatever the two pieces in which an answer comes, the same is understood', () => {
  for (const { kind, raw, closes, heard } of examples) {
    for (let at = 0; at <= raw.length; at++) {
      const [answer] = hear([{ kind, pieces: piecesOf(raw, [at]), closes }])
      assert.deepEqual(answer, { ...nothing, ...heard }, `${JSON.stringify(raw)} at ${at}`)
    }
  }
})

test('byte by byte, the same is understood', () => {
  for (const { kind, raw, closes, heard } of examples) {
    const [answer] = hear([{ kind, pieces: piecesOf(raw, [...raw].keys()), closes }])
    assert.deepEqual(answer, { ...nothing, ...heard }, JSON.stringify(raw))
  }
})

test('answers that come one after the other on one connection are each understood, whatever their pieces', () => {
  const inPieces = (from: readonly Example[]) =>
    fc.record({ example: fc.constantFrom(...from), cuts: fc.array(fc.nat()) })
  const first = fc.array(inPieces(examples.filter(({ heard }) => heard.ending === 'kept')), { maxLength: 6 })
  fc.assert(
    fc.property(first, inPieces(examples), (answers, last) => {
      const all = [...answers, last]
      const asked = all.map(({ example, cuts }) => ({ ...example, pieces: piecesOf(example.raw, cuts) }))
      const expected = all.map(({ example }) => ({ ...nothing, ...example.heard }))
      assert.deepEqual(hear(asked), expected)
    }),
    { numRuns: 2_000 },
  )
})

test('whatever the pieces, the same is refused, and the same was heard of it before', () => {
  // What comes behind an answer is no part of it, so whether anything does is seen at once or later. Of a body that is refused, some may
  // be heard or none: half an answer is half an answer.
  const heardOf = (kind: Kind, pieces: readonly Buffer[]) => {
    const [{ ending, rest, ...heard } = nothing] = hear([{ kind, pieces, closes: true }])
    return { ...heard, body: ending === 'refused' ? '' : heard.body, ending: ending === 'last' ? 'kept' : ending }
  }
  fc.assert(
    fc.property(rawAnswer(), kindOf(), fc.array(fc.nat()), (raw, kind, cuts) => {
      assert.deepEqual(heardOf(kind, piecesOf(raw, cuts)), heardOf(kind, piecesOf(raw, [])))
    }),
    { numRuns: 10_000 },
  )
})

test('what we take for a whole answer, node:http takes for the same one', async t => {
  const ask = await askingNode(t)
  let understood = 0
  await fc.assert(
    fc.asyncProperty(rawAnswer(), kindOf(), async (raw, kind) => {
      const ours = wholeAnswer(raw, kind)
      if (!ours) return
      understood++
      const theirs = await ask(ours.raw, kind)
      if (isKnownToDiffer(ours, theirs.refused)) return
      const { status, headers, body, trailers } = ours.heard
      assert.deepEqual(theirs, { refused: undefined, status, headers, body, trailers })
    }),
    { numRuns: 30_000 },
  )
  assert.ok(understood > 2_000, `only ${understood} were answers`)
})

test('an answer whose length could be read in two ways is refused', () => {
  const framings = [
    ...['Content-Length: 5\r\nContent-Length: 5', 'Content-Length: 5\r\ncontent-length: 6', 'Content-Length: 5,5'],
    ...['Content-Length: +5', 'Content-Length: -1', 'Content-Length: 0x5', 'Content-Length: 5 5', 'Content-Length:'],
    ...['Content-Length: 5.0', 'Content-Length: 1e1', 'Content-Length: 9999999999999999', 'Content-Length: \xb2'],
    ...['Content-Length: 5\r\nTransfer-Encoding: chunked', 'Transfer-Encoding: chunked\r\nContent-Length: 5'],
    ...['Transfer-Encoding: gzip', 'Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: chunked, chunked'],
    ...[
      'Transfer-Encoding: identity',
      'Transfer-Encoding:',
      'Transfer-Encoding: xchunked',
      'Transfer-Encoding: chunked;a',
    ],
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked',
  ]
  for (const framing of framings) assert.equal(endingOf(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`), 'refused', framing)
  assert.equal(endingOf('HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'), 'refused')
})

test('an answer in chunks may be the last one, whatever is said first', () => {
  const [close, chunked] = ['Connection: close', 'Transfer-Encoding: chunked']
  for (const both of [`${chunked}\r\n${close}`, `${close}\r\n${chunked}`]) {
    assert.equal(endingOf(`HTTP/1.1 200 OK\r\n${both}\r\n\r\n0\r\n\r\n`), 'last', both)
  }
})

test('what is no head is refused', () => {
  const starts = [
    ...['', ' HTTP/1.1 200 OK', '\r\nHTTP/1.1 200 OK', 'http/1.1 200 OK', 'HTTP/1.2 200 OK', 'HTTP/2.0 200 OK'],
    ...[
      'HTTP/1.1 200OK',
      'HTTP/1.1  200 OK',
      'HTTP/1.1 099 OK',
      'HTTP/1.1 20 OK',
      'HTTP/1.1 2000 OK',
      'HTTP/1.1 200\tOK',
    ],
    ...['HTTP/1.1 200 O\rK', 'HTTP/1.1 200 O\nK', 'HTTP/1.1 200 OK\r', 'ICY 200 OK', 'HTTP/1.1 101 Switching'],
  ]
  for (const start of starts) assert.equal(endingOf(`${start}\r\nContent-Length: 0\r\n\r\n`), 'refused', start)
  const fields = [
    ...['X : 1', ' X: 1', '\tX: 1', ': 1', 'X', 'X\r\nY: 1', 'X: 1\r\n Y: 2', 'X: 1\r\n\tfolded', 'X(: 1', 'X\xe9: 1'],
    ...['X: \0', 'X: a\rb', 'X: a\nY: b', 'X: \x7f', 'X: \x1f', 'X: 1\r', '\0: 1'],
  ]
  for (const field of fields) {
    assert.equal(endingOf(`HTTP/1.1 200 OK\r\n${field}\r\nContent-Length: 0\r\n\r\n`), 'refused', field)
    assert.equal(endingOf(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${field}\r\n\r\n`), 'refused', field)
    assert.equal(endingOf(`${cutAnswer}0\r\n${field}\r\n\r\n`), 'refused', `${field} behind the body`)
  }
})

test('what is no chunk is refused', () => {
  const chunks = [
    ...[
      '\r\nhello\r\n',
      ' 5\r\nhello\r\n',
      '5 \r\nhello\r\n',
      '0x5\r\nhello\r\n',
      '+5\r\nhello\r\n',
      '-5\r\nhello\r\n',
    ],
    ...['5,5\r\nhello\r\n', '5\nhello\r\n', '5\rhello\r\n', 'g\r\nhello\r\n', '5;\0\r\nhello\r\n', '5;\n\r\nhello\r\n'],
    ...[
      '5\r\nhello',
      '5\r\nhello\n',
      '5\r\nhello\r',
      '5\r\nhello6\r\n',
      '4\r\nhello\r\n',
      '6\r\nhello\r\n',
      '5.0\r\nhello\r\n',
    ],
    ...['0000000000005\r\nhello\r\n', 'fffffffffffff\r\nhello\r\n', 'ffffffffffffffff5\r\nhello\r\n'],
  ]
  for (const chunk of chunks) assert.equal(endingOf(`${cutAnswer}${chunk}0\r\n\r\n`), 'refused', JSON.stringify(chunk))
})

test('an answer that breaks off is none', () => {
  const wholes = [sizedAnswer, `${cutAnswer}5\r\nhello\r\n0\r\nX: 1\r\n\r\n`, 'HTTP/1.1 204 No\r\n\r\n']
  for (const whole of wholes) {
    for (let at = 0; at < whole.length; at++)
      assert.equal(endingOf(whole.slice(0, at)), 'unfinished', whole.slice(0, at))
  }
})

test('a head that never ends is refused', () => {
  const most = 32 * 1024
  const head = (bytes: number) => `HTTP/1.1 204 No\r\nX: ${'x'.repeat(bytes - 'HTTP/1.1 204 No\r\nX: '.length)}`
  assert.equal(endingOf(`${head(most)}\r\n\r\n`), 'kept')
  assert.equal(endingOf(`${head(most + 1)}\r\n\r\n`), 'refused')
  for (const [start, more] of [
    ['HTTP/1.1 200 OK\r\nX: ', 'x'],
    ['HTTP/1.1 200 OK\r\n', 'X: 1\r\n'],
    ['', 'HTTP'],
    ['HTTP/1.1 200 ', ' '],
  ] as const) {
    const taken = takenOf(start, more.repeat(250))
    assert.ok(taken > most - 2_000 && taken < most + 2_000, `${taken} of ${JSON.stringify(more)}`)
  }
})

test('the line in front of a chunk is refused when it never ends', () => {
  const line = (bytes: number) => `5;${'x'.repeat(bytes - 2)}\r\nhello\r\n`
  assert.equal(endingOf(`${cutAnswer}${line(256)}${line(256)}0\r\n\r\n`), 'kept')
  assert.equal(endingOf(`${cutAnswer}${line(257)}0\r\n\r\n`), 'refused')
  for (const start of ['', '5;', '5 ', '0;']) assert.ok(takenOf(cutAnswer + start, 'a') < cutAnswer.length + 270, start)
  assert.ok(takenOf(`${cutAnswer}5\r\nhello`, 'a') < cutAnswer.length + 12)
})

test('what stands behind the last chunk is refused when it never ends', () => {
  const most = 32 * 1024
  const start = `${cutAnswer}0\r\n`
  const line = (bytes: number) => `X: ${'x'.repeat(bytes - 3)}`
  assert.equal(endingOf(`${start}${line(most - 2)}\r\n\r\n`), 'kept')
  assert.equal(endingOf(`${start}${line(most + 1)}\r\n\r\n`), 'refused')
  for (const [first, more] of [
    ['X: ', 'x'.repeat(500)],
    ['', `X: ${'x'.repeat(500)}\r\n`],
    ['', `${line(30_000)}\r\n`],
  ] as const) {
    const taken = takenOf(start + first, more)
    assert.ok(taken > most / 2 && taken < most + 31_000, `${taken} of ${JSON.stringify(more.slice(0, 20))}`)
  }
})

test('more lines than any program writes are refused, in a head and behind the last chunk', () => {
  const fields = (count: number) => 'X:\r\n'.repeat(count)
  for (const [count, ending] of [
    [256, 'kept'],
    [257, 'refused'],
  ] as const) {
    assert.equal(endingOf(`HTTP/1.1 204 No\r\n${fields(count)}\r\n`), ending)
    assert.equal(endingOf(`${cutAnswer}0\r\n${fields(count)}\r\n`), ending)
  }
})

test('what an answer was made of is counted: chunks, and lines at more than that', () => {
  const parser = new AnswerParser({ onHead() {}, onBody() {}, onEnd() {}, onUpgrade() {} })
  const take = (text: string) => parser.take(Buffer.from(text))
  parser.begin('usual')
  assert.ok(take(cutAnswer) > 1)
  assert.equal(take('1\r\na\r\n'.repeat(1_000)), 1_000)
  assert.equal(take('3e8\r\n'), 1)
  assert.equal(take('a'.repeat(1_000)), 0)
  assert.ok(take(`\r\n0\r\n${'X:\r\n'.repeat(100)}\r\n`) > 100)
})

test('a head that drips is understood', () => {
  const value = 'x'.repeat(32_000)
  const raw = `HTTP/1.1 204 No\r\nX: ${value}\r\n\r\n`
  const [answer] = hear([{ kind: 'usual', pieces: piecesOf(raw, [...raw].keys()) }])
  assert.deepEqual(answer, { ...nothing, status: 204, reason: 'No', headers: ['X', value], ending: 'kept' })
})

test('a server that only ever says that an answer is to come is refused', () => {
  const interim = 'HTTP/1.1 103 E\r\n\r\n'
  assert.equal(endingOf(interim.repeat(8) + sizedAnswer), 'kept')
  assert.equal(endingOf(interim.repeat(9)), 'refused')
  // So many each time, and not so many for ever.
  const asked = { kind: 'usual', pieces: piecesOf(interim.repeat(8) + sizedAnswer, []) } as const
  const endings = hear([asked, asked, asked]).map(({ ending }) => ending)
  assert.deepEqual(endings, ['kept', 'kept', 'kept'])
})

test('what comes behind an answer makes it the last one', () => {
  for (const { kind, raw, heard } of examples) {
    if (heard.ending !== 'kept') continue
    for (const behind of ['\r\n', sizedAnswer]) assert.equal(endingOf(raw + behind, kind), 'last', JSON.stringify(raw))
  }
})

test('what comes when nobody has asked is refused', () => {
  const parser = new AnswerParser({ onHead() {}, onBody() {}, onEnd() {}, onUpgrade() {} })
  parser.take(Buffer.alloc(0))
  assert.throws(() => parser.take(Buffer.from(sizedAnswer)))
  parser.begin('usual')
  parser.take(Buffer.from(sizedAnswer))
  parser.take(Buffer.alloc(0))
  assert.equal(parser.close(), false)
  assert.throws(() => parser.take(Buffer.from('\r\n')))
})

interface Asked {
  kind: Kind
  pieces: readonly Buffer[]
  closes?: true | undefined
}

/** Asks one thing after the other on one connection, as long as it is kept. */
function hear(asked: readonly Asked[]): Heard[] {
  const all: Heard[] = []
  let heard: Heard = { ...nothing }
  const takeHead = ({ status, reason, headers, length }: AnswerHead) =>
    Object.assign(heard, { status, reason, headers: [...headers], length })
  const parser = new AnswerParser({
    onHead: takeHead,
    onBody(piece) {
      assert.ok(piece.length > 0)
      heard.body += piece.toString('latin1')
    },
    onEnd(trailers, isLast) {
      assert.equal(heard.ending, 'unfinished')
      Object.assign(heard, { trailers: [...trailers], ending: isLast ? 'last' : 'kept' })
    },
    onUpgrade(head, rest) {
      assert.equal(heard.ending, 'unfinished')
      takeHead(head)
      Object.assign(heard, { ending: 'upgrade', rest: rest.toString('latin1') })
    },
  })
  for (const { kind, pieces, closes } of asked) {
    heard = { ...nothing }
    all.push(heard)
    parser.begin(kind)
    try {
      for (const piece of pieces) {
        if (heard.ending === 'unfinished') parser.take(piece)
        else if (heard.ending === 'upgrade') heard.rest += piece.toString('latin1')
      }
      if (closes && heard.ending === 'unfinished') parser.close()
    } catch {
      heard.ending = 'refused'
    }
    if (heard.ending !== 'kept') break
  }
  return all
}

/** How an answer ends that comes in one piece. */
function endingOf(raw: string, kind: Kind = 'usual'): Heard['ending'] | undefined {
  return hear([{ kind, pieces: piecesOf(raw, []) }])[0]?.ending
}

/** Bytes that are taken of an answer that goes on and on, until it is refused. */
function takenOf(start: string, more: string): number {
  const parser = new AnswerParser({ onHead() {}, onBody() {}, onEnd() {}, onUpgrade() {} })
  const piece = Buffer.from(more, 'latin1')
  parser.begin('usual')
  parser.take(Buffer.from(start, 'latin1'))
  for (let taken = start.length; taken < 2 ** 20; taken += piece.length) {
    try {
      parser.take(piece)
    } catch {
      return taken
    }
  }
  throw new Error(`${JSON.stringify(more)} is taken for ever`)
}

interface WholeAnswer {
  raw: string
  heard: Heard
}

/** The whole answer at the beginning of what a server has said before it closed the connection, and how it was understood. */
function wholeAnswer(raw: string, kind: Kind): WholeAnswer | undefined {
  const bytes = piecesOf(raw, [...raw].keys())
  const [heard = nothing] = hear([{ kind, pieces: bytes, closes: true }])
  if (heard.ending === 'refused' || heard.ending === 'unfinished') return undefined
  let length = 0
  while (length < raw.length && endingOf(raw.slice(0, length), kind) === 'unfinished') length++
  return { raw: raw.slice(0, length), heard: { ...heard, rest: '' } }
}

/** What node:http has heard. */
interface Theirs extends Pick<Heard, 'status' | 'headers' | 'body' | 'trailers'> {
  refused: string | undefined
}

/** Asks a server, which says `raw` and closes the connection, by node:http. */
async function askingNode(t: TestContext): Promise<(raw: string, kind: Kind) => Promise<Theirs>> {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-answers-'))
  const socketPath = join(folder, 'socket')
  let said = ''
  const server = createServer(socket => {
    socket.on('error', () => socket.destroy())
    socket.once('data', () => socket.end(said, 'latin1'))
  }).listen(socketPath)
  await once(server, 'listening')
  t.after(() => {
    server.close()
    rmSync(folder, { recursive: true })
  })
  return (raw, kind) => {
    said = raw
    const { promise, resolve } = Promise.withResolvers<Theirs>()
    const heard: Theirs = { refused: undefined, status: 0, headers: [], body: '', trailers: [] }
    const refuse = (error: Error) => resolve({ ...heard, refused: error.message })
    const headers = kind === 'upgrade' ? { connection: 'upgrade', upgrade: 'websocket' } : {}
    const method = kind === 'head' ? 'HEAD' : 'GET'
    request({ socketPath, agent: false, method, headers })
      .on('error', refuse)
      .on('upgrade', (answer, socket) => {
        socket.destroy()
        resolve({ ...heard, status: answer.statusCode ?? 0, headers: answer.rawHeaders })
      })
      .on('response', answer => {
        Object.assign(heard, { status: answer.statusCode, headers: answer.rawHeaders })
        answer.setEncoding('latin1').on('data', (piece: string) => {
          heard.body += piece
        })
        answer.on('error', refuse).on('end', () => resolve({ ...heard, trailers: answer.rawTrailers }))
      })
      .end()
    return promise
  }
}

/**
 * Node.js also refuses an answer for what nobody wants to know: the text behind the size of a chunk, a length that is told behind the
 * last one, and an answer that comes though the word that it will come said `Connection: close`. None of it changes what we understand.
 * And it does not know that a tab behind a value is a blank (RFC 9110, section 5.6.3), so that `chunked` with one means nothing to it.
 */
function isKnownToDiffer({ raw, heard }: WholeAnswer, refused: string | undefined): boolean {
  if (refused === undefined) return /^transfer-encoding:[\t ]*chunked ?\t[\t ]*\r$/im.test(raw)
  if (refused.includes('chunk extensions')) return true
  if (refused.includes('chunk size')) return /^[0-9a-f]+[\t ]+;/im.test(raw)
  if (refused.includes('Data after `Connection: close`')) return /^HTTP\/1\.[01] 1/.test(raw)
  return heard.trailers.some((name, at) => at % 2 === 0 && /^(?:content-length|transfer-encoding)$/i.test(name))
}

function kindOf(): fc.Arbitrary<Kind> {
  return fc.constantFrom<Kind>('usual', 'usual', 'usual', 'head', 'upgrade')
}

/** Answers, and what is nearly one. */
function rawAnswer(): fc.Arbitrary<string> {
  const mostly = (usual: string, ...others: string[]) =>
    fc.oneof({ weight: 20, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) })
  const start = fc.oneof(
    fc.constant('HTTP/1.1 200 OK'),
    fc.constantFrom('HTTP/1.0 200 OK', 'HTTP/1.1 204 No', 'HTTP/1.1 304 Same', 'HTTP/1.1 200', 'HTTP/1.1 999 \xe9\t\0'),
    fc.constantFrom(
      'HTTP/1.1 101 Switching',
      'HTTP/1.1 205 Reset',
      'HTTP/1.1 200OK',
      'HTTP/1.2 200 OK',
      'HTTP/1.1 099 No',
    ),
  )
  const name = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.constantFrom('Content-Length', 'Transfer-Encoding', 'Connection', 'Upgrade', 'X', 'Trailer'),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom('content-length', 'Content-Length ', ' X', '', 'X\xe9', 'X:', 'Proxy-Connection'),
    },
  )
  const value = fc.oneof(
    fc.constantFrom('5', '0', 'chunked', 'close', 'keep-alive', 'upgrade', 'websocket', 'a b'),
    fc.constantFrom('', '05', '+5', '0x5', '-1', '5,5', '5, 5', '5 ', '99999999999999999999', '999999999999999', '5\0'),
    fc.constantFrom('Chunked', 'gzip, chunked', 'chunked, chunked', 'identity', 'chunked;a', 'close, x', 'xclose'),
    fc.constantFrom('a\tb', '\xe9', '\x7f', '\0', 'a\rb', 'a\nb', 'a\r\n b', '\xa0 5'),
  )
  const field = fc.tuple(name, mostly(': ', ':', ':\t', ' :', ':  ', ''), value).map(parts => parts.join(''))
  const line = fc.tuple(field, mostly('\r\n', '\n', '\r', '\r\r\n', '\r\n ')).map(parts => parts.join(''))
  const head = fc
    .tuple(
      start,
      mostly('\r\n', '\n', '\r\n\r\n'),
      fc.array(line, { maxLength: 3 }),
      mostly('', 'X\r\n', ' folded\r\n'),
    )
    .map(([first, end, lines, last]) => first + end + lines.join('') + last)
  const framing = fc.constantFrom('', 'Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n')
  const size = mostly(
    '5',
    '05',
    '5;a',
    '5;a=b',
    '5 ;a',
    '5 ',
    '5;',
    '0x5',
    '+5',
    '',
    '5;\xe9',
    'ffffffffffffffff5',
    '5\t;"',
  )
  const chunk = fc.tuple(size, mostly('\r\n', '\n'), mostly('hello', 'hell', ''), mostly('\r\n', '\n', '', ' \r\n'))
  const trailer = fc.oneof(fc.constant(''), fc.constant(''), line)
  const chunks = fc.tuple(fc.array(chunk, { maxLength: 3 }), fc.constantFrom('0', '00', '0;a'), trailer)
  const body = fc.oneof(
    fc.constantFrom('', 'hello', 'hello again'),
    chunks.map(([pieces, last, late]) => `${pieces.flat().join('')}${last}\r\n${late}\r\n`),
  )
  const interim = mostly(
    '',
    'HTTP/1.1 100 Continue\r\n\r\n',
    'HTTP/1.1 103 E\r\nContent-Length: 5\r\nConnection: close\r\n\r\n',
  )
  const answer = fc
    .tuple(interim, head, framing, body)
    .map(([before, top, said, rest]) => `${before}${top}${said}\r\n${rest}`)
  const byte = fc.oneof(
    fc.constantFrom(...'\0\t\n\r ,:;05\x7f\x80\xff'),
    fc.nat(255).map(code => String.fromCharCode(code)),
  )
  const change = fc.record({ at: fc.nat(), removed: fc.nat(1), added: fc.oneof(fc.constant(''), byte) })
  return fc.tuple(answer, fc.array(change, { maxLength: 2 })).map(([raw, changes]) =>
    changes.reduce((text, { at, removed, added }) => {
      const from = at % (text.length + 1)
      return text.slice(0, from) + added + text.slice(from + removed)
    }, raw),
  )
}

/** Cut at each of `cuts`, as far as the text goes. */
function piecesOf(raw: string, cuts: Iterable<number>): Buffer[] {
  const bytes = Buffer.from(raw, 'latin1')
  const at = [...new Set([0, ...[...cuts].map(one => one % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end))
}
