import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { on, once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { type ClientRequest, createServer as createHttpServer, type IncomingMessage, request } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { shortUnixName, type UserName, unixName } from '../../../../config/users/names.ts'
import { createProxy } from '../../../../hub/proxy/proxy.ts'
import type { AnswerHead, Kind } from '../../../../hub/proxy/response-parser.ts'
import type { Asking, Connection, Failure, ServerEnd } from '../../../../hub/proxy/upstream.ts'
import { Connections, type Limits } from '../../../../hub/proxy/upstream-pool.ts'

const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'
const heardWhole = ['head 200', 'body hello', 'end']
const roomy: Limits = { most: 10, keptMs: 60_000, answerMs: 60_000 }

test('no more than so many are asked at once, and the others in the order in which they came', async t => {
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, most: 2 })
  const all = ['/1', '/2', '/3', '/4', '/5'].map(target => new Asked(target))
  for (const one of all) connections.ask(one)

  const [first, second] = [await server.next(), await server.next()]
  assert.deepEqual([first.target, second.target].sort(), ['/1', '/2'])
  second.socket.write(answer)
  const third = await server.next()
  assert.deepEqual([third.target, third.number], ['/3', second.number])
  third.socket.write(answer)
  const fourth = await server.next()
  first.socket.write(answer)
  const fifth = await server.next()
  assert.deepEqual([fourth.target, fifth.target, fifth.number], ['/4', '/5', first.number])
  for (const { socket } of [fourth, fifth]) socket.write(answer)
  assert.deepEqual(
    await Promise.all(all.map(({ over }) => over)),
    all.map(() => 'end'),
  )
  assert.equal(server.connections(), 2)
})

test('where a connection breaks, the next one who waits is asked on another', async t => {
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, most: 1 })
  const [one, other] = [new Asked('/1'), new Asked('/2')]
  for (const asked of [one, other]) connections.ask(asked)
  const { socket } = await server.next()
  socket.destroy()
  assert.equal(await one.over, 'broken')
  const second = await server.next()
  assert.deepEqual([second.target, second.number], ['/2', 2])
  second.socket.write(answer)
  assert.equal(await other.over, 'end')
})

test('who no longer wants to know while he waits is never asked', async t => {
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, most: 1 })
  const [one, gone, other] = [new Asked('/1'), new Asked('/gone'), new Asked('/2')]
  for (const asked of [one, gone, other]) connections.ask(asked)
  assert.equal(connections.withdraw(gone), true)
  assert.equal(connections.withdraw(gone), false)
  assert.equal(connections.withdraw(one), false)

  for (const target of ['/1', '/2']) {
    const asked = await server.next()
    assert.equal(asked.target, target)
    asked.socket.write(answer)
  }
  assert.equal(await other.over, 'end')
  assert.deepEqual([gone.heard, gone.connection], [[], undefined])
})

test('a connection is used again after every answer whose end is plain', async t => {
  const answers = [
    ...[answer, 'HTTP/1.1 204 No\r\n\r\n', 'HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n'],
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    `HTTP/1.1 103 E\r\n\r\n${answer}`,
  ]
  const server = await startServer(t)
  const connections = connectionsTo(t, server)
  for (const raw of answers) assert.equal(await ask(connections, server, raw), 1)
  const asked = new Asked('/', 'head')
  connections.ask(asked)
  const { socket } = await server.next()
  socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')
  await asked.over
  assert.equal(await ask(connections, server, answer), 1)
})

test('a connection is not used again where the server ends it or its answer has no plain end', async t => {
  const answers = [
    'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\n\r\nhello',
    `${answer}${answer}`,
    `${answer}\r\n`,
  ]
  for (const raw of answers) {
    const server = await startServer(t)
    const connections = connectionsTo(t, server)
    const asked = new Asked('/')
    connections.ask(asked)
    const { socket } = await server.next()
    const closed = gone(socket)
    if (raw.includes('Content-Length')) socket.write(raw)
    else socket.end(raw)
    assert.equal(await asked.over, 'end')
    assert.deepEqual(asked.heard, heardWhole)
    await closed
    assert.equal(await ask(connections, server, answer), 2, JSON.stringify(raw))
  }
})

