import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { Agent, createServer, type IncomingMessage, type RequestOptions, request } from 'node:http'
import { connect, createServer as createListener, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buffer, text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { shortUnixName, type UserName, unixName } from '../../../../config/users/names.ts'
import { JoiningRequest } from '../../../../hub/bounds/tiny-chunks.ts'
import { createProxy } from '../../../../hub/proxy/proxy.ts'

const tooLarge = 'HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large'
const big = Buffer.alloc(16 * 2 ** 20, 'a notebook that is too big, ')

test('a body arrives byte for byte, however it is cut and whether or not its length is said', async t => {
  const bodies: Promise<Buffer>[] = []
  const server = createServer(async (incoming, response) => {
    const body = slowly(incoming)
    bodies.push(body)
    const { 'content-length': length = 'unknown', 'transfer-encoding': cut = 'whole' } = incoming.headers
    response.end(`${length} ${cut} ${(await body).length}`)
  })
  const { ask } = await startHub(t, server)
  const piece = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }).map(bytes => Buffer.from(bytes)),
    fc.constantFrom('\r\n', '0\r\n\r\n', '5\r\nhello\r\n', 'GET / HTTP/1.1\r\n\r\n').map(said => Buffer.from(said)),
    fc.integer({ min: 1, max: 300_000 }).map(length => Buffer.alloc(length, `${length} `)),
  )
  const sent = fc.array(fc.record({ piece, waits: fc.boolean() }), { maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(sent, fc.boolean(), async (pieces, isSized) => {
      bodies.length = 0
      const whole = Buffer.concat(pieces.map(({ piece }) => piece))
      const headers = isSized ? { 'content-length': whole.length } : { 'transfer-encoding': 'chunked' }
      const browser = ask({ method: 'PUT', headers })
      const answered = once(browser, 'response')
      for (const { piece, waits } of pieces) {
        browser.write(piece)
        if (waits) await turn()
      }
      browser.end()
      const [response] = (await answered) as [IncomingMessage]
      const framing = isSized ? `${whole.length} whole` : 'unknown chunked'
      assert.equal(await text(response), `${framing} ${whole.length}`)
      assert.equal(bodies.length, 1)
      assert.ok(whole.equals((await bodies[0]) ?? assert.fail()))
    }),
    { numRuns: 100 },
  )
})

test('a server that does not read slows the browser down, and gets all of it when it does', async t => {
  for (const headers of [{ 'content-length': big.length }, { 'transfer-encoding': 'chunked' }]) {
    const server = createServer()
    const { ask, hub } = await startHub(t, server)
    const [arrived, passed] = [once(server, 'request'), once(hub, 'request')]
    const browser = ask({ method: 'PUT', headers })
    const answered = once(browser, 'response')
    browser.end(big)
    const [incoming, response] = await arrived
    const [upload] = (await passed) as [IncomingMessage]
    await blocked(upload)
    // All that waits on the way: in the hub, and in the kernel.
    assert.ok(upload.socket.bytesRead < 2 ** 20, `${upload.socket.bytesRead} bytes were read`)
    assert.equal(browser.writableFinished, false)
    const body = await slowly(incoming)
    assert.ok(body.equals(big))
    response.end('thanks')
    assert.equal(await text(((await answered) as [IncomingMessage])[0]), 'thanks')
  }
})

test('chunks of one byte that come together go on together', async t => {
  const { server, sockets } = rawServer(() => undefined)
  const { path } = await startHub(t, server)
  const arrived = once(server, 'connection')
  const browser = connect(path)
  t.after(() => browser.destroy())
  const head = 'PUT /user/ann/ HTTP/1.1\r\nHost: hub.test\r\nTransfer-Encoding: chunked\r\n\r\n'
  browser.write(`${head}${'1\r\na\r\n'.repeat(5_000)}0\r\n\r\n`)
  await arrived
  let said = ''
  for await (const piece of sockets[0] ?? assert.fail()) {
    said += String(piece)
    if (said.endsWith('\r\n0\r\n\r\n')) break
  }
  const chunks = said.slice(said.indexOf('\r\n\r\n') + 4).match(/[0-9a-f]+\r\na+\r\n/g) ?? []
  assert.ok(chunks.length < 50, `${chunks.length} chunks`)
  assert.equal(
    chunks
      .join('')
      .match(/(?<=\n)a+/g)
      ?.join('').length,
    5_000,
  )
})

