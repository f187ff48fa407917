/**
 * Runs in a host, or anywhere: a server with an answer for each case of HTTP that a proxy can get wrong. It listens on a user's socket, where
 * the hub finds it, and on a port, where a test asks it directly and compares.
 *
 *   node http-cases-server.ts PORT SOCKET
 */
import { createHash } from 'node:crypto'
import { renameSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createNetServer } from 'node:net'
import { WebSocketServer } from 'ws'

const webSockets = new WebSocketServer({ noServer: true, maxPayload: 64 * 2 ** 20 })
const content = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 251))
/** Streams of events that are open: each request to `/tell` sends one more. */
const listening = new Set<ServerResponse>()
let waiting = 0
let broken = 0

type Answer = (request: IncomingMessage, response: ServerResponse) => void

const answers: Record<string, Answer> = {
  /** What has arrived. */
  mirror(request, response) {
    const hash = createHash('sha256')
    let length = 0
    request.on('data', (chunk: Buffer) => {
      hash.update(chunk)
      length += chunk.length
    })
    request.on('end', () => {
      const { method, url, rawHeaders: headers } = request
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ method, url, headers, length, body: hash.digest('hex') }))
    })
  },
  /** What arrives, as it arrives. */
  echo(request, response) {
    response.writeHead(200, { 'content-type': 'application/octet-stream' })
    response.flushHeaders()
    request.pipe(response)
  },
  /** How much has arrived. */
  swallow(request, response) {
    let length = 0
    request.on('data', (chunk: Buffer) => {
      length += chunk.length
    })
    request.on('end', () => response.end(String(length)))
  },
  events(request, response) {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: first\n\n')
    listening.add(response)
    request.once('close', () => listening.delete(response))
  },
  tell(_request, response) {
    for (const one of listening) one.write('data: told\n\n')
    response.end(String(listening.size))
  },
  range({ headers }, response) {
    const [, from = '', to = ''] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
    if (from === '') {
      response.writeHead(200, { 'accept-ranges': 'bytes', 'content-length': content.length }).end(content)
      return
    }
    const part = content.subarray(Number(from), Number(to) + 1)
    const range = `bytes ${from}-${to}/${content.length}`
    response.writeHead(206, { 'content-range': range, 'content-length': part.length }).end(part)
  },
  trailers(_request, response) {
    response.writeHead(200, { trailer: 'X-Checksum' })
    response.write('body')
    response.addTrailers({ 'X-Checksum': 'abc', 'Set-Cookie': 'stolen=1; Path=/' })
    response.end()
  },
  none(_request, response) {
    response.writeHead(204, { 'x-kept': '1' }).end()
  },
  unchanged(_request, response) {
    response.writeHead(304, { etag: '"e"' }).end()
  },
  hints(_request, response) {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' })
    response.end('after the hints')
  },
  many(_request, response) {
    const cookies = Array.from({ length: 40 }, (_, index) => `c${index}=${'v'.repeat(100)}; Path=/user/ann/`)
    response.writeHead(200, { 'set-cookie': cookies, 'x-long': 'l'.repeat(8_000), 'x-latin': 'caf\xe9' }).end('many')
  },
  old(_request, response) {
    // Its end is the end of the connection, as with HTTP/1.0.
    response.shouldKeepAlive = false
    response.useChunkedEncodingByDefault = false
    response.end('until the end')
  },
  /** Answers at once, and throws the body away. */
  refuse(request, response) {
    response.writeHead(413).end('too big')
    request.resume()
  },
  /** Breaks off in the middle. */
  half(_request, response) {
    response.writeHead(200, { 'content-length': '1000' })
    response.write('half', () => response.destroy())
  },
  /** Never answers; counts those who have come, and those who have gone. */
  never(request) {
    waiting++
    request.once('close', () => {
      broken++
    })
    request.resume()
  },
  waiting: (_request, response) => void response.end(String(waiting)),
  broken: (_request, response) => void response.end(String(broken)),
  endless(_request, response) {
    const chunk = Buffer.alloc(65536, 'e')
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    }
    response.on('drain', more)
    more()
  },
}

const server = createServer(
  { keepAliveTimeout: 600_000, requestTimeout: 0, maxHeaderSize: 65_536 },
  (request, response) => {
    request.on('error', () => undefined)
    response.on('error', () => undefined)
    const name = /^\/user\/ann\/([a-z]+)/.exec(request.url ?? '')?.[1] ?? ''
    const answer = answers[name] ?? answers.mirror
    answer?.(request, response)
  },
)
server.on('checkContinue', (request, response) => {
  response.writeContinue()
  server.emit('request', request, response)
})
server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => socket.destroy())
  if (request.url?.endsWith('/refused')) {
    socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno')
    return
  }
  webSockets.handleUpgrade(request, socket, head, client => {
    client.on('error', () => undefined)
    if (request.url?.endsWith('/farewell')) {
      client.send(Buffer.alloc(4 * 2 ** 20, 'f'))
      client.close(4001, 'that was all')
      return
    }
    client.on('message', (data, isBinary) => client.send(data, { binary: isBinary }))
  })
})

const [port, socket = ''] = process.argv.slice(2)
renameSync(socket, `${socket}.kept`)
process.umask(0o007)
await new Promise<void>(resolve => server.listen(socket, resolve))
// One HTTP server, two ways to it.
const direct = createNetServer({ noDelay: true, allowHalfOpen: true }, connection =>
  server.emit('connection', connection),
)
await new Promise<void>(resolve => direct.listen(Number(port), resolve))

console.log('listening')