test('a server that says something when nobody has asked loses the connection', async t => {
  const server = await startServer(t)
  const connections = connectionsTo(t, server)
  const asked = new Asked('/')
  connections.ask(asked)
  const { socket } = await server.next()
  socket.write(answer)
  await asked.over
  socket.write(answer)
  await gone(socket)
  assert.deepEqual(asked.heard, heardWhole)
  assert.equal(await ask(connections, server, answer), 2)
})

test('a connection that nobody uses ends after its time, and those that are used do not', async t => {
  const clock = holdClock(t)
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, keptMs: 1_000 })
  const two = [new Asked('/1'), new Asked('/2')]
  for (const asked of two) connections.ask(asked)
  const sockets = [(await server.next()).socket, (await server.next()).socket]
  for (const [index, socket] of sockets.entries()) {
    socket.write(answer)
    await two[index]?.over
  }
  clock.passes(900)
  // The one that became free last.
  assert.equal(await ask(connections, server, answer), 2)
  clock.passes(100)
  connections.sweep()
  clock.passes(100)
  const closed = gone(sockets[0] ?? assert.fail())
  connections.sweep()
  await closed
  assert.equal(await ask(connections, server, answer), 2)
  clock.passes(1_001)
  connections.sweep()
  assert.equal(await ask(connections, server, answer), 3)
})

test('a server that says nothing is given up, and one that has begun to answer is not', async t => {
  const clock = holdClock(t)
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, answerMs: 1_000 })
  const silent = new Asked('/silent')
  const promising = new Asked('/promising')
  const slow = new Asked('/slow')
  for (const asked of [silent, promising, slow]) connections.ask(asked)
  const sockets = new Map<string, Socket>()
  for (let index = 0; index < 3; index++) {
    const { target, socket } = await server.next()
    sockets.set(target, socket)
  }
  sockets.get('/promising')?.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Le')
  sockets.get('/slow')?.write(answer.slice(0, -1))
  await slow.hears('body hell')
  clock.passes(1_000)
  connections.sweep()
  assert.deepEqual(silent.heard, [])
  clock.passes(1)
  connections.sweep()
  assert.deepEqual([silent.heard, promising.heard], [['silent'], ['silent']])
  clock.passes(1e9)
  connections.sweep()
  sockets.get('/slow')?.write('o')
  assert.equal(await slow.over, 'end')
})

test('a server that still receives the upload is not silent, and one that does not take it is', async t => {
  const clock = holdClock(t)
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, answerMs: 1_000 })
  const { browser, body } = await upload(t)
  const patient = new Asked('/patient', 'usual', body)
  connections.ask(patient)
  const { socket } = await server.next()
  for (const piece of ['one', 'two']) {
    const came = once(socket, 'data')
    browser.write(piece)
    await came
    clock.passes(1_001)
    connections.sweep()
  }
  assert.deepEqual(patient.heard, [])
  const came = once(socket, 'data')
  browser.end()
  await came
  clock.passes(1_001)
  connections.sweep()
  assert.deepEqual(patient.heard, ['silent'])

  const { browser: another, body: big } = await upload(t)
  const untaken = new Asked('/untaken', 'usual', big)
  connections.ask(untaken)
  const { socket: deaf } = await server.next()
  deaf.pause()
  another.write(Buffer.alloc(2 ** 22))
  await blocked(big.request)
  clock.passes(1_000)
  connections.sweep()
  assert.deepEqual(untaken.heard, [])
  clock.passes(1)
  connections.sweep()
  assert.deepEqual(untaken.heard, ['silent'])
})

