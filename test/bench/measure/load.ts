/**
 * Runs in the host: loads a proxy with requests at a steady rate, or with WebSockets, and prints what it saw as JSON. The order comes
 * on standard input.
 *
 * It speaks bare sockets, so that it costs little beside what it measures: two processors are all that there is.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { percentile99 } from './benchmark.ts'

/** Who asks, and where. */
export interface Visit {
  path: string
  cookie: string
}

export type Order = { port: number; visits: readonly Visit[] } & (
  | { kind: 'steady'; rate: number; connections: number; lengthMs: number }
  | { kind: 'echo'; bytes: number; connections: number; lengthMs: number }
  | { kind: 'open'; count: number }
  | { kind: 'hold'; count: number }
)

export interface Seen {
  /** 99th percentile in milliseconds, from when a request was due. */
  p99?: number
  /** Messages a second, there and back. */
  rate?: number
  /** Milliseconds until a WebSocket is open, the median. */
  openMs?: number
}

const headEnd = Buffer.from('\r\n\r\n')
/** Opened at a time, where many are. */
const atOnce = 32

// The order ends with the line; standard input stays open for as long as connections are to be held.
const order = JSON.parse(await firstLine()) as Order
const seen = await carryOut(order)
console.log(JSON.stringify(seen))
if (order.kind === 'hold') await text(process.stdin)
process.exit()

async function firstLine(): Promise<string> {
  let line = ''
  process.stdin.setEncoding('utf8')
  while (!line.includes('\n')) {
    const [chunk] = (await once(process.stdin, 'data')) as [string]
    line += chunk
  }
  return line
}

function carryOut(asked: Order): Promise<Seen> {
  switch (asked.kind) {
    case 'steady':
      return steady(asked)
    case 'echo':
      return echo(asked)
    case 'open':
      return open(asked)
    case 'hold':
      return hold(asked)
  }
}

/** Requests are due at their times, however slowly those before were answered; waiting counts. */
async function steady({ port, visits, rate, connections, lengthMs }: Order & { kind: 'steady' }): Promise<Seen> {
  const request = `GET ${visits[0]?.path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nCookie: ${visits[0]?.cookie}\r\n\r\n`
  const idle: Socket[] = []
  const due: number[] = []
  const times: number[] = []
  const sentAt = new Map<Socket, number>()

  const send = (socket: Socket, at: number) => {
    sentAt.set(socket, at)
    socket.write(request)
  }
  for (let index = 0; index < connections; index++) {
    const socket = await dial(port, 0)
    let left = -1
    socket.on('data', (chunk: Buffer) => {
      if (left < 0) left = bodyLength(chunk) + chunk.indexOf(headEnd) + headEnd.length
      left -= chunk.length
      if (left > 0) return
      left = -1
      times.push(performance.now() - (sentAt.get(socket) ?? 0))
      const next = due.shift()
      if (next === undefined) idle.push(socket)
      else send(socket, next)
    })
    idle.push(socket)
  }
  const begin = performance.now()
  let count = 0
  await new Promise<void>(resolve => {
    const timer = setInterval(() => {
      const now = performance.now()
      for (; begin + (count * 1000) / rate <= now; count++) {
        const at = begin + (count * 1000) / rate
        const socket = idle.pop()
        if (socket) send(socket, at)
        else due.push(at)
      }
      if (now - begin < lengthMs) return
      clearInterval(timer)
      resolve()
    }, 1)
  })
  return { p99: percentile99(times), rate: times.length / (lengthMs / 1000) }
}

function bodyLength(chunk: Buffer): number {
  const head = chunk.toString('latin1', 0, chunk.indexOf(headEnd))
  if (!head.startsWith('HTTP/1.1 200')) throw new Error(`it answered ${head}`)
  return Number(/content-length: (\d+)/i.exec(head)?.[1])
}

/** One message at a time on each WebSocket. */
async function echo({ port, visits, bytes, connections, lengthMs }: Order & { kind: 'echo' }): Promise<Seen> {
  const message = frame(bytes, true)
  const answerLength = frame(bytes, false).length
  let count = 0
  let isOver = false
  for (let index = 0; index < connections; index++) {
    const socket = await openWebSocket(port, visits, index)
    let left = answerLength
    socket.on('data', chunk => {
      left -= chunk.length
      if (left > 0) return
      left = answerLength
      count++
      if (!isOver) socket.write(message)
    })
    socket.write(message)
  }
  const begin = performance.now()
  count = 0
  await new Promise(resolve => setTimeout(resolve, lengthMs))
  isOver = true
  return { rate: count / ((performance.now() - begin) / 1000) }
}

async function open({ port, visits, count }: Order & { kind: 'open' }): Promise<Seen> {
  const times: number[] = []
  for (let index = 0; index < count; index++) {
    const start = performance.now()
    const socket = await openWebSocket(port, visits, index)
    times.push(performance.now() - start)
    socket.destroy()
  }
  return { openMs: times.toSorted((a, b) => a - b)[Math.floor(count / 2)] ?? Number.NaN }
}

async function hold({ port, visits, count }: Order & { kind: 'hold' }): Promise<Seen> {
  let next = 0
  const openSome = async () => {
    while (next < count) (await openWebSocket(port, visits, next++)).resume()
  }
  const begin = performance.now()
  await Promise.all(Array.from({ length: atOnce }, openSome))
  return { rate: count / ((performance.now() - begin) / 1000) }
}

async function openWebSocket(port: number, visits: readonly Visit[], index: number): Promise<Socket> {
  const { path, cookie } = visits[index % visits.length] ?? { path: '', cookie: '' }
  const socket = await dial(port, index)
  const head = [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    `Cookie: ${cookie}`,
  ]
  socket.write(`${head.join('\r\n')}\r\n\r\n`)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  const said = answer.toString('latin1')
  if (!said.startsWith('HTTP/1.1 101') || !said.endsWith('\r\n\r\n')) throw new Error(`no WebSocket: ${said}`)
  return socket
}

/** From several addresses: one has 28000 ports, and each connection that was closed keeps its own for a minute. */
async function dial(port: number, index: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.0.${2 + (index % 8)}`, noDelay: true })
  socket.on('error', error => {
    console.error(error)
    process.exit(1)
  })
  await once(socket, 'connect')
  return socket
}

/** A message in one piece. The key of its mask is 0, so that masking costs nothing and the frame is a right one all the same. */
function frame(bytes: number, isMasked: boolean): Buffer {
  const mask = isMasked ? 0x80 : 0
  const head = bytes < 126 ? Buffer.from([0x82, mask | bytes]) : Buffer.alloc(bytes < 65536 ? 4 : 10)
  if (bytes >= 126) {
    head[0] = 0x82
    head[1] = mask | (bytes < 65536 ? 126 : 127)
    if (bytes < 65536) head.writeUInt16BE(bytes, 2)
    else head.writeBigUInt64BE(BigInt(bytes), 2)
  }
  return Buffer.concat([head, Buffer.alloc(isMasked ? 4 : 0), Buffer.alloc(bytes, 'x')])
}
