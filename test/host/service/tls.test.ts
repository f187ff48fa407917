/** The hub with TLS and a certificate from files: how it is served, kept up to date, and what else listens. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import { selfSigned } from '../../../hub/tls/self-signed.ts'
import { journalEnd, said } from '../../harness/host/journal.ts'
import { startKernel } from '../../harness/people/kernel.ts'
import { receive } from '../../harness/people/steady-visitors.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { claiming, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'

const name = 'hub.test'
const first = selfSigned([name, '127.0.0.1'])
const folder = '/etc/ssl/hub'
const files = { key: `${folder}/key.pem`, cert: `${folder}/cert.pem` }

let product: Product
/** The token of ann's session of the time when there was no https: anybody on the way could have read it. */
let plainSession = ''

before(async () => {
  product = await bootProduct({ config: `users:\n  allowed: [ann, bob]\n${claiming}` })
  const ann = await logIn(http(), 'ann', studentPassword)
  plainSession = ann.cookies.get('tljh-session') ?? ''
  await put(first, folder)
  await configure('https.tls.key', files.key)
  await configure('https.tls.cert', files.cert)
  await configure('https.enabled', 'true')
})
after(() => product[Symbol.asyncDispose]())

async function configure(key: string, value: string): Promise<void> {
  await product.host.run([...TLJH_TS, 'config', 'set', key, value])
}

async function put({ key, chain }: { key: string; chain: string }, where: string): Promise<void> {
  await product.host.writeFile(`${where}/key.pem`, key, { mode: 0o640, group: 'tljh-hub' })
  await product.host.writeFile(`${where}/cert.pem`, chain, { mode: 0o640, group: 'tljh-hub' })
}

const https = (ca = first.chain) => visit(`https://${name}`, { ca, address: product.host.address })
const http = () => visit(product.url)

async function logIn(visitor: Visitor, user: string, password: string): Promise<Visitor> {
  const { status, body } = await visitor.logIn(user, password)
  assert.equal(status, 302, body)
  return visitor
}

/** What the hub says of its certificate beside its log. */
async function status() {
  const { certificates } = JSON.parse(await product.host.readFile('/opt/tljh/state/certificates/status.json'))
  return certificates[0]
}

/** Of `tljh-ts status`. */
async function lineOfStatus(): Promise<string> {
  const { stdout } = await product.host.run([...TLJH_TS, 'status', '--json'], { check: false })
  const { lines } = JSON.parse(stdout) as { lines: { name: string; health: string; text: string; why?: string }[] }
  const { health, text, why = '' } = lines.find(line => line.name === 'certificate') ?? {}
  return `${health} ${text} ${why}`.trimEnd()
}

async function handshake(
  options: { port?: number; maxVersion?: 'TLSv1.1' | 'TLSv1.2'; ciphers?: string } = {},
): Promise<TLSSocket> {
  const { host } = product
  const socket = connect({
    ...{ host: host.address, port: 443, servername: name, rejectUnauthorized: false, minVersion: 'TLSv1' },
    ...options,
  })
  await once(socket, 'secureConnect')
  return socket
}

async function served(port = 443): Promise<Buffer | undefined> {
  const socket = await handshake({ port })
  const { raw } = socket.getPeerCertificate()
  socket.destroy()
  return raw
}

const derOf = (pem: string) => Buffer.from(pem.replace(/-----.*-----|\s/g, ''), 'base64')

test('what is served on port 443 is the file, byte for byte', async () => {
  assert.deepEqual(await served(), derOf(first.chain))
  const { status: code, body } = await https().request('/hub/health')
  assert.equal(code, 200, body)
  assert.equal((await status()).source, 'files')
  assert.match(await lineOfStatus(), /^good the certificate for hub\.test, 127\.0\.0\.1 is valid until \d{4}-/)
})