test('a kept connection that the server has closed is told from a new one that breaks', async t => {
  const server = await startServer(t)
  const connections = connectionsTo(t, server)
  const outcome = async (raw: string) => {
    const asked = new Asked('/')
    connections.ask(asked)
    const { socket } = await server.next()
    socket.end(raw)
    return await asked.over
  }
  assert.equal(await outcome(''), 'broken')
  assert.equal(await ask(connections, server, answer), 2)
  assert.equal(await outcome(''), 'stale')
  assert.equal(await ask(connections, server, answer), 3)
  // Whoever has begun to answer may have done what it was asked.
  assert.equal(await outcome('H'), 'broken')
  assert.equal(await ask(connections, server, answer), 4)
  assert.equal(await outcome('HTTP/1.1 100 Continue\r\n\r\n'), 'broken')
  connections.close()

  const nowhere = new Asked('/')
  new Connections(join(server.path, 'nowhere'), roomy).ask(nowhere)
  assert.equal(await nowhere.over, 'broken')
})

test('who asks anew is asked on a connection that was never used', async t => {
  const server = await startServer(t)
  const connections = connectionsTo(t, server)
  assert.equal(await ask(connections, server, answer), 1)
  const asked = new Asked('/anew')
  connections.askAnew(asked)
  const { number, socket } = await server.next()
  assert.equal(number, 2)
  socket.write(answer)
  assert.equal(await asked.over, 'end')
})

test('a server that has no room for another connection is told from one that is not there', async t => {
  const { path } = await crowdedServer(t)
  const connections = connectionsTo(t, { path })
  const asked = new Asked('/')
  connections.ask(asked)
  assert.equal(await asked.over, 'crowded')
})

test('what is asked of a server that has no room is answered when it has', async t => {
  const owner = 'ann' as UserName
  const folder = temporary(t)
  const path = join(folder, shortUnixName(unixName(owner)), 'socket')
  mkdirSync(join(path, '..'))
  const crowd = await crowdedServer(t, path)
  const proxy = createProxy(folder)
  const passage = { owner, target: '/', prefix: '/', user: owner, address: '::1', protocol: 'http' } as const
  const hub = createHttpServer((incoming, response) => void proxy.request(passage, incoming, response))
  const asked = on(hub, 'request')
  let count = 0
  const socketPath = join(folder, 'hub')
  await once(hub.listen(socketPath), 'listening')
  t.after(() => {
    hub.close()
    proxy.close()
  })

  const bodies = ['', 'a body that is sent once']
  const answers = bodies.map(async body => {
    const browser = request({ socketPath, method: 'POST', agent: false }).end(body)
    const [response] = (await once(browser, 'response')) as [IncomingMessage]
    return await text(response)
  })
  for await (const _ of asked) if (++count === bodies.length) break
  crowd.makeRoom()
  assert.deepEqual(await Promise.all(answers), bodies)
})

test('when the server is no more, everybody hears of it who waits or is being answered', async t => {
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, most: 2 })
  const all = ['/1', '/2', '/3', '/4'].map(target => new Asked(target))
  for (const one of all) connections.ask(one)
  const [first, second] = [await server.next(), await server.next()]
  first.socket.write(answer.slice(0, -1))
  const begun = all.find(({ target }) => target === first.target)
  await begun?.hears('body hell')
  const closed = Promise.all([gone(first.socket), gone(second.socket)])
  connections.close()
  await closed
  for (const one of all) {
    assert.deepEqual(one.heard, one === begun ? ['head 200', 'body hell', 'broken'] : ['broken'])
  }
  assert.equal(server.connections(), 2)
})

test('who has gone hears nothing any more', async t => {
  const moments = ['', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', answer.slice(0, -1)]
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, most: 1 })
  for (const said of moments) {
    const asked = new Asked('/')
    connections.ask(asked)
    const { socket } = await server.next()
    socket.write(said)
    if (said) await asked.hears(said.endsWith('\n') ? 'head 200' : 'body hell')
    const before = [...asked.heard]
    const closed = gone(socket)
    asked.connection?.abandon()
    socket.write(answer)
    await closed
    assert.equal(await ask(connections, server, answer.replace('OK', 'OK\r\nConnection: close')), server.connections())
    assert.deepEqual(asked.heard, before)
  }
  const asked = new Asked('/never')
  connections.ask(asked)
  asked.connection?.abandon()
  assert.equal(await ask(connections, server, answer), server.connections())
  assert.deepEqual(asked.heard, [])
})

