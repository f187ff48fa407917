/** Servers that lie, on this machine's loopback: what slapd would never do. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { TLSSocket } from 'node:tls'
import { openDirectory } from '../../../../hub/authenticators/ldap-connection.ts'

const dn = 'uid=ann,dc=example,dc=org'
const password = 'a very secret password'
const resultOk = [0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00]
/** The number that the library gives to its first request of a connection. */
const first = 2
/** To the request for TLS. */
const startTlsOk = Buffer.from([0x30, 0x0c, 0x02, 0x01, first, 0x78, 0x07, ...resultOk])
const wrongPassword = Buffer.from([0x30, 0x0c, 0x02, 0x01, first, 0x61, 0x07, 0x0a, 0x01, 49, 0x04, 0x00, 0x04, 0x00])

let folder: string

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'ldap-'))
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
  const files = ['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')]
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...subject, ...files], { stdio: 'ignore' })
})
after(() => rmSync(folder, { recursive: true }))

/** A server that does that with each connection. `said` is all that came to it unencrypted. */
async function lie(t: TestContext, converse: (socket: Socket) => void) {
  const said: Buffer[] = []
  let connections = 0
  const server = createServer(socket => {
    connections++
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => said.push(chunk))
    converse(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const options = {
    // A name has two addresses, and a busy machine may not wait long enough for the first.
    server_address: '127.0.0.1',
    server_port: (server.address() as AddressInfo).port,
    tls_kwargs: { ca_certs_file: join(folder, 'cert.pem') },
  }
  return { options, said: () => Buffer.concat(said).toString('latin1'), connections: () => connections }
}

/** Goes over to TLS with these words before it. */
function encrypt(socket: Socket, before: Buffer, converse: (socket: TLSSocket) => void): void {
  socket.once('data', () => {
    socket.removeAllListeners('data')
    socket.write(before, () => {
      const [key, cert] = [readFileSync(join(folder, 'key.pem')), readFileSync(join(folder, 'cert.pem'))]
      const encrypted = new TLSSocket(socket, { isServer: true, key, cert })
      encrypted.on('error', () => undefined)
      converse(encrypted)
    })
  })
}

test('after StartTLS the password is asked of the server, and its answer counts', async t => {
  const { options } = await lie(t, socket => {
    encrypt(socket, startTlsOk, encrypted => encrypted.once('data', () => encrypted.write(wrongPassword)))
  })
  using directory = await openDirectory(options)
  assert.equal(await directory.bind(dn, password), false)
})

test('words put in before the encryption are not taken for an answer of the server', async t => {
  // A bind that succeeds, whose end is missing: the bytes of the server’s own answer would be that.
  const half = Buffer.from([
    0x30,
    0x1a,
    0x02,
    0x01,
    first,
    0x61,
    0x15,
    0x0a,
    0x01,
    0x00,
    0x04,
    0x00,
    0x04,
    wrongPassword.length,
  ])
  const { options } = await lie(t, socket => {
    encrypt(socket, Buffer.concat([startTlsOk, half]), encrypted =>
      encrypted.once('data', () => encrypted.write(wrongPassword)),
    )
  })
  using directory = await openDirectory(options)
  assert.equal(await directory.bind(dn, password), false)
})

test('a connection that is lost after StartTLS is not opened anew without encryption', async t => {
  const server = await lie(t, socket =>
    encrypt(socket, startTlsOk, encrypted => encrypted.once('secure', () => encrypted.destroy())),
  )
  const attempt = async () => {
    using directory = await openDirectory(server.options)
    await directory.bind(dn, password)
  }
  await assert.rejects(attempt(), { code: 'AUTH_UNREACHABLE' })
  assert.equal(server.connections(), 1)
  assert.ok(!server.said().includes(password))
})

test('a server that refuses StartTLS gets no password', async t => {
  const refused = Buffer.from([0x30, 0x0c, 0x02, 0x01, first, 0x78, 0x07, 0x0a, 0x01, 0x02, 0x04, 0x00, 0x04, 0x00])
  const server = await lie(t, socket => socket.once('data', () => socket.write(refused)))
  await assert.rejects(openDirectory(server.options), { code: 'AUTH_UNREACHABLE' })
  assert.ok(!server.said().includes(password))
})

test('a bind without a name or a password, or in another way than by password, is none', async t => {
  const success = Buffer.from([0x30, 0x0c, 0x02, 0x01, first, 0x61, 0x07, ...resultOk])
  const server = await lie(t, socket => socket.once('data', () => socket.write(success)))
  using directory = await openDirectory({ ...server.options, tls_strategy: 'insecure' })
  assert.equal(await directory.bind('', password), false)
  assert.equal(await directory.bind(dn, ''), false)
  for (const mechanism of ['EXTERNAL', 'PLAIN']) assert.equal(await directory.bind(mechanism, password), false)
  assert.equal(server.said(), '')
  assert.equal(await directory.bind(dn, password), true)
})

test('bytes that are no LDAP are a problem of the server, not of the hub', async t => {
  const server = await lie(t, socket => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')))
  await assert.rejects(openDirectory(server.options), { code: 'AUTH_UNREACHABLE' })
})