test('what comes byte by byte for a server that is busy with others is not read before its turn', async t => {
  const { server } = rawServer(socket => void socket.resume())
  const { path, hub, ask } = await startHub(t, server)
  const connections = 64
  for (let count = 0; count < connections; count++) {
    const arrived = once(hub, 'request')
    ask({ agent: false })
      .on('error', () => undefined)
      .end()
    await arrived
  }
  const arrived = once(hub, 'request')
  const browser = connect(path).on('error', () => undefined)
  t.after(() => browser.destroy())
  browser.write('PUT /user/ann/ HTTP/1.1\r\nHost: hub.test\r\nTransfer-Encoding: chunked\r\n\r\n')
  const [upload] = (await arrived) as [IncomingMessage]
  const { bytesRead } = upload.socket
  browser.write('1\r\na\r\n'.repeat(200_000))
  // What else comes is read.
  for (let count = 0; count < 20; count++) {
    const other = once(hub, 'request')
    connect(path, function (this: Socket) {
      this.end('GET / HTTP/1.1\r\nHost: hub.test\r\n\r\n')
    }).on('error', () => undefined)
    await other
  }
  assert.ok(upload.socket.bytesRead - bytesRead <= 2 * 64 * 1024, `${upload.socket.bytesRead} bytes were read`)
})

test('an answer that comes before the end of the upload is heard, and the rest is thrown away', async t => {
  for (const headers of [{ 'content-length': big.length }, { 'transfer-encoding': 'chunked' }]) {
    const { server, sockets } = rawServer(socket => {
      // Of what was asked, it reads no more.
      socket.once('data', () => socket.pause().write(sockets.length === 1 ? tooLarge : tooLarge.replace('413', '200')))
    })
    const { ask } = await startHub(t, server)
    const first = ask({ method: 'PUT', headers })
    const answered = once(first, 'response')
    const sent = once(first, 'finish')
    first.end(big)
    const [response] = (await answered) as [IncomingMessage]
    assert.deepEqual([response.statusCode, await text(response)], [413, 'too large'])
    await sent

    const second = ask({})
    const [next] = (await once(second.end(), 'response')) as [IncomingMessage]
    assert.deepEqual([next.statusCode, second.reusedSocket, await text(next)], [200, true, 'too large'])
    // What is left of the upload would be taken for the next request.
    assert.equal(sockets.length, 2)
  }
})

test('an answer of a server that goes before the end of the upload is heard', async t => {
  const { ask, socket } = await startHub(t, createServer())
  await hastyServer(t, `${socket}.hasty`)
  renameSync(`${socket}.hasty`, socket)
  for (const length of [24, 100_000]) {
    const heard: string[] = []
    for (let round = 0; round < 20; round++) {
      const browser = ask({ method: 'PUT', headers: { 'content-length': length } })
      const answered = once(browser, 'response')
      browser.end(big.subarray(0, length))
      const [response] = (await answered) as [IncomingMessage]
      heard.push(`${response.statusCode} ${await text(response)}`)
    }
    assert.deepEqual(heard, Array(20).fill('413 too large'))
  }
})

test('a browser that goes in the middle of its upload takes the request along', async t => {
  const { server, sockets } = rawServer(socket => socket.resume())
  const { ask, proxy } = await startHub(t, server)
  const browser = ask({ method: 'PUT', headers: { 'content-length': big.length } })
  browser.on('error', () => undefined).write('the beginning')
  const [socket] = (await once(server, 'connection')) as [Socket]
  await once(socket, 'data')
  browser.destroy()
  await once(socket, 'close')
  assert.deepEqual([sockets.length, proxy.tally().answers], [1, [0, 0, 0, 0]])
})