test('port 80 leads to https, under the names of the certificate alone', async () => {
  const ask = (host: string, path = '/hub/login?next=%2F', more = {}) =>
    http().request(path, { headers: { host, ...more } })
  const { status: code, location } = await ask(name)
  assert.deepEqual([code, location], [301, `https://${name}/hub/login?next=%2F`])
  for (const host of ['evil.example', `${name}.evil.example`, 'x:y', product.host.address]) {
    assert.equal((await ask(host, '/hub/home')).location, `https://${name}/hub/home`, host)
  }
  const posted = await http().request('/hub/login', { method: 'POST', headers: { host: name }, body: 'username=ann' })
  assert.deepEqual([posted.status, posted.location], [308, `https://${name}/hub/login`])
  assert.equal((await ask(name, '/hub/health')).status, 200)
  assert.equal((await ask(name, '/.well-known/acme-challenge/none')).status, 404)
  // Behind something that speaks https with browsers and not with us, each redirect would come back.
  const circle = await ask(name, '/hub/login', { 'x-forwarded-proto': 'https' })
  assert.equal(circle.status, 421)
  assert.match(circle.body, /in front/)
})

test('TLS 1.2 and 1.3 are spoken, with forward secrecy, and nothing older', async () => {
  const newest = await handshake()
  const older = await handshake({ maxVersion: 'TLSv1.2' })
  assert.deepEqual([newest.getProtocol(), older.getProtocol()], ['TLSv1.3', 'TLSv1.2'])
  newest.destroy()
  older.destroy()
  const weak = 'DEFAULT:@SECLEVEL=0'
  await assert.rejects(handshake({ maxVersion: 'TLSv1.1', ciphers: weak }))
  await assert.rejects(
    handshake({ maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA:AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA' }),
  )
})

test('cookies are for https alone, and only this host can have set them', async () => {
  const visitor = https()
  await visitor.request('/hub/login')
  const answer = await visitor.post('/hub/login', { username: 'bob', password: studentPassword })
  const set = answer.headers['set-cookie'] ?? []
  assert.ok(set.length > 0)
  for (const cookie of [set].flat().filter(text => !/max-age=0|1970/i.test(text))) assert.match(cookie, /; Secure/)
  assert.ok(
    [set].flat().some(cookie => /^__Host-tljh-.*; Path=\/;/.test(cookie)),
    String(set),
  )
})

test('a session from before https is none any more', async () => {
  assert.notEqual(plainSession, '')
  const cookie = `__Host-tljh-session=${plainSession}; tljh-session=${plainSession}`
  const { status: code, location } = await https().request('/hub/home', { headers: { cookie } })
  assert.deepEqual([code, location.split('?')[0]], [302, '/hub/login'])
})

test('a certificate that is renewed is taken up, and connections go on', async t => {
  const ann = https()
  await logIn(ann, 'ann', studentPassword)
  await ann.startServer()
  using kernel = await startKernel(ann, 'ann')
  assert.equal((await kernel.run('6 * 7')).text, '42')

  await t.test('when the files are written anew', async () => {
    const second = selfSigned([name, 'second.test'])
    await put(second, folder)
    await said(product.host, 'tljh-hub', /serving the certificate for .*second\.test/)
    assert.deepEqual(await served(), derOf(second.chain))
  })

  await t.test('when a symbolic link above them is turned, as certbot does', async () => {
    const third = selfSigned([name, 'third.test'])
    await put(third, `${folder}-3`)
    for (const file of ['key.pem', 'cert.pem'])
      await product.host.run(['ln', '--symbolic', '--force', `${folder}-3/${file}`, `${folder}/${file}`])
    await said(product.host, 'tljh-hub', /serving the certificate for .*third\.test/)
    assert.deepEqual(await served(), derOf(third.chain))
  })

  assert.equal((await kernel.run('6 * 7')).text, '42')
  assert.equal(kernel.socket.readyState, kernel.socket.OPEN)
})

test('a file that is no good leaves the certificate before in force, and it is said to whom it concerns', async () => {
  const before = await served()
  const begin = await journalEnd(product.host)
  await product.host.run(['rm', `${folder}/key.pem`])
  await product.host.writeFile(`${folder}/key.pem`, selfSigned([name]).key, { mode: 0o640, group: 'tljh-hub' })
  const noGood = /The certificate cannot be used: the key does not belong to the certificate/
  await said(product.host, 'tljh-hub', noGood, { after: begin })
  assert.deepEqual(await served(), before)
  // It is written beside the log.
  while ((await status()).problem?.why !== 'the key does not belong to the certificate') await delay(50)
  assert.match(await lineOfStatus(), /^warning .*the key does not belong to the certificate$/)
  const ca = `-----BEGIN CERTIFICATE-----\n${before?.toString('base64')}\n-----END CERTIFICATE-----\n`
  const admin = await logIn(https(ca), product.admin, product.adminPassword)
  assert.match((await admin.request('/hub/admin')).body, /the key does not belong to the certificate/)
  const { stdout, stderr } = await product.host.run([...TLJH_TS, 'config', 'validate'], { check: false })
  assert.match(stdout + stderr, /https\.tls\.key is[\s\S]*it does not belong to the certificate/)
  const after = await journalEnd(product.host)
  await put(first, folder)
  await said(product.host, 'tljh-hub', /serving the certificate for hub\.test, 127\.0\.0\.1/, { after })
})

test('a key that the hub cannot reach is refused before anything happens', async () => {
  await product.host.writeFile('/root/key.pem', first.key, { mode: 0o644 })
  await product.host.writeFile('/etc/ssl/closed/key.pem', first.key, { mode: 0o644 })
  await product.host.run(['chmod', '700', '/etc/ssl/closed'])
  const set = (file: string) => product.host.run([...TLJH_TS, 'config', 'set', 'https.tls.key', file], { check: false })
  assert.match((await set('/root/key.pem')).stderr, /nothing below \/root can be seen by the hub/)
  assert.match((await set('/etc/ssl/closed/key.pem')).stderr, /the hub may not enter \/etc\/ssl\/closed/)
})

test('browsers are told to come by https alone where the file says so', async () => {
  const header = async () => (await https().request('/hub/login')).headers['strict-transport-security']
  assert.equal(await header(), undefined)
  await configure('https.hsts', '86400')
  assert.equal(await header(), 'max-age=86400')
  assert.equal((await http().request('/hub/login')).headers['strict-transport-security'], undefined)
})

test('the port for visits has TLS as well, and leads back to the hub', async () => {
  await configure('admins.visit_port', '8081')
  assert.deepEqual(await served(8081), derOf(first.chain))
  const visits = visit(`https://${name}:8081`, { ca: first.chain, address: product.host.address })
  assert.equal((await visits.request('/hub/home')).location, `https://${name}/hub/home`)
  const admin = await logIn(https(), product.admin, product.adminPassword)
  const { location } = await admin.request('/user/ann/lab')
  assert.match(location, /^https:\/\/hub\.test:8081\/user\/ann\/lab|^\/hub\/visit\/ann/)
})

test('a hub whose folder for certificates is full starts all the same, and says so', async () => {
  const { host } = product
  const where = '/opt/tljh/state/certificates'
  await host.run(['systemctl', 'stop', 'tljh-hub'])
  await host.run(['mount', '-t', 'tmpfs', '-o', 'size=4k,mode=700,uid=tljh-hub', 'tmpfs', where])
  try {
    await host.run(['sh', '-c', `head -c 4096 /dev/zero >${where}/full`])
    await host.run(['systemctl', 'start', 'tljh-hub'])
    await said(host, 'tljh-hub', /nothing can be kept in .*certificates: .*ENOSPC/)
    assert.equal((await https().request('/hub/health')).status, 200)
    assert.deepEqual(await served(), derOf(first.chain))
  } finally {
    await host.run(['systemctl', 'stop', 'tljh-hub'])
    await host.run(['umount', where])
    await host.run(['systemctl', 'start', 'tljh-hub'])
  }
  assert.equal((await status()).source, 'files')
})

test('a hub that restarts again and again refuses nobody who comes by https', async () => {
  const ask = () => https().request('/hub/login')
  const { answered, refused } = await receive(4, ask, async () => {
    for (let round = 0; round < 5; round++) await product.host.run(['systemctl', 'restart', 'tljh-hub'])
  })
  assert.deepEqual(refused, [])
  assert.ok(answered > 5)
})

test('the metrics say until when the certificate is valid, and whether it is well', async () => {
  const token = 'tok-0123456789abcdef01234567'
  await configure('metrics.token', token)
  const { body } = await https().request('/hub/metrics', { headers: { authorization: `Bearer ${token}` } })
  const labels = `{source="files",names="${name},127.0.0.1"}`
  const until = Date.parse(new X509Certificate(first.chain).validTo) / 1000
  assert.ok(body.includes(`tljh_certificate_expiry_timestamp_seconds${labels} ${until}\n`), body)
  assert.ok(body.includes(`tljh_certificate_problem${labels} 0\n`), body)
})

test('without https, the hub is what it was', async () => {
  await configure('https.enabled', 'false')
  assert.equal((await http().request('/hub/login')).status, 200)
  await assert.rejects(handshake())
})
