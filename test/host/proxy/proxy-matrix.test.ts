/**
 * What comes out of the hub is what went into it: each case of HTTP and of WebSockets is asked of one server twice, through the hub and
 * directly, and the answers are the same. More of what a proxy can get wrong is in test/security/requests.test.ts (requests that can be
 * read in two ways) and test/host/servers/hostile-server.test.ts (answers that can).
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { WebSocket } from 'ws'
import { openStandIn, type StandIn } from '../../harness/peers/fake-jupyter.ts'
import { lines, say, statusesIn } from '../../harness/peers/raw-http.ts'
import type { Classroom } from '../../harness/product/classroom.ts'

let classroom: Classroom
let standIn: StandIn
let cookie: string
/** Where the server is asked: through the hub, and directly. */
let ways: { through: string; directly: string }

const patienceMs = 60_000

before(async () => {
  standIn = await openStandIn()
  classroom = standIn.classroom
  cookie = standIn.cookie
  ways = { through: classroom.url, directly: standIn.address }
})
after(() => standIn?.[Symbol.asyncDispose]())

interface Asked {
  method?: string
  path: string
  headers?: Record<string, string>
  /** Pieces, each a chunk of its own where no length is given. */
  body?: readonly string[]
}

interface Answered {
  status: number | undefined
  reason: string | undefined
  /** Name, value, name, value, but for those of the connection. */
  headers: string[]
  body: string
  trailers: string[]
}

const ofConnection = new Set(['connection', 'keep-alive', 'transfer-encoding', 'date', 'trailer'])

function open(url: string, { method = 'GET', path, headers = {} }: Asked) {
  return httpRequest(`${url}/user/ann/${path}`, {
    method,
    headers: { cookie, ...headers },
    agent: false,
    signal: AbortSignal.timeout(patienceMs),
  })
}

