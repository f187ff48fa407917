import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createListener, type Server, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { followConnections } from '../../../hub/drain.ts'
import { readCertificate } from '../../../hub/tls/certificate.ts'
import { createChallenges } from '../../../hub/tls/challenges.ts'
import { selfSigned } from '../../../hub/tls/self-signed.ts'
import { createTlsEnd, insideOf } from '../../../hub/tls/tls-listener.ts'

test('whoever has connected and not yet shaken hands when the hub is told to stop is served', async t => {
  const certificate = selfSigned(['hub.test'])
  const server = createServer((_request, response) => response.end('here'))
  const drain = followConnections(server)
  const end = createTlsEnd(readCertificate(certificate), createChallenges(), socket =>
    server.emit('connection', socket),
  )
  const listener = createListener(end.take).listen(0, '127.0.0.1')
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const line = connect((listener.address() as AddressInfo).port, '127.0.0.1')
  t.after(() => line.destroy())
  await once(listener, 'connection')

  listener.close()
  // As if it had come just now, however slow this machine is.
  const drained = drain(() => end.lastHandshake() && performance.now())
  const longer = delay(600, 'it is waited for')
  assert.equal(await Promise.race([drained.then(() => 'it was left'), longer]), 'it is waited for')
  const socket = connectTls({ socket: line, servername: 'hub.test', ca: certificate.chain })
  socket.write('GET / HTTP/1.1\r\nhost: hub.test\r\n\r\n')
  assert.match(await text(socket), /^HTTP\/1\.1 200[\s\S]*here$/)
  assert.equal(end.lastHandshake(), undefined)
  await drained
})

test('a handshake that comes to nothing is not waited for', async () => {
  const server = createServer()
  const drain = followConnections(server)
  const end = createTlsEnd(readCertificate(selfSigned(['hub.test'])), createChallenges(), () => undefined)
  const listener = createListener(end.take).listen(0, '127.0.0.1')
  await once(server.listen(0, '127.0.0.1'), 'listening')
  for (const words of ['', 'GET / HTTP/1.1\r\n\r\n']) {
    const line = connect((listener.address() as AddressInfo).port, '127.0.0.1')
    line.on('error', () => undefined).end(words)
    await once(listener, 'connection')
    await new Promise(resolve => line.resume().once('close', resolve))
    while (end.lastHandshake() !== undefined) await delay(5)
  }
  listener.close()
  await drain(end.lastHandshake)
})

test('two connections from the same port, to two of ours, are not taken for each other', async t => {
  const certificate = selfSigned(['hub.test'])
  const came: TLSSocket[] = []
  const end = createTlsEnd(readCertificate(certificate), createChallenges(), socket => came.push(socket))
  const accepted: Socket[] = []
  const listeners = [0, 0].map(port =>
    createListener(socket => {
      accepted.push(socket)
      end.take(socket)
    }).listen(port, '127.0.0.1'),
  )
  await Promise.all(listeners.map(listener => once(listener, 'listening')))
  const [first, second] = listeners.map(listener => (listener.address() as AddressInfo).port)
  const lines: Socket[] = []
  t.after(() => {
    for (const one of [...lines, ...accepted]) one.destroy()
    for (const listener of listeners) listener.close()
  })
  const connectTo = async (port = 0, localPort = 0) => {
    const line = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.1', localPort })
    lines.push(line)
    await Promise.all([once(line, 'connect'), ...listeners.filter(isOf(port)).map(one => once(one, 'connection'))])
    return line
  }
  const one = await connectTo(first)
  const other = await connectTo(second, one.localPort)
  assert.equal(other.localPort, one.localPort)

  for (const line of [one, other]) {
    const socket = connectTls({ socket: line, servername: 'hub.test', ca: certificate.chain })
    await once(socket, 'secureConnect')
  }
  while (came.length < 2) await delay(5)
  assert.ok(accepted.every((connection, index) => insideOf(connection) === came[index]))
  assert.equal(end.lastHandshake(), undefined)
})

function isOf(port: number) {
  return (listener: Server) => (listener.address() as AddressInfo).port === port
}
