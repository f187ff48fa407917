/** The hub's own listening, in a process that has the socket as systemd hands it over: at descriptor 3. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { resolve } from 'node:path'
import { type TestContext, test } from 'node:test'

const most = 5

/** Its event loop stands still until it is told to go on, so that connections wait in the kernel. */
const program = `
import { createServer } from 'node:http'
import { readSync } from 'node:fs'
import { createDoor } from './hub/bounds/door.ts'
import { listen } from './hub/listeners.ts'
import { createTurnstile } from './hub/bounds/turnstile.ts'
const server = createServer((request, response) => {
  response.end('here')
  if (request.url !== '/wait') return
  console.log('waits')
  readSync(0, Buffer.alloc(1))
})
const { admit } = createDoor({ most: ${most}, mostEach: ${most}, isIdle: () => false })
const turnstile = createTurnstile({ mostWaiting: 512 })
await listen(server, { sockets: ['http'], http: {}, admit, turnstile, log: console.error })
console.log('listens')
`

async function started(t: TestContext) {
  const server: Server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', program],
    { cwd: resolve(import.meta.dirname, '../../..'), stdio: ['pipe', 'pipe', 'inherit', fd] },
  )
  t.after(() => child.kill())
  assert.ok(child.stdin && child.stdout)
  const { stdin } = child
  const lines = child.stdout.setEncoding('utf8')[Symbol.asyncIterator]()
  assert.match(String((await lines.next()).value), /listens/)
  // From now on, the other process takes all.
  server.close()
  return { port, stdin, lines }
}

/** Connects and asks. What becomes of it: an answer, on a connection that stays, or none. */
function ask(port: number, path: string) {
  const socket = connect(port, '127.0.0.1')
  const outcome = new Promise<string>(done => {
    socket.on('error', () => done('refused'))
    socket.on('close', () => done('refused'))
    socket.on('data', data => done(String(data).includes('here') ? 'answered' : String(data)))
  })
  socket.write(`GET ${path} HTTP/1.1\r\nHost: hub\r\n\r\n`)
  return { socket, outcome }
}

test('those that wait behind another are answered, and there are no more than the door lets in', async t => {
  const { port, stdin, lines } = await started(t)
  const first = ask(port, '/wait')
  assert.match(String((await lines.next()).value), /waits/)
  const others = Array.from({ length: 40 }, () => ask(port, '/'))
  t.after(() => {
    for (const { socket } of [first, ...others]) socket.destroy()
  })
  await Promise.all(others.map(({ socket }) => once(socket, 'connect')))
  stdin.write('\n')

  const outcomes = await Promise.all([first, ...others].map(({ outcome }) => outcome))
  assert.equal(outcomes.filter(outcome => outcome === 'answered').length, most)
  assert.equal(outcomes.filter(outcome => outcome === 'refused').length, 41 - most)
})