async function ask(url: string, asked: Asked): Promise<Answered> {
  const call = open(url, asked)
  for (const piece of asked.body ?? []) call.write(piece)
  call.end()
  const [answer] = (await once(call, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk)
  const { statusCode: status, statusMessage: reason, rawHeaders, rawTrailers: trailers } = answer
  return {
    status,
    reason,
    headers: without(rawHeaders, ofConnection),
    body: Buffer.concat(chunks).toString('latin1'),
    trailers,
  }
}

function without(raw: readonly string[], names: ReadonlySet<string>): string[] {
  return raw.filter((_, index) => !names.has(raw[index - (index % 2)]?.toLowerCase() ?? ''))
}

/** Asks both ways, and gives the answer that the two have in common. */
async function same(asked: Asked): Promise<Answered> {
  const [through, directly] = await Promise.all([ask(ways.through, asked), ask(ways.directly, asked)])
  assert.deepEqual(through, directly)
  return through
}

async function hubMemoryMb(field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await classroom.host.readFile(`/proc/${await hubPid()}/status`)
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024
}

async function hubPid(): Promise<string> {
  return (await classroom.host.run(['systemctl', 'show', '--value', '--property=MainPID', 'tljh-hub'])).stdout.trim()
}

for (const [what, asked, status] of [
  ['a part of a file', { path: 'range', headers: { range: 'bytes=500-9999' } }, 206],
  ['a whole file', { path: 'range' }, 200],
  ['the head of an answer', { method: 'HEAD', path: 'range' }, 200],
  ['an answer without a body', { path: 'none' }, 204],
  ['nothing new', { path: 'unchanged', headers: { 'if-none-match': '"e"' } }, 304],
  ['an answer after early hints', { path: 'hints' }, 200],
  ['many cookies, long headers and such with umlauts', { path: 'many' }, 200],
  ['an answer that ends with its connection', { path: 'old' }, 200],
  [
    'a body of known length',
    { method: 'POST', path: 'echo', headers: { 'content-length': '6' }, body: ['foobar'] },
    200,
  ],
  ['a body in chunks', { method: 'PUT', path: 'echo', body: ['foo', 'bar', 'x'.repeat(300_000)] }, 200],
  [
    'a body where one is unusual',
    { method: 'DELETE', path: 'echo', headers: { 'content-length': '3' }, body: ['foo'] },
    200,
  ],
  ['a body of no length', { method: 'POST', path: 'echo', headers: { 'content-length': '0' } }, 200],
] as const satisfies readonly [string, Asked, number][]) {
  test(`${what} is the same through the hub as without it`, async () => {
    assert.equal((await same(asked)).status, status)
  })
}

test('a trailer comes through, and none that would be a header', async () => {
  const { trailers, body } = await ask(ways.through, { path: 'trailers' })
  assert.equal(body, 'body')
  assert.deepEqual(trailers, ['X-Checksum', 'abc'])
})

test('a request arrives as it was sent: address, query, headers and body, byte for byte', async () => {
  const path = "mirror/a%2Fb%2f/%C3%A9%e7%a7%80~@!$&'()*+,;=:/%20//x?q=%2F&r=a+b&%5B%5D=%00&caf%E9=?/../#".slice(0, -1)
  const headers = {
    'X-Case': 'Kept',
    'x-latin': 'caf\xe9',
    'x-empty': '',
    'x-long': 'l'.repeat(6_000),
    accept: '*/*',
    te: 'gzip',
  }
  const body = ['a\r\nb', '\0\xff']
  const ofHub = new Set([...ofConnection, 'host', 'cookie', 'te', 'content-length'])
  const [through, directly] = await Promise.all(
    [ways.through, ways.directly].map(async url => {
      const answer = await ask(url, { method: 'PATCH', path, headers, body })
      return JSON.parse(answer.body) as { url: string; headers: string[]; body: string; length: number }
    }),
  )
  assert.ok(through && directly)
  assert.deepEqual([through.url, through.body, through.length], [`/user/ann/${path}`, directly.body, directly.length])
  const own = /^x-(?:forwarded-.*|tljh-user)$/i
  const arrived = without(through.headers, ofHub).filter((_, index, all) => !own.test(all[index - (index % 2)] ?? ''))
  assert.deepEqual(arrived, without(directly.headers, ofHub))
})

test('by IPv6 it is the same, and the server hears from where', async () => {
  const curl = ['curl', '--silent', '--show-error', '--fail', '--header', `Cookie: ${cookie}`]
  const { stdout } = await classroom.host.run([...curl, 'http://[::1]/user/ann/mirror/six'])
  const { url, headers } = JSON.parse(stdout) as { url: string; headers: string[] }
  assert.equal(url, '/user/ann/mirror/six')
  const header = (name: string) => headers[headers.findIndex(one => one.toLowerCase() === name) + 1]
  assert.equal(header('x-forwarded-for'), '::1')
  assert.equal(header('host'), '[::1]')
})

test('what one sends comes back while one still sends', async () => {
  for (const url of [ways.through, ways.directly]) {
    const call = open(url, { method: 'POST', path: 'echo' })
    call.write('one')
    const [answer] = (await once(call, 'response')) as [IncomingMessage]
    for (const piece of ['one', 'two', 'three']) {
      if (piece !== 'one') call.write(piece)
      const [chunk] = (await once(answer, 'data')) as [Buffer]
      assert.equal(chunk.toString(), piece)
    }
    call.end()
    await once(answer.resume(), 'end')
  }
})

test('an event arrives when it is sent, not when the stream ends', async () => {
  const call = open(ways.through, { path: 'events' }).end()
  const [answer] = (await once(call, 'response')) as [IncomingMessage]
  assert.equal(String((await once(answer, 'data'))[0]), 'data: first\n\n')
  for (let count = 0; count < 3; count++) {
    const arrived = once(answer, 'data')
    await ask(ways.directly, { path: 'tell' })
    assert.equal(String((await arrived)[0]), 'data: told\n\n')
  }
  call.destroy()
})

test('who asks before sending a body is told to go on', async () => {
  const head = (url: string) => [
    'POST /user/ann/echo HTTP/1.1',
    `Host: ${new URL(url).host}`,
    `Cookie: ${cookie}`,
    'Expect: 100-continue',
    'Content-Length: 4',
    'Connection: close',
  ]
  for (const url of [ways.through, ways.directly]) {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port) || 80, hostname)
    socket.write(lines(head(url)))
    let text = String((await once(socket, 'data'))[0])
    assert.match(text, /^HTTP\/1\.1 100 Continue\r\n\r\n/)
    socket.write('body')
    for await (const chunk of socket) text += chunk
    assert.match(text, /\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*body/)
  }
})

