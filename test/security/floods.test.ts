/**
 * Very many, very slow, very big, for ever: what one attacker has of the machine, nobody else may lack. The attacks overlap as they would:
 * thousands of connections are opened first and held through all the others, and the last test sees that they were cut off.
 *
 * 10 000 connections take 10 000 descriptors here and as many in the hub; where this process may not have them, it opens as many as it may.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { lines, say, statusesIn } from '../harness/peers/raw-http.ts'
import { startKernel } from '../harness/people/kernel.ts'
import { type Visitor, visit } from '../harness/people/visitor.ts'
import { type Classroom, openClassroom, studentPassword } from '../harness/product/classroom.ts'
import { TLJH_TS } from '../harness/product/product.ts'

const mostConnections = 10_000
/** Descriptors for everything else that this process has open. */
const spare = 1_000

let classroom: Classroom
let ann: Visitor
let bob: Visitor
const held: Socket[] = []

before(async () => {
  classroom = await openClassroom(undefined)
  const { host } = classroom
  // Small, and the host's own: what is filled here is not this machine's disk.
  await host.run(['mount', '-t', 'tmpfs', '-o', 'size=32m,mode=1777', 'none', '/tmp'])
  ann = await classroom.student('ann')
  bob = await classroom.student('bob')
})
after(async () => {
  for (const socket of held) socket.destroy()
  await classroom?.[Symbol.asyncDispose]()
})

/** Everybody else goes on: strangers see the login, ann works, nothing has been started again. */
async function othersAreWell(): Promise<void> {
  assert.equal((await fetch(`${classroom.url}/hub/health`)).status, 200)
  assert.equal((await visit(classroom.url).request('/hub/login')).status, 200)
  assert.equal((await ann.jupyter('GET', 'api/status')).status, 200)
  for (const unit of ['tljh-hub', 'tljh-spawner']) {
    const { stdout } = await classroom.host.run(['systemctl', 'show', '--value', '--property=NRestarts', unit])
    assert.equal(stdout.trim(), '0', unit)
  }
}

function hold(url: string): Promise<Socket> {
  const { hostname } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connect({ port: 80, host: hostname, allowHalfOpen: true })
    socket.on('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject).on('error', () => undefined)
      held.push(socket)
      resolve(socket)
    })
  })
}

async function hubDescriptors(): Promise<number> {
  const { stdout: pid } = await classroom.host.run(['systemctl', 'show', '--value', '--property=MainPID', 'tljh-hub'])
  return (await classroom.host.run(['ls', `/proc/${pid.trim()}/fd`])).stdout.trim().split('\n').length
}

let atFirst: number