test('who goes at the very moment of hearing something leaves a connection that nobody is asked on any more', async t => {
  for (const moment of ['asked', 'head 200', 'body hello', 'end']) {
    const server = await startServer(t)
    const connections = connectionsTo(t, server)
    const leaving = new Asked('/', 'usual', undefined, word => {
      if (word === moment) leaving.connection?.abandon()
    })
    connections.ask(leaving)
    if (moment !== 'asked') {
      const { socket } = await server.next()
      socket.write(answer)
      await gone(socket)
    }
    assert.equal(leaving.heard.at(-1), moment === 'asked' ? undefined : moment)
    const next = new Asked('/next')
    connections.ask(next)
    assert.equal(next.connection === leaving.connection, false, `the connection is kept that was left at '${moment}'`)
  }
})

test('whoever throws when hearing something hears of it once, and the connection ends', async t => {
  for (const [moment, raw, closes] of [
    ['head 200', answer, false],
    ['body hello', answer, false],
    ['end', answer, false],
    ['end', 'HTTP/1.1 200 OK\r\n\r\nhello', true],
    ['lull', answer.slice(0, -1), false],
  ] as const) {
    const server = await startServer(t)
    const connections = connectionsTo(t, server, { ...roomy, most: 1 })
    const fault = new Error('that cannot be passed on')
    const asked = new Asked('/', 'usual', undefined, word => {
      if (word === moment) throw fault
    })
    connections.ask(asked)
    const { socket } = await server.next()
    const closed = gone(socket)
    if (closes) socket.end(raw)
    else socket.write(raw)
    await closed
    const failures = asked.heard.filter(word => word === 'broken')
    assert.deepEqual(failures, ['broken'], `${moment}: ${asked.heard}`)
    if (!closes) assert.equal(asked.cause, fault)
    assert.equal(await ask(connections, server, answer), 2)
  }
})

test('a protocol that has changed belongs to whoever asked, and the others are asked elsewhere', async t => {
  const server = await startServer(t)
  const connections = connectionsTo(t, server, { ...roomy, most: 1 })
  const [asked, next] = [new Asked('/', 'upgrade'), new Asked('/next')]
  for (const one of [asked, next]) connections.ask(one)
  const { socket } = await server.next()
  socket.write('HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\nfirst')
  assert.equal(await asked.over, 'upgrade first')
  ;(await server.next()).socket.write(answer)
  assert.equal(await next.over, 'end')
  connections.close()
  socket.write('second')
  await asked.hears('more second')
  asked.server?.socket.destroy()
})