test('a server that refuses an upload before it has all of it is heard, whether the connection is kept or not', async () => {
  const size = 20 * 2 ** 20
  // Of those that are not kept, some in a hundred were broken before the answer had been read.
  for (const connection of Array.from({ length: 60 }, (_, index) => (index % 4 === 0 ? 'keep-alive' : 'close'))) {
    const headers = { 'content-length': String(size), connection }
    const call = open(ways.through, { method: 'PUT', path: 'refuse', headers })
    call.write(Buffer.alloc(size))
    const [answer] = (await once(call, 'response')) as [IncomingMessage]
    assert.equal(answer.statusCode, 413)
    assert.equal(await text(answer), 'too big')
    call.on('error', () => undefined)
    call.destroy()
  }
})

test('three gigabytes are saved without being kept in the hub', async () => {
  const size = 3 * 2 ** 30
  const chunk = Buffer.alloc(2 ** 20, 'u')
  const before = await hubMemoryMb('VmRSS')
  await classroom.host.run(['sh', '-c', `echo 5 >/proc/${await hubPid()}/clear_refs`])
  const call = httpRequest(`${ways.through}/user/ann/swallow`, {
    method: 'PUT',
    headers: { cookie, 'content-length': size },
    agent: false,
  })
  const answered = once(call, 'response')
  for (let sent = 0; sent < size; sent += chunk.length) if (!call.write(chunk)) await once(call, 'drain')
  call.end()
  const [answer] = (await answered) as [IncomingMessage]
  assert.equal(String((await once(answer, 'data'))[0]), String(size))
  const most = await hubMemoryMb('VmHWM')
  // When it frees what it has passed on is the hub's affair, and takes longer on a busy machine.
  assert.ok(most < before + 500, `${before} MB before, ${most} MB at most`)
})

test('who does not read what is downloaded holds up the server, and fills no memory', async () => {
  const before = await hubMemoryMb('VmRSS')
  const calls = Array.from({ length: 20 }, () => open(ways.through, { path: 'endless' }).end())
  const answers = (await Promise.all(calls.map(call => once(call, 'response')))) as [IncomingMessage][]
  for (const [answer] of answers) answer.pause()
  // The server goes on until nobody takes any more; meanwhile others are served.
  for (let count = 0; count < 50; count++) await ask(ways.through, { path: 'range' })
  const memory = await hubMemoryMb('VmRSS')
  for (const call of calls) call.on('error', () => undefined).destroy()
  assert.ok(memory < before + 200, `${before} MB before, ${memory} MB with 20 who do not read`)
})

test('a browser that goes takes its request to the server with it', async () => {
  const count = async (path: string) => Number((await ask(ways.directly, { path })).body)
  const [arrived, gone] = [await count('waiting'), await count('broken')]
  const calls = Array.from({ length: 30 }, (_, index) =>
    open(ways.through, index % 2 ? { path: 'never' } : { method: 'POST', path: 'never' }),
  )
  for (const call of calls) {
    call.on('error', () => undefined)
    if (call.method === 'POST') call.write('half a body')
    else call.end()
  }
  while ((await count('waiting')) < arrived + calls.length) await delay(50)
  for (const call of calls) call.destroy()
  while ((await count('broken')) < gone + calls.length) await delay(50)
})

test('half an answer is half an answer', async () => {
  for (const url of [ways.through, ways.directly]) await assert.rejects(ask(url, { path: 'half' }))
})

test('an address that cannot be decoded is the asker’s mistake', async () => {
  for (const path of ['mirror/%', 'mirror/%ff', 'mirror/%zz', 'mirror/a%2']) {
    assert.equal((await ask(ways.through, { path })).status, 400, path)
  }
})

