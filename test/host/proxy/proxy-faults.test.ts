/**
 * Lines that fail, between the hub and a server and between a browser and the hub: slow, cut, reset, cut after so many bytes, closed late.
 * The proxy runs here, between two relays that do the harm. What holds after each fault: the next request is answered, and no connection is
 * left on any side.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  type AddressInfo,
  connect,
  createServer as createNetServer,
  type Server as NetServer,
  type Socket,
} from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { WebSocket, WebSocketServer } from 'ws'
import type { UserName } from '../../../config/users/names.ts'
import { createProxy, type Passage } from '../../../hub/proxy/proxy.ts'
import { ProblemError } from '../../../problem.ts'

/** What is done to a connection that came to a relay, and to the one that it is led on to. */
type Fault = (from: Socket, to: Socket) => void

/** One test waits for it; all others are to be done before, on a machine that has other things to do, too. */
const silenceLimitMs = 8_000
/** Longer than any of the faults holds something back. */
const closeMs = 100
const big = Buffer.alloc(2 * 2 ** 20, 'b')

let folder: string
let server: Server
let webSockets: WebSocketServer
let hub: Server
let behind: NetServer
let front: NetServer
let proxy: ReturnType<typeof createProxy>
/** Addresses of requests as they came to the server. */
let arrived: string[] = []
let refusals: unknown[] = []
let faultBehind: Fault = joined
let faultBefore: Fault = joined

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'proxy-faults-'))
  await mkdir(join(folder, 'ann'))
  server = createServer(answer)
  webSockets = new WebSocketServer({ server })
  webSockets.on('connection', client => client.on('error', () => undefined).on('message', data => client.send(data)))
  server.listen(join(folder, 'server'))
  behind = relay(
    () => connect(join(folder, 'server')),
    (from, to) => faultBehind(from, to),
  )
  behind.listen(join(folder, 'ann/socket'))
  proxy = createProxy(folder, silenceLimitMs)
  hub = createServer((request, response) => {
    proxy.request(passage(request), request, response).catch(error => {
      refusals.push(error)
      response.writeHead(503).end()
    })
  })
  hub.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    proxy.upgrade(passage(request), request, socket, head).catch(error => {
      refusals.push(error)
      socket.destroy()
    })
  })
  hub.listen(0, '127.0.0.1')
  front = relay(
    () => connect((hub.address() as AddressInfo).port, '127.0.0.1'),
    (from, to) => faultBefore(from, to),
  )
  front.listen(0, '127.0.0.1')
  await Promise.all([server, hub, behind, front].map(one => once(one, 'listening')))
})
after(async () => {
  proxy.close()
  for (const one of [server, hub]) one.closeAllConnections()
  for (const one of [server, hub, behind, front]) one.close()
  await rm(folder, { recursive: true })
})

afterEach(async () => {
  faultBehind = joined
  faultBefore = joined
  assert.equal((await ask('/small')).body, 'small')
  proxy.forget(ann)
  // What a fault has left hanging goes when its other end has.
  for (const one of [server, hub, behind, front]) while ((await connections(one)) > 0) await delay(5)
  arrived = []
  refusals = []
})

const ann = 'ann' as UserName

function passage(request: IncomingMessage): Passage {
  return {
    owner: ann,
    target: request.url ?? '',
    prefix: '/user/ann/',
    user: ann,
    address: '192.0.2.1',
    protocol: 'http',
  }
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  arrived.push(`${request.method} ${request.url}`)
  request.on('error', () => undefined)
  response.on('error', () => undefined)
  if (request.url === '/silent') return
  if (request.method === 'POST') {
    let length = 0
    request.on('data', (chunk: Buffer) => {
      length += chunk.length
    })
    request.on('end', () => response.end(String(length)))
    return
  }
  if (request.url === '/big') response.writeHead(200, { 'content-length': big.length }).end(big)
  else response.end('small')
}

function relay(dial: () => Socket, fault: Fault): NetServer {
  return createNetServer({ allowHalfOpen: true }, from => {
    const to = dial()
    for (const socket of [from, to]) socket.on('error', () => socket.destroy())
    // Not before what is on its way has arrived: what is written late comes first, and then what was not taken yet.
    from.on('close', () => setTimeout(() => to.destroySoon(), closeMs))
    to.on('close', () => setTimeout(() => from.destroySoon(), closeMs))
    fault(from, to)
  })
}

function joined(from: Socket, to: Socket): void {
  from.pipe(to).pipe(from)
}

const late: Fault = (from, to) => {
  for (const [one, other] of [
    [from, to],
    [to, from],
  ] as const) {
    one.on('data', (chunk: Buffer) => setTimeout(() => other.write(chunk), 20))
    one.on('end', () => setTimeout(() => other.end(), 20))
  }
}

/** What `to` says ends after so many bytes, in the given way. */
const afterBytes =
  (bytes: number, end: (socket: Socket) => void): Fault =>
  (from, to) => {
    let left = bytes
    from.pipe(to)
    to.on('data', (chunk: Buffer) => {
      from.write(chunk.subarray(0, left))
      left -= chunk.length
      if (left <= 0) end(from)
    })
  }

/** Both say what they have to say; that it was all is told late. */
const closedLate: Fault = (from, to) => {
  from.pipe(to, { end: false })
  to.pipe(from, { end: false })
  for (const socket of [from, to]) socket.on('end', () => setTimeout(() => socket.destroy(), 50))
}

function connections(one: NetServer): Promise<number> {
  return new Promise((resolve, reject) =>
    one.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  )
}