test('whatever a server says before it breaks off, whoever asks hears one end of it', async t => {
  const answers = [
    ...[
      answer,
      `HTTP/1.1 103 E\r\n\r\n${answer}`,
      'HTTP/1.1 200 OK\r\n\r\nhello',
      'HTTP/1.1 204 No\r\n\r\n',
      `${answer}more`,
    ],
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n',
    'HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi',
    'HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello',
  ]
  let said = ''
  let isReset = false
  // More than is on its way at once: what the server has not read when it closes makes the kernel reset the connection.
  const long = `GET / HTTP/1.1\r\nX: ${'x'.repeat(500_000)}\r\n\r\n`
  const path = join(temporary(t), 'socket')
  const listener = createServer(socket => {
    let heard = 0
    socket.on('error', () => socket.destroy())
    socket.on('data', chunk => {
      heard += chunk.length
      if (isReset) socket.pause().write(said, 'latin1', () => socket.destroy())
      else if (heard >= long.length) socket.end(said, 'latin1')
    })
  }).listen(path)
  await once(listener, 'listening')
  t.after(() => listener.close())
  const plan = fc.record({
    raw: fc.constantFrom(...answers),
    kind: fc.constantFrom<Kind>('usual', 'head', 'upgrade'),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    reset: fc.boolean(),
    fault: fc.constantFrom('', '', 'head 200', 'body hello', 'end'),
  })
  await fc.assert(
    fc.asyncProperty(plan, async ({ raw, kind, share, reset, fault }) => {
      said = raw.slice(0, Math.ceil(share * raw.length))
      isReset = reset
      const connections = new Connections(path, roomy)
      const throws = (word: string) => {
        if (word === fault) throw new Error('that cannot be passed on')
      }
      const asked = new Asked('/', kind, undefined, throws, long)
      connections.ask(asked)
      await asked.over
      asked.server?.socket.destroy()
      connections.close()
      await turn()
      const isEnd = (word: string) => /^(?:end|upgrade|broken|stale|crowded|silent)/.test(word)
      const ends = asked.heard.filter(isEnd)
      // Whoever throws at the end has heard it, and hears of that.
      assert.deepEqual(
        ends,
        fault === 'end' && ends[0] === 'end' ? ['end', 'broken'] : ends.slice(-1),
        asked.heard.join(),
      )
      assert.equal(ends.length > 0, true)
    }),
    { numRuns: 500 },
  )
})

/** Somebody who asks, and all that he hears. */
class Asked implements Asking {
  readonly kind: Kind
  readonly head: string
  readonly target: string
  readonly body: Asking['body']
  readonly heard: string[] = []
  connection: Connection | undefined
  server: ServerEnd | undefined
  cause: Error | undefined
  readonly #over = Promise.withResolvers<string>()
  readonly #waiting = new Map<string, () => void>()
  readonly #during: (word: string) => void

  /** @param during may throw */
  constructor(
    target: string,
    kind: Kind = 'usual',
    body: Asking['body'] = undefined,
    during: (word: string) => void = () => undefined,
    head = `GET ${target} HTTP/1.1\r\n\r\n`,
  ) {
    this.target = target
    this.kind = kind
    this.body = body
    this.head = head
    this.#during = during
  }

  /** Resolves with the last that is heard. */
  get over(): Promise<string> {
    return this.#over.promise
  }

  async hears(word: string): Promise<void> {
    if (this.heard.includes(word)) return
    await new Promise<void>(resolve => this.#waiting.set(word, resolve))
  }

  onConnection(connection: Connection): void {
    this.connection = connection
    this.#during('asked')
  }

  onHead({ status }: AnswerHead): void {
    this.#hear(`head ${status}`)
  }

  onBody(piece: Buffer): void {
    this.#hear(`body ${piece.toString('latin1')}`)
  }

  onLull(): void {
    this.#during('lull')
  }

  onEnd(): void {
    this.#hear('end')
    this.#over.resolve('end')
  }

  onUpgrade(_head: AnswerHead, server: ServerEnd, rest: Buffer): void {
    server.socket.on('error', () => server.socket.destroy())
    server.taker = {
      take: piece => {
        this.#hear(`more ${piece.toString('latin1')}`)
        return 1
      },
    }
    this.server = server
    this.#hear('upgrade')
    this.#over.resolve(`upgrade ${rest.toString('latin1')}`)
  }

  onError({ kind, cause }: Failure): void {
    this.cause = cause
    this.#hear(kind)
    this.#over.resolve(kind)
  }

  #hear(word: string): void {
    this.heard.push(word)
    this.#waiting.get(word)?.()
    this.#during(word)
  }
}

/** A request as it came to the server. */
interface Arrived {
  target: string
  /** Of the connection, from 1 on. */
  number: number
  socket: Socket
}