function webSocket(url: string, path: string): WebSocket {
  return new WebSocket(`${url.replace(/^http/, 'ws')}/user/ann/${path}`, { headers: { cookie } })
}

test('messages of a WebSocket come back as they were, small, huge and many', async () => {
  for (const url of [ways.through, ways.directly]) {
    const socket = webSocket(url, 'ws')
    await once(socket, 'open')
    const messages = [
      Buffer.from('a'),
      Buffer.alloc(5 * 2 ** 20, 'b'),
      ...Array.from({ length: 200 }, (_, index) => Buffer.from(String(index))),
    ]
    const back: Buffer[] = []
    const all = new Promise<void>(resolve =>
      socket.on('message', (data: Buffer) => {
        back.push(data)
        if (back.length === messages.length) resolve()
      }),
    )
    for (const message of messages) socket.send(message)
    await all
    assert.deepEqual(back.map(String), messages.map(String))
    socket.close(4002, 'enough')
    const [code] = (await once(socket, 'close')) as [number]
    assert.equal(code, 4002)
  }
})

test('what a server says last on a WebSocket arrives whole, with its reason', async () => {
  for (const url of [ways.through, ways.directly]) {
    const socket = webSocket(url, 'farewell')
    const [message] = (await once(socket, 'message')) as [Buffer]
    assert.equal(message.length, 4 * 2 ** 20)
    const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
    assert.deepEqual([code, String(reason)], [4001, 'that was all'])
  }
})

test('a WebSocket that the server refuses is refused with its words', async () => {
  for (const url of [ways.through, ways.directly]) {
    const [, answer] = (await once(webSocket(url, 'refused'), 'unexpected-response')) as [unknown, IncomingMessage]
    assert.equal(answer.statusCode, 403)
    assert.equal(String((await once(answer, 'data'))[0]), 'no')
  }
})

test('a WebSocket that breaks on one side leaves nothing on the other', async () => {
  const { host } = classroom
  const descriptors = async () => (await host.run(['ls', `/proc/${await hubPid()}/fd`])).stdout.split('\n').length
  await ask(ways.through, { path: 'range' })
  const before = await descriptors()
  const sockets = Array.from({ length: 50 }, () => webSocket(ways.through, 'ws'))
  await Promise.all(sockets.map(socket => once(socket, 'open')))
  // The ones to the server may have been kept from requests before.
  assert.ok((await descriptors()) >= before + sockets.length)
  for (const socket of sockets) {
    socket.on('error', () => undefined)
    socket.terminate()
  }
  while ((await descriptors()) > before + 10) await delay(50)
})