async function ask(path: string, { method = 'GET', body = '' } = {}): Promise<{ status: number; body: string }> {
  const { port } = front.address() as AddressInfo
  const call = httpRequest({ port, host: '127.0.0.1', path, method, agent: false }).end(body)
  const [answered] = (await once(call, 'response')) as [IncomingMessage]
  // What breaks now is told by the answer.
  call.on('error', () => undefined)
  let text = ''
  for await (const chunk of answered.setEncoding('latin1')) text += chunk
  return { status: answered.statusCode ?? 0, body: text }
}

/** Only TCP has it. */
const reset = (socket: Socket) => void (socket.remoteAddress ? socket.resetAndDestroy() : socket.destroy())
const cut = (socket: Socket) => void socket.destroy()

test('on a slow line all of it arrives', async () => {
  for (const set of [(fault: Fault) => (faultBehind = fault), (fault: Fault) => (faultBefore = fault)]) {
    set(late)
    assert.equal((await ask('/big')).body.length, big.length)
    assert.equal((await ask('/x', { method: 'POST', body: 'x'.repeat(500_000) })).body, '500000')
  }
})

for (const [how, end] of [
  ['cut', cut],
  ['reset', reset],
] as const) {
  test(`an answer of which the line is ${how} in the middle is seen to be half`, async () => {
    faultBehind = afterBytes(100_000, end)
    await assert.rejects(ask('/big'))
    faultBehind = joined
    faultBefore = afterBytes(100_000, end)
    await assert.rejects(ask('/big'))
  })

  test(`a line to the server that is ${how} in the head of an answer gives a refusal`, async () => {
    faultBehind = afterBytes(20, end)
    assert.equal((await ask('/big')).status, 503)
    assert.ok(refusals[0] instanceof ProblemError && refusals[0].code === 'SERVER_UNREACHABLE')
  })

  test(`a WebSocket whose line is ${how} ends on both sides`, async () => {
    for (const set of [(fault: Fault) => (faultBehind = fault), (fault: Fault) => (faultBefore = fault)]) {
      set(afterBytes(50_000, end))
      const socket = new WebSocket(`ws://127.0.0.1:${(front.address() as AddressInfo).port}/ws`)
      socket.on('error', () => undefined)
      await once(socket, 'open')
      const closed = once(socket, 'close')
      socket.send(big)
      const [code] = (await closed) as [number]
      assert.equal(code, 1006)
      faultBehind = joined
      faultBefore = joined
    }
  })
}

test('a server that stops ends its WebSockets with a reason', async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${(front.address() as AddressInfo).port}/ws`)
  await once(socket, 'open')
  for (const size of [1, 125, 126, 65_535, 65_536, 300_000]) {
    socket.send(Buffer.alloc(size))
    const [message] = (await once(socket, 'message')) as [Buffer]
    assert.equal(message.length, size)
  }
  for (const client of webSockets.clients) client.terminate()
  const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
  assert.deepEqual([code, String(reason)], [1001, 'the server has stopped'])
})

test('of a hub that goes, browsers hear it, and all that they have sent before has arrived', async () => {
  for (const size of [10, 300_000]) {
    const sockets = Array.from(
      { length: 20 },
      () => new WebSocket(`ws://127.0.0.1:${(front.address() as AddressInfo).port}/ws`),
    )
    await Promise.all(sockets.map(socket => once(socket, 'open')))
    let received = 0
    for (const client of webSockets.clients) client.on('message', () => received++)
    const ends = sockets.map(socket => once(socket, 'close') as Promise<[number, Buffer]>)
    let sent = 0
    const typing = sockets.map(async socket => {
      while (socket.readyState === WebSocket.OPEN) {
        sent++
        socket.send(Buffer.alloc(size))
        await delay(1)
      }
    })
    await delay(20)
    await proxy.takeLeave(120_000)
    await Promise.all(typing)
    for (const [code, reason] of await Promise.all(ends))
      assert.deepEqual([code, String(reason)], [1012, 'the hub restarts'])
    while (webSockets.clients.size > 0) await delay(5)
    assert.ok(sent > sockets.length)
    assert.equal(received, sent)
  }
})

test('connections that are closed late are not kept, and hold nobody up', async () => {
  faultBehind = closedLate
  faultBefore = closedLate
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask('/small')))
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]))
})

test('a kept connection that breaks under a request: what only reads is asked again, what writes is not', async () => {
  let count = 0
  const secondBreaks: Fault = (from, to) => {
    to.pipe(from)
    from.on('end', () => to.end())
    from.on('data', (chunk: Buffer) => {
      // The first request of the first connection is answered, and the second is not.
      if (String(chunk).includes(' HTTP/1.1\r\n') && ++count === 2) from.destroy()
      else to.write(chunk)
    })
  }
  for (const [method, status] of [
    ['GET', 200],
    ['POST', 503],
  ] as const) {
    count = 0
    arrived = []
    faultBehind = secondBreaks
    proxy.forget(ann)
    assert.equal((await ask('/first')).status, 200)
    assert.equal((await ask('/second', { method, body: method === 'POST' ? 'body' : '' })).status, status)
    assert.deepEqual(arrived, status === 200 ? ['GET /first', 'GET /second'] : ['GET /first'])
  }
})

test('a server that never answers is given up, and the connection with it', async () => {
  assert.equal((await ask('/silent')).status, 503)
  assert.ok(refusals[0] instanceof ProblemError && refusals[0].code === 'SERVER_SILENT')
  assert.match(refusals[0].fix, /stop it and start it again/)
})

test('a server that is not there is told of at once', async () => {
  proxy.forget(ann)
  faultBehind = from => void from.destroy()
  assert.equal((await ask('/small')).status, 503)
  assert.ok(refusals[0] instanceof ProblemError && refusals[0].code === 'SERVER_UNREACHABLE')
})
