/** Connections that wait in the kernel, while the event loop does something else. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { type TestContext, test } from 'node:test'
import { asSocket, openQueue, readAddress, turnAway } from '../../../hub/kernel-queue.ts'

/** A server of node:net that does not get to take anything, since this process does not return to its event loop. */
async function listening(t: TestContext, host: string) {
  const server = createServer()
  t.after(() => server.close())
  server.listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const next = openQueue(descriptorOf(server))
  assert.ok(next)
  return { port, next }
}

function descriptorOf(server: Server): number {
  return (server as unknown as { _handle: { fd: number } })._handle.fd
}

/** Connects so many times, says a word on each, and ends. */
function connect(host: string, port: number, times: number): void {
  const { status, stderr } = spawnSync(process.execPath, [
    '-e',
    `let left = ${times}
     for (let count = left; count > 0; count--) {
       const socket = require('net').connect(${port}, '${host}', () => socket.end('word', () => --left || process.exit()))
     }`,
  ])
  assert.equal(status, 0, String(stderr))
}

test('all that wait are taken at once, with their addresses, and what they said is there', async t => {
  const { port, next } = await listening(t, '127.0.0.1')
  connect('127.0.0.1', port, 3)
  const arrivals = [next(), next(), next()]
  assert.equal(next(), undefined)
  for (const arrival of arrivals) {
    assert.equal(arrival?.address, '127.0.0.1')
    const socket = asSocket(arrival, true)
    assert.ok(socket)
    assert.equal(socket.remoteAddress, '127.0.0.1')
    let said = ''
    socket.setEncoding('utf8').on('data', piece => {
      said += piece
    })
    await once(socket, 'end')
    assert.equal(said, 'word')
    // Half open, until this side ends too.
    assert.equal(socket.writable, true)
    socket.destroy()
  }
})

test('whoever is turned away is gone, and what is no socket any more is none', async t => {
  const { port, next } = await listening(t, '::1')
  connect('::1', port, 1)
  const arrival = next()
  assert.equal(arrival?.address, '::1')
  turnAway(arrival)
  assert.equal(asSocket(arrival, false), undefined)
})

test('addresses of both families, mapped ones, and none', () => {
  const of = (hex: string) => readAddress(Buffer.from(hex.replaceAll(' ', '').padEnd(56, '0'), 'hex'))
  assert.deepEqual(of('0200 1f90 c0000201'), { address: '192.0.2.1', port: 8080 })
  const six = { address: '2001:db8::7', port: 700 }
  assert.deepEqual(of('0a00 02bc 00000000 20010db8000000000000000000000007'), six)
  assert.deepEqual(of('0a00 1f90 00000000 00000000000000000000ffffc0000201'), { address: '192.0.2.1', port: 8080 })
  assert.deepEqual(of('0100'), { address: undefined, port: undefined })
})