test('whatever is sent on a connection, the next request on it is understood as what it is', async () => {
  const { host } = new URL(ways.through)
  const own = [`Host: ${host}`, `Cookie: ${cookie}`]
  const name = fc.constantFrom(
    'X',
    'Accept',
    'Content-Length',
    'Transfer-Encoding',
    'Connection',
    'Upgrade',
    'Expect',
    'TE',
    'Host',
    'X_Y',
    '',
    'Sec-WebSocket-Key',
    'X\xff',
    'Trailer',
  )
  const value = fc.oneof(
    fc.constantFrom(
      '',
      '0',
      '5',
      '-1',
      '+5',
      '5, 5',
      'chunked',
      'identity',
      'close',
      'keep-alive',
      'Upgrade',
      'websocket',
      'h2c',
      '100-continue',
      'x\ty',
      '\x7f',
      '\x01',
      '\0',
      'a\rb',
      'a\nb',
      '\xe9',
      'l'.repeat(9_000),
    ),
    fc.string({ maxLength: 20 }),
  )
  const line = fc.constantFrom(
    'GET /user/ann/mirror',
    'POST /user/ann/mirror',
    'HEAD /user/ann/mirror',
    'OPTIONS /user/ann/mirror',
    'PUT /user/ann/swallow',
    'GET /user/ann/',
    'get /user/ann/mirror',
    'GET  /user/ann/mirror',
    'BREW /user/ann/mirror',
    'GET http://x/user/ann/mirror',
    'GET /user/ann/mirror?\xff',
  )
  const version = fc.constantFrom(' HTTP/1.1', ' HTTP/1.1', ' HTTP/1.0', ' HTTP/2.0', '', ' HTTP/1.1 ')
  const body = fc.constantFrom(
    '',
    '12345',
    '5\r\n12345\r\n0\r\n\r\n',
    '0\r\n\r\n',
    'GET /user/ann/smuggled HTTP/1.1\r\n\r\n',
  )
  const last = lines(['GET /user/ann/mirror?last HTTP/1.1', ...own, 'Connection: close'])
  await fc.assert(
    fc.asyncProperty(
      line,
      version,
      fc.array(fc.tuple(name, value), { maxLength: 5 }),
      body,
      async (first, kind, more, text) => {
        const head = [first + kind, ...own, ...more.map(([key, content]) => `${key}: ${content}`)]
        // Whoever waits for a body that never comes is cut off after a while; here the other half is closed.
        const answer = await sayAndClose(lines(head, text) + last)
        const statuses = statusesIn(answer)
        assert.ok(
          statuses.every(status => status < 500 || status === 501 || status === 505),
          answer.slice(0, 500),
        )
        // The last one was heard as itself, or not at all.
        const heard = answer.match(/"url":"[^"]*"/g) ?? []
        for (const url of heard) assert.doesNotMatch(url, /smuggled\?last/)
        assert.ok(heard.filter(url => url.includes('?last')).length <= 1)
      },
    ),
    { numRuns: 200 },
  )
  assert.equal((await ask(ways.through, { path: 'none' })).status, 204)
  const { stdout } = await classroom.host.run(['systemctl', 'show', '--value', '--property=NRestarts', 'tljh-hub'])
  assert.equal(stdout.trim(), '0')
})

/** Until the other side closes as well. */
async function sayAndClose(text: string): Promise<string> {
  const { hostname, port } = new URL(ways.through)
  const socket = connect({ port: Number(port) || 80, host: hostname, allowHalfOpen: true })
  socket.on('error', () => undefined)
  socket.setTimeout(patienceMs, () => socket.destroy(new Error('the connection was left open')))
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.end(Buffer.from(text, 'latin1'))
  await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

test('requests that come in one piece are answered in their order', async () => {
  const { host } = new URL(ways.through)
  const one = (query: string, more: readonly string[] = []) =>
    lines([`GET /user/ann/mirror?${query} HTTP/1.1`, `Host: ${host}`, `Cookie: ${cookie}`, ...more])
  const answer = await say(ways.through, one('1') + one('2') + one('3', ['Connection: close']))
  assert.deepEqual(answer.match(/mirror\?\d/g), ['mirror?1', 'mirror?2', 'mirror?3'])
})

test('a WebSocket that is asked for behind an answer that is under way ends the connection', async () => {
  const { host } = new URL(ways.through)
  const head = (path: string, more: readonly string[] = []) =>
    lines([`GET /user/ann/${path} HTTP/1.1`, `Host: ${host}`, `Cookie: ${cookie}`, ...more])
  const handshake = head('ws', [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ])
  const gone = async () => Number((await ask(ways.directly, { path: 'broken' })).body)
  const before = await gone()
  assert.equal(await say(ways.through, head('never') + handshake), '')
  while ((await gone()) === before) await delay(50)
  assert.match(await say(ways.through, handshake, '\x88\x80abcd'), /^HTTP\/1\.1 101 /, 'alone it is a WebSocket')
})

test('more at once than the server has connections wait for their turn, and all are answered', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 300 })
  const statuses = await Promise.all(
    Array.from({ length: 300 }, async () => {
      const call = httpRequest(`${ways.through}/user/ann/mirror`, { headers: { cookie }, agent }).end()
      const [answer] = (await once(call, 'response')) as [IncomingMessage]
      await once(answer.resume(), 'end')
      return answer.statusCode
    }),
  )
  agent.destroy()
  assert.deepEqual(new Set(statuses), new Set([200]))
})
