/**
 * Runs in the host: stands where the users' Jupyter servers stand, on their sockets, and on a TCP port for the proxies that want one.
 *
 * Every GET is answered with 1 kB, or with 16 MB where the address ends with `big`; a WebSocket gets its messages back. It does as
 * little as it can, so that what is measured is the proxy in front of it: requests are not parsed but counted, which is enough for
 * a load that only sends GETs.
 *
 *   node upstream.ts PORT SOCKET...
 */
import { chmodSync, renameSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Socket } from 'node:net'
import { WebSocketServer } from 'ws'

const headEnd = Buffer.from('\r\n\r\n')
const small = answer(1024)
const big = answer(16 * 2 ** 20)

const webSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 64 * 2 ** 20 })
const handshakes = createHttpServer()
handshakes.on('upgrade', (request, socket, head) => {
  webSockets.handleUpgrade(request, socket, head, client => {
    client.on('error', () => undefined)
    client.on('message', (data, isBinary) => client.send(data, { binary: isBinary }))
  })
})

const [port, ...sockets] = process.argv.slice(2)
for (const path of sockets) {
  renameSync(path, `${path}.kept`)
  await listen(path)
  chmodSync(path, 0o666)
}
await listen(Number(port))
console.log('listening')

function listen(address: string | number): Promise<void> {
  const server = createServer({ noDelay: true }, serve)
  return new Promise(resolve => {
    if (typeof address === 'string') server.listen({ path: address, backlog: 4096 }, resolve)
    else server.listen({ port: address, host: '127.0.0.1', backlog: 4096 }, resolve)
  })
}

function serve(socket: Socket): void {
  let rest: Buffer = Buffer.alloc(0)
  const take = (chunk: Buffer) => {
    rest = rest.length ? Buffer.concat([rest, chunk]) : chunk
    for (;;) {
      const end = rest.indexOf(headEnd)
      if (end < 0) return
      const head = rest.toString('latin1', 0, end)
      // A proxy may have kept the connection from a request before.
      if (/\r\nupgrade: websocket/i.test(head)) return handOver(rest)
      rest = rest.subarray(end + headEnd.length)
      socket.write(/^GET \S+big HTTP/.test(head) ? big : small)
    }
  }
  const handOver = (unread: Buffer) => {
    socket.off('data', take)
    socket.pause()
    socket.unshift(unread)
    handshakes.emit('connection', socket)
    process.nextTick(() => socket.resume())
  }
  socket.on('error', () => socket.destroy())
  socket.on('data', take)
}

function answer(length: number): Buffer {
  const head = [
    'HTTP/1.1 200 OK',
    'Server: TornadoServer/6.5',
    'Content-Type: application/octet-stream',
    'Date: Mon, 01 Jun 2026 09:00:00 GMT',
    'Cache-Control: no-cache',
    `Content-Length: ${length}`,
  ]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), Buffer.alloc(length, 'x')])
}