test('what has refused a WebSocket is never asked again', async t => {
  const { server, sockets } = rawServer(socket => {
    socket.on('data', head => {
      const status = /^upgrade: websocket/im.test(String(head)) ? 403 : 200
      socket.write(`HTTP/1.1 ${status} x\r\nContent-Length: 5\r\n\r\nhello`)
    })
  })
  const { path, ask } = await startHub(t, server)
  const answer = await text(handshake(path, ''))
  assert.match(answer, /^HTTP\/1\.1 403 x\r\n(?:[\s\S]*\r\n)?Connection: close\r\n\r\nhello$/)
  for (let round = 0; round < 2; round++) {
    const [response] = (await once(ask({}).end(), 'response')) as [IncomingMessage]
    assert.deepEqual([response.statusCode, await text(response)], [200, 'hello'])
  }
  assert.equal(sockets.length, 2)
})

test('a WebSocket that is asked for with a body is refused, and the server hears nothing of it', async t => {
  const { server, sockets } = rawServer(() => undefined)
  const { path } = await startHub(t, server)
  for (const body of ['Content-Length: 5\r\n\r\nhello', 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n']) {
    assert.match(await text(handshake(path, body)), /^HTTP\/1\.1 400 /)
  }
  assert.equal(sockets.length, 0)
})

/** All that comes, with a pause after each piece. */
async function slowly(incoming: IncomingMessage): Promise<Buffer> {
  return await buffer(
    (async function* () {
      for await (const piece of incoming) {
        await turn()
        yield piece
      }
    })(),
  )
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

/** Asks for a WebSocket as no browser would, where `body` is one. */
function handshake(path: string, body: string): Socket {
  const head = 'GET /user/ann/ws HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
  const socket = connect(path)
  socket.write(head + (body || '\r\n'))
  return socket
}

/**
 * A server that reads nothing but the head of a request, answers, and closes the connection. It is a process of its own, so that it need not
 * wait until the hub has done what it does.
 */
async function hastyServer(t: TestContext, path: string): Promise<void> {
  const script = `
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(100)
print('it listens', flush=True)
while True:
    connection, _ = listener.accept()
    head = b''
    while b'\\r\\n\\r\\n' not in head:
        piece = connection.recv(1000)
        if not piece: break
        head += piece
    if head: connection.sendall(b'HTTP/1.1 413 x\\r\\nConnection: close\\r\\nContent-Length: 9\\r\\n\\r\\ntoo large')
    connection.close()
`
  const server = spawn('python3', ['-c', script, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => server.kill())
  await once(createInterface(server.stdout), 'line')
}

/** A server that speaks no HTTP by itself. */
function rawServer(onConnection: (socket: Socket) => void) {
  const sockets: Socket[] = []
  const server = createListener(socket => {
    sockets.push(socket)
    socket.on('error', () => socket.destroy())
    onConnection(socket)
  })
  return { server, sockets }
}

/** A hub in front of Ann's server, with a browser that keeps its connections. */
async function startHub(t: TestContext, server: Server) {
  const owner = 'ann' as UserName
  const folder = mkdtempSync(join(tmpdir(), 'tljh-upload-'))
  const home = join(folder, shortUnixName(unixName(owner)))
  mkdirSync(home)
  const proxy = createProxy(folder)
  const passage = (target = '/') => {
    return { owner, target, prefix: '/user/ann/', user: owner, address: '::1', protocol: 'http' } as const
  }
  const hub = createServer({ IncomingMessage: JoiningRequest }, (incoming, response) => {
    proxy.request(passage(incoming.url), incoming, response).catch(error => response.writeHead(503).end(String(error)))
  })
  hub.on('upgrade', (incoming, socket, head) => {
    socket.on('error', () => socket.destroy())
    proxy.upgrade(passage(incoming.url), incoming, socket, head).catch(error => {
      socket.end(`HTTP/1.1 ${error.statusCode ?? 503} x\r\nConnection: close\r\n\r\n`)
    })
  })
  const [path, socket] = [join(folder, 'hub'), join(home, 'socket')]
  await Promise.all([once(server.listen(socket), 'listening'), once(hub.listen(path), 'listening')])
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => {
    agent.destroy()
    proxy.close()
    for (const one of [server, hub]) one.close()
    hub.closeAllConnections()
    rmSync(folder, { recursive: true })
  })
  const ask = (options: RequestOptions) => request({ socketPath: path, agent, path: '/user/ann/', ...options })
  return { path, socket, hub, proxy, ask }
}