test('ten thousand connections that are silent, stop in the middle or come drop by drop keep nobody out', async t => {
  atFirst = await hubDescriptors()
  const limit = Number(/Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
  const count = Math.min(mostConnections, limit - spare)
  if (count < mostConnections)
    t.diagnostic(`this process may have ${limit} open files: ${count} connections instead of ${mostConnections}`)
  const host = `Host: ${new URL(classroom.url).host}`
  const beginnings = [
    '',
    'G',
    `GET /hub/login HTTP/1.1\r\n${host}\r\nX-Slow: `,
    lines(
      ['POST /hub/login HTTP/1.1', host, 'Content-Type: application/x-www-form-urlencoded', 'Content-Length: 1000'],
      'username=',
    ),
    lines(['POST /user/ann/api/contents HTTP/1.1', host, 'Transfer-Encoding: chunked'], '5\r\nab'),
  ]
  for (let opened = 0; opened < count; opened += 500) {
    const sockets = await Promise.all(Array.from({ length: Math.min(500, count - opened) }, () => hold(classroom.url)))
    for (const [index, socket] of sockets.entries()) socket.write(beginnings[index % beginnings.length] ?? '')
    await othersAreWell()
  }
})

test('whoever is refused a WebSocket and never hangs up, or asks for much and takes nothing, is cut off as well', async () => {
  const host = `Host: ${new URL(classroom.url).host}`
  const upgrade = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: eA==']
  for (let count = 0; count < 200; count++) {
    const socket = await hold(classroom.url)
    socket.write(lines([`GET /user/${count % 2 ? 'ann' : 'nobody'}/api/kernels/x/channels HTTP/1.1`, host, ...upgrade]))
    // The answer is read, and the half of this side stays open.
    socket.resume()
  }
  const editor = await hubAssetOfSize(200_000)
  for (let count = 0; count < 100; count++) {
    const socket = await hold(classroom.url)
    socket.pause()
    socket.write(Array.from({ length: 100 }, () => lines([`GET ${editor} HTTP/1.1`, host])).join(''))
  }
  await othersAreWell()
})

/** The address of a file of the hub's own with at least so many bytes. */
async function hubAssetOfSize(bytes: number): Promise<string> {
  const admin = await classroom.administrator()
  await admin.post('/hub/confirm', { password: classroom.adminPassword })
  const seen = new Set<string>()
  const waiting = [...(await admin.request('/hub/admin/config')).body.matchAll(/\/hub\/static\/[\w.?=-]+/g)].map(String)
  for (let path = waiting.pop(); path; path = waiting.pop()) {
    if (seen.has(path)) continue
    seen.add(path)
    const { body } = await admin.request(path)
    if (body.length >= bytes) return path
    for (const [, name] of body.matchAll(/["'](?:\.\/|\/hub\/static\/)([\w.?=-]+)["']/g))
      waiting.push(`/hub/static/${name}`)
  }
  throw new Error(`no asset has ${bytes} bytes`)
}

// F6
test('a student who opens thousands of WebSockets and requests that are never answered uses up none but the own share', async t => {
  t.after(bobBeginsAnew)
  const { host } = classroom
  const socket = '/run/tljh/users/bob/socket'
  const server = `
import os, socket, threading
os.rename("${socket}", "${socket}.kept")
listener = socket.socket(socket.AF_UNIX)
listener.bind("${socket}")
os.chmod("${socket}", 0o660)
listener.listen(4096)
print("listening", flush=True)
kept = []
while True:
    client = listener.accept()[0]
    kept.append(client)
    request = client.recv(65536)
    if b"pgrade: websocket" in request: client.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n")
`
  await using hoarder = await host.start(['prlimit', '--nofile=4000:4000', 'python3', '-c', server], {
    user: 'jupyter-bob',
  })
  await once(hoarder.stdout, 'data')
  // It has kept connections to the server that was there before.
  await host.run(['systemctl', 'restart', 'tljh-hub'])
  const head = (path: string) => [
    `GET ${path} HTTP/1.1`,
    `Host: ${new URL(classroom.url).host}`,
    `Cookie: ${bob.headersFor(path).cookie}`,
  ]
  const upgrade = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: eA==']
  const statuses = new Map<string, number>()
  const ask = async () => {
    const client = await hold(classroom.url)
    client.write(lines([...head('/user/bob/api/kernels/x/channels'), ...upgrade]))
    const [data] = await once(client, 'data')
    const status = String(data).slice(9, 12)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
  // All at once, they would be a flood where the machine is slow, and some of them turned away (hub/bounds/turnstile.ts).
  for (let some = 0; some < 5; some++) await Promise.all(Array.from({ length: 300 }, ask))
  assert.deepEqual([...statuses].toSorted(), [
    ['101', 1000],
    ['429', 500],
  ])
  const [tooMany] = statusesIn(await say(classroom.url, lines([...head('/user/bob/x'), 'Connection: close'])))
  assert.equal(tooMany, 429)
  await othersAreWell()
  // They end with the session, all at once.
  const descriptors = await hubDescriptors()
  await bob.post('/hub/logout')
  while ((await hubDescriptors()) > descriptors - 1000) await delay(100)
})

/** A server in the place of bob's: what it does to each connection is said by the path that was asked. */
const floods = `
import os, socket, threading
path = "/run/tljh/users/bob/socket"
os.rename(path, path + ".kept")
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, 0o660)
listener.listen(4096)
print("listening", flush=True)
threading.stack_size(131072)
upgraded = b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n"
ways = {
    b"never": (b"", b""),
    b"chunks": (b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n", b"1\\r\\na\\r\\n" * 20000),
    b"tiny": (upgraded, b"\\x8a\\x00" * 32768),
    b"big": (upgraded + b"\\x82\\x7f" + (1 << 40).to_bytes(8, "big"), b"x" * 65536),
    b"swallow": (upgraded, b""),
}
def serve(client):
    try:
        request = client.recv(65536)
        first, more = ways[request.split(b" ")[1].split(b"/")[3]]
        client.sendall(first)
        while more: client.sendall(more)
        while client.recv(65536): pass
    except OSError: pass
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
`

async function floodingServer() {
  const argv = ['prlimit', '--nofile=4000:4000', 'python3', '-c', floods]
  const server = await classroom.host.start(argv, { user: 'jupyter-bob' })
  await once(server.stdout, 'data')
  await classroom.host.run(['systemctl', 'restart', 'tljh-hub'])
  return server
}

const websocket = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: eA==']

/** Asks as bob, and leaves the connection as it is. */
async function askAsBob(path: string, more: readonly string[] = []): Promise<Socket> {
  const socket = await hold(classroom.url)
  const host = `Host: ${new URL(classroom.url).host}`
  socket.write(lines([`GET ${path} HTTP/1.1`, host, `Cookie: ${bob.headersFor(path).cookie}`, ...more]))
  return socket
}

async function hubMemory(): Promise<number> {
  const { stdout: pid } = await classroom.host.run(['systemctl', 'show', '--value', '--property=MainPID', 'tljh-hub'])
  const { stdout } = await classroom.host.run(['cat', `/proc/${pid.trim()}/status`])
  return Number(/VmRSS:\s+(\d+)/.exec(stdout)?.[1]) * 1024
}

test('requests without end behind one that is never answered end the connection', async t => {
  t.after(bobBeginsAnew)
  await using _server = await floodingServer()
  const first = lines([
    'GET /user/bob/never HTTP/1.1',
    `Host: ${new URL(classroom.url).host}`,
    `Cookie: ${bob.headersFor('/user/bob/').cookie}`,
  ])
  const more = lines(['GET / HTTP/1.1', 'Host: a']).repeat(100_000)
  assert.deepEqual(statusesIn(await say(classroom.url, first + more)), [])
  await othersAreWell()
})

test('who sends tiny pieces, or takes nothing, on hundreds of connections is slowed, and others are answered all the while', async t => {
  t.after(bobBeginsAnew)
  await using _server = await floodingServer()
  let heard = 0
  const own: Socket[] = []
  for (let count = 0; count < 64; count++) own.push(await askAsBob('/user/bob/chunks'))
  for (let count = 0; count < 100; count++) own.push(await askAsBob('/user/bob/tiny', websocket))
  for (const socket of own) socket.on('data', (data: Buffer) => (heard += data.length))
  for (let count = 0; count < 200; count++) (await askAsBob('/user/bob/big', websocket)).pause()
  const pong = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])
  const many = Buffer.alloc(pong.length * 20_000, pong)
  for (let count = 0; count < 30; count++) {
    const socket = await askAsBob('/user/bob/swallow', websocket)
    const send = () => {
      while (!socket.destroyed && socket.write(many));
    }
    socket.once('data', send).on('drain', send)
  }

  await once(own[0] ?? assert.fail(), 'data')
  const before = heard
  const answers = 100
  for (let count = 0; count < answers; count++) assert.equal((await fetch(`${classroom.url}/hub/health`)).status, 200)
  const megabytes = (heard - before) / 2 ** 20
  t.diagnostic(`${megabytes.toFixed(1)} MB of tiny pieces were passed on while ${answers} others were answered`)
  assert.ok(megabytes < answers / 4)
  await othersAreWell()
  const memory = await hubMemory()
  assert.ok(memory < 400 * 2 ** 20, `the hub has ${Math.round(memory / 2 ** 20)} MB`)
})

test('connections beyond what the machine has descriptors for keep nobody out, and do not end the hub', async t => {
  const { host } = classroom
  const dropIn = '/run/systemd/system/tljh-hub.service.d/few.conf'
  await host.writeFile(dropIn, '[Service]\nLimitNOFILE=1000\nWatchdogSec=10s\n')
  const restart = () => host.run(['sh', '-euc', 'systemctl daemon-reload; systemctl restart tljh-hub'])
  t.after(async () => {
    await host.run(['rm', dropIn])
    await restart()
  })
  await restart()
  // Each asks something now and then, so that none counts as silent.
  const flood = `
import selectors, socket, sys
ask = b"GET /hub/health HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"
look = selectors.DefaultSelector()
def connect(index):
    client = socket.socket()
    client.bind((f"127.{index % 200}.0.1", 0))
    client.connect(("127.0.0.1", 80))
    client.send(ask)
    client.setblocking(False)
    look.register(client, selectors.EVENT_READ)
for index in range(1800): connect(index)
print("flooding", flush=True)
answers = 0
while True:
    for key, _ in look.select():
        try: data = key.fileobj.recv(65536); data and key.fileobj.send(ask)
        except OSError: data = b""
        answers += 1
        if answers % 20000 == 0: print(answers, flush=True)
        if not data: look.unregister(key.fileobj); key.fileobj.close(); connect(answers)
`
  await using flooding = await host.start(['prlimit', '--nofile=3000:3000', 'python3', '-c', flood], {
    user: 'jupyter-bob',
  })
  await once(flooding.stdout, 'data')
  await othersAreWell()
  // So long that the watchdog has looked.
  for (let count = 0; count < 3; count++) await once(flooding.stdout, 'data')
  await othersAreWell()
})

/** With a session and a server of his own again. */
async function bobBeginsAnew(): Promise<void> {
  await bob.logIn('bob', studentPassword)
  await bob.post('/hub/stop')
  for await (const _event of bob.progress('bob'));
  await bob.startServer()
}

/** As a person does who is told that nobody has time just now, and to try again in a moment. */
async function insist(visitor: Visitor, path: string): Promise<void> {
  while ((await visitor.post(path)).status === 503) await delay(50)
}

test('orders by the hundred to start and to stop keep nobody else’s server from starting', async t => {
  t.after(bobBeginsAnew)
  const orders = Array.from({ length: 600 }, (_, index) =>
    bob.post(index % 2 ? '/hub/spawn' : '/hub/stop').catch(() => undefined),
  )
  await insist(ann, '/hub/stop')
  for await (const _event of ann.progress('ann'));
  await insist(ann, '/hub/spawn')
  await ann.startServer()
  for (const answer of await Promise.all(orders))
    assert.ok(!answer || [302, 303, 429, 503].includes(answer.status), `${answer?.status}`)
  await othersAreWell()
})

test('a student who fills /tmp fills the own, and one who fills the journal is seen doing it', async () => {
  using kernel = await startKernel(bob, 'bob')
  const { text } = await kernel.run(`
import os, tempfile
try:
    with open("/tmp/filler", "wb") as file:
        while True: file.write(b"x" * 1024**2)
except OSError as error: print(error.strerror)
os.remove("/tmp/filler")
print(os.listdir("/tmp"))`)
  assert.match(text, /^No space left on device\n\[\]/)
  await othersAreWell()
  await kernel.run(`
import subprocess
flood = subprocess.Popen(["logger", "--size=8192", "--tag=tljh-audit"], stdin=subprocess.PIPE)
for number in range(30000): flood.stdin.write(b"admin logged in from 192.0.2.1 " + b"x" * 100 + b"\\n")
flood.stdin.close(); flood.wait()`)
  await othersAreWell()
  const { stdout } = await classroom.host.run([...TLJH_TS, 'audit'])
  assert.doesNotMatch(stdout, /192\.0\.2\.1/, 'what a student writes under the name of the audit log is not of it')
  assert.match(stdout, /ann logged in/)
})

test('all those connections were cut off, though nobody at the other end did anything', async () => {
  // Of a hundred readers who take nothing none may be left; what the hub holds to the servers of ann and bob is less.
  while ((await hubDescriptors()) > atFirst + 60) await delay(100)
  for (const socket of held) socket.destroy()
  await othersAreWell()
})
