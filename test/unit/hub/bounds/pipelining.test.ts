/** What a program may send on one connection before it has its answers. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { isIdle, QueuedResponse } from '../../../../hub/bounds/pipelining.ts'

interface Asked {
  client: Socket
  /** The hub's side of the connection. */
  socket: Socket
  /** Which have come, with their answers. */
  come: { path: string; response: ServerResponse }[]
}

const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: hub.test\r\n\r\n`

async function connectTo(t: TestContext): Promise<Asked> {
  const come: Asked['come'] = []
  const server = createServer(
    { ServerResponse: QueuedResponse, optimizeEmptyRequests: true },
    ({ url = '' }, response) => void come.push({ path: url, response }),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const connection = once(server, 'connection')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => undefined)
  t.after(() => {
    client.destroy()
    server.close()
  })
  const [socket] = (await connection) as [Socket]
  return { client, socket, come }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn()
}

test('what is sent behind two requests that wait is not read until they are answered, and then in its order', async t => {
  const { client, socket, come } = await connectTo(t)
  const heard = text(client)
  client.write(request('/1') + request('/2') + request('/3'))
  await until(() => come.length === 3)
  assert.equal(socket.isPaused(), true)
  const seen = socket.bytesRead

  client.write(request('/4') + request('/5'))
  // Whatever else comes in the meantime is read.
  for (let count = 0; count < 50; count++) await (await connectTo(t)).client.destroy()
  assert.equal(socket.bytesRead, seen)
  assert.equal(come.length, 3)

  for (let index = 0; index < 5; index++) {
    await until(() => come[index] !== undefined)
    const { path, response } = come[index] ?? assert.fail()
    if (path === '/5') response.setHeader('connection', 'close')
    response.end(path)
  }
  assert.deepEqual((await heard).match(/(?<=\n)\/\d/g), ['/1', '/2', '/3', '/4', '/5'])
})

test('a connection with thousands of requests behind one that is not answered is ended', async t => {
  for (const line of [request('/'), 'GET / HTTP/1.1\r\n\r\n', `GET / HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n`]) {
    const { client, socket, come } = await connectTo(t)
    client.write(request('/never') + line.repeat(2_000))
    await once(socket, 'close')
    assert.ok(come.every(({ path, response }) => path === '/never' || response.socket === null))
  }
})

test('a body that is still to come is read, though others wait', async t => {
  const { client, socket, come } = await connectTo(t)
  const body = 'x'.repeat(100_000)
  client.write(request('/1') + request('/2') + request('/3'))
  await until(() => come.length === 3)
  client.write(`POST /4 HTTP/1.1\r\nHost: hub.test\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  for (const { response } of come) response.end()
  await until(() => come.length === 4)
  const last = come[3] ?? assert.fail()
  assert.equal((await text(last.response.req)).length, body.length)
  last.response.setHeader('connection', 'close').end()
  await once(socket, 'close')
})

test('a connection is idle before the first request, and a while after the last answer, not while the next may be on its way', async t => {
  const { client, socket, come } = await connectTo(t)
  assert.equal(isIdle(socket), true)
  client.write(request('/1'))
  await until(() => come.length === 1)
  assert.equal(isIdle(socket), false)
  come[0]?.response.end()
  await once(client, 'data')
  assert.equal(isIdle(socket), false)
  const now = performance.now()
  t.mock.method(performance, 'now', () => now + 6_000)
  assert.equal(isIdle(socket), true)
})