/** A server that answers nothing by itself. */
async function startServer(t: TestContext) {
  const path = join(temporary(t), 'socket')
  const sockets = new Set<Socket>()
  const listener = createServer(socket => {
    sockets.add(socket)
    const number = sockets.size
    socket.on('error', () => socket.destroy())
    let head = ''
    socket.on('data', chunk => {
      head += chunk.toString('latin1')
      for (;;) {
        const [start, target = ''] = /^GET (\S+) HTTP[\s\S]*?\r\n\r\n/.exec(head) ?? []
        if (start === undefined) return
        head = head.slice(start.length)
        listener.emit('asked', { target, number, socket } satisfies Arrived)
      }
    })
  }).listen(path)
  await once(listener, 'listening')
  const asked = on(listener, 'asked')
  t.after(() => {
    listener.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    path,
    listener,
    connections: () => sockets.size,
    /** The next request, in the order in which they come. */
    async next(): Promise<Arrived> {
      const { value } = await asked.next()
      return value?.[0]
    },
  }
}

/** They end with the test. */
function connectionsTo(t: TestContext, server: { path: string }, limits = roomy): Connections {
  const connections = new Connections(server.path, limits)
  t.after(() => connections.close())
  return connections
}

/** Asks something that is answered with `raw`. Returns the number of the connection. */
async function ask(connections: Connections, server: { next(): Promise<Arrived> }, raw: string): Promise<number> {
  const asked = new Asked('/')
  connections.ask(asked)
  const { number, socket } = await server.next()
  socket.write(raw)
  assert.equal(await asked.over, 'end')
  return number
}

/** A server that takes no connection until it is told to, and for which as many wait as may. */
async function crowdedServer(t: TestContext, path = join(temporary(t), 'socket')) {
  const script = `
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
print('it listens', flush=True)
sys.stdin.readline()
while True:
    connection, _ = listener.accept()
    stream = connection.makefile('rwb')
    head = list(iter(stream.readline, b'\\r\\n')) if stream.peek() else []
    length = sum(int(line[15:]) for line in head if line.lower().startswith(b'content-length:'))
    body = stream.read(length)
    if head:
        stream.write(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s' % (length, body))
        stream.close()
    connection.close()
`
  const server = spawn('python3', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => server.kill())
  await once(createInterface(server.stdout), 'line')
  const waiting: Socket[] = []
  for (;;) {
    const socket = connect(path)
    const outcome = await Promise.race([
      once(socket, 'connect').then(() => 'waits'),
      once(socket, 'close').then(() => 'has no room'),
    ]).catch(() => 'has no room')
    if (outcome === 'has no room') break
    waiting.push(socket)
  }
  t.after(() => {
    for (const socket of waiting) socket.destroy()
  })
  return {
    path,
    makeRoom() {
      for (const socket of waiting) socket.destroy()
      server.stdin.write('\n')
    },
  }
}

/** The body of a request that a browser has begun to send. */
async function upload(t: TestContext) {
  const socketPath = join(temporary(t), 'socket')
  const hub = createHttpServer().listen(socketPath)
  await once(hub, 'listening')
  const browser: ClientRequest = request({ socketPath, method: 'POST', agent: false })
  browser.on('error', () => undefined).flushHeaders()
  const [incoming] = (await once(hub, 'request')) as [IncomingMessage]
  t.after(() => {
    browser.destroy()
    hub.closeAllConnections()
    hub.close()
  })
  return { browser, body: { request: incoming, isChunked: true } }
}

async function gone(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise<void>(resolve => socket.once('close', () => resolve()))
}

/** Resolves when nothing more of it is taken. */
async function blocked(incoming: IncomingMessage): Promise<void> {
  for (;;) {
    if (!incoming.isPaused()) await once(incoming, 'pause')
    // What the kernel has taken is told by the next turn.
    await turn()
    if (incoming.isPaused()) return
  }
}

/** Time passes only when it is told to. */
function holdClock(t: TestContext) {
  // Whole milliseconds: sums of others are not exact.
  let now = Math.ceil(performance.now())
  t.mock.method(performance, 'now', () => now)
  return {
    passes(milliseconds: number) {
      now += milliseconds
    },
  }
}

function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-connections-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
