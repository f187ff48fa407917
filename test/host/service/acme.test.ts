/** Certificates that the hub has made for it by a real ACME server: how they come, stay, are renewed, and why they do not come. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import { selfSigned } from '../../../hub/tls/self-signed.ts'
import { defaultLayers } from '../../harness/host/host.ts'
import { said } from '../../harness/host/journal.ts'
import {
  acmeCaFile,
  acmeName,
  caddyLayer,
  directoryUrl,
  startAcmeServer,
  stopAcmeServer,
} from '../../harness/peers/acme-server.ts'
import { visit } from '../../harness/people/visitor.ts'
import { bootProduct, type Product, TLJH_TS } from '../../harness/product/product.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const folder = '/opt/tljh/state/certificates'

let product: Product
/** Of the ACME server. */
let ca = ''

before(async () => {
  product = await bootProduct({ layers: [...defaultLayers(), caddyLayer()] })
  await lead(['hub.test', 'both.test', 'http.test', 'alpn.test', 'renewed.test'], product.host.address)
  await startAcmeServer(product.host)
  ca = await product.host.readFile(acmeCaFile)
})
after(() => product[Symbol.asyncDispose]())

/** Has these names lead there, for everybody on the host; the others as before. */
async function lead(names: readonly string[], address: string): Promise<void> {
  const { host } = product
  const before = (await host.readFile('/etc/hosts').catch(() => '')).split('\n')
  const others = before.filter(line => line !== '' && !names.some(name => line.endsWith(` ${name}`)))
  const own = ['127.0.0.1 localhost', `127.0.0.1 ${acmeName}`].filter(line => !others.includes(line))
  await host.writeFile('/etc/hosts', [...own, ...others, ...names.map(name => `${address} ${name}`), ''].join('\n'))
}

interface Wanted {
  domains: string[]
  http?: number
  https?: number
  directory?: string
  caFile?: string
}

async function want({
  domains,
  http = 80,
  https = 443,
  directory = directoryUrl,
  caFile = acmeCaFile,
}: Wanted): Promise<void> {
  const text = `users: { admin: [${product.admin}] }
http: { port: ${http} }
https:
  enabled: true
  port: ${https}
  letsencrypt: { email: teacher@example.org, domains: [${domains}], directory_url: "${directory}", ca: ${caFile} }
`
  await product.host.writeFile('/root/wanted.yaml', text)
  await product.host.run([...TLJH_TS, 'config', 'apply', '/root/wanted.yaml'])
}

const arrived = (name: string) =>
  said(product.host, 'tljh-hub', new RegExp(`a certificate for .*${name}.* has come from`))

/** Checks it as a browser does, and gives what it is. */
async function served(name: string, port = 443): Promise<{ issuer: string; serial: string }> {
  const socket = connect({ host: product.host.address, port, servername: name, ca })
  await once(socket, 'secureConnect')
  const { issuer, serialNumber } = socket.getPeerCertificate()
  socket.destroy()
  return { issuer: String(issuer.CN), serial: serialNumber }
}

async function status() {
  const { certificates } = JSON.parse(await product.host.readFile(`${folder}/status.json`))
  return certificates[0]
}

/** It is written beside the log. */
async function statusWith(isTold: (told: Awaited<ReturnType<typeof status>>) => boolean) {
  for (;;) {
    const now = await status()
    if (isTold(now)) return now
    await delay(50)
  }
}

/** On this machine, at port 80. */
async function anotherWebServer(): Promise<Disposable> {
  const server = createHttpServer((_request, response) => response.end('another')).listen(80, product.host.gateway)
  await once(server, 'listening')
  return ending(server)
}

/** One that stays keeps this process from its end. */
function ending(server: Pick<Server, 'close' | 'closeAllConnections'>): Disposable {
  return {
    [Symbol.dispose]() {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function log(): Promise<string> {
  return (await product.host.run(['journalctl', '-u', 'tljh-hub', '-o', 'cat'])).stdout
}

/** How often a certificate was asked for, for that name among others. */
function askedIn(text: string, domain = ''): number {
  const questions = text.match(/^.*asking .* for a certificate for .*/gm) ?? []
  return questions.filter(question => question.includes(domain)).length
}

const asked = async (domain = '') => askedIn(await log(), domain)

test('a server that is down is named, asked again by itself, and the hub’s own certificate stands in until it is back', async () => {
  const { host } = product
  await stopAcmeServer(host)
  try {
    await want({ domains: ['hub.test'] })
    await said(host, 'tljh-hub', /The certificate authority acme\.test:14000 could not be asked: .*ECONNREFUSED/)
    const { source, issuer, problem, nextAttempt } = await statusWith(({ problem }) => problem)
    assert.deepEqual([source, issuer], ['self-signed', 'itself'])
    assert.match(problem.why, /ECONNREFUSED/)
    assert.ok(Date.parse(nextAttempt) > 0)
    await assert.rejects(served('hub.test'), /self-signed/)
    const visitor = visit(product.url)
    assert.equal(
      (await visitor.request('/hub/login', { headers: { host: 'hub.test' } })).location,
      'https://hub.test/hub/login',
    )

    await host.run(['systemctl', 'restart', 'tljh-hub'])
    const kept = await statusWith(({ problem }) => problem)
    assert.match(kept.problem.why, /ECONNREFUSED/, 'a restart forgets nothing of it')
  } finally {
    await startAcmeServer(host)
  }
  await arrived('hub\\.test')
  assert.match((await served('hub.test')).issuer, /Caddy/)
  assert.equal((await statusWith(({ problem }) => !problem)).source, 'letsencrypt')
})

test('a hub that is restarted serves the certificate that it has, and asks for none', async () => {
  const before = await served('hub.test')
  const times = await asked()
  await product.host.run(['systemctl', 'restart', 'tljh-hub'])
  assert.deepEqual(await served('hub.test'), before)
  assert.equal(await asked(), times)
})

test('keys and certificates are for the hub alone', async () => {
  const { stdout } = await product.host.run(['stat', '--format=%a %U', folder])
  assert.equal(stdout, '700 tljh-hub\n')
  const { stdout: files } = await product.host.run(['sh', '-c', `stat --format='%a %U' ${folder}/*`])
  assert.deepEqual(new Set(files.trim().split('\n')), new Set(['600 tljh-hub']))
})

test('where only port 80 is open, the domain is shown to be ours over HTTP-01', async () => {
  await want({ domains: ['http.test'], https: 8443 })
  await arrived('http\\.test')
  assert.match((await served('http.test', 8443)).issuer, /Caddy/)
})

test('where only port 443 is open, over TLS-ALPN-01', async () => {
  await want({ domains: ['alpn.test', 'both.test'], http: 8080 })
  await arrived('alpn\\.test, both\\.test')
  assert.match((await served('alpn.test')).issuer, /Caddy/)
  assert.match((await served('both.test')).issuer, /Caddy/)
})

test('a certificate two thirds of whose life are over is renewed, and serves until then', async () => {
  const { host } = product
  await want({ domains: ['renewed.test'] })
  await arrived('renewed\\.test')
  const dayMs = 24 * hourMs
  // Of 90 days, 70 are over.
  const old = selfSigned(['renewed.test'], Date.now() - 70 * dayMs)
  const { stdout } = await host.run(['sh', '-c', `ls ${folder}/certificate-*.pem`])
  const file = stdout.trim()
  await host.run(['systemctl', 'stop', 'tljh-hub'])
  await host.writeFile(file, `${old.key}${old.chain}`, { mode: 0o600, owner: 'tljh-hub', group: 'tljh-hub' })
  await host.run(['systemctl', 'start', 'tljh-hub'])
  await said(host, 'tljh-hub', /serving the certificate for renewed\.test from itself/)
  // Its line comes when the certificate of before is gone from the file.
  await host.run(['sh', '-euc', `until openssl x509 -in ${file} -noout -issuer | grep -q Caddy; do sleep 0.2; done`])
  assert.match((await served('renewed.test')).issuer, /Caddy/)
})

test('a domain that does not lead here is named before anything is asked for', async t => {
  const { host } = product

  await t.test('where nothing answers', async () => {
    await lead(['closed.test'], host.gateway)
    await want({ domains: ['hub.test', 'closed.test'] })
    const line = await said(host, 'tljh-hub', /No certificate for closed\.test was asked for/)
    assert.match(line, new RegExp(`leads to ${host.gateway}.*nothing answers there on port 80.*Open port 80`))
    // Later it is: from inside, some networks look like that.
    assert.equal(askedIn((await log()).split(line)[0] ?? '', 'closed.test'), 0)
  })

  await t.test('where another web server answers', async () => {
    using _other = await anotherWebServer()
    await lead(['other.test'], host.gateway)
    await want({ domains: ['hub.test', 'other.test'] })
    const line = await said(host, 'tljh-hub', /No certificate for other\.test was asked for/)
    assert.match(line, new RegExp(`${host.gateway}, where another web server answers`))
  })

  await t.test('where there is no such name, and it is asked for as soon as there is', async () => {
    await want({ domains: ['renewed.test', 'new.test'] })
    await said(host, 'tljh-hub', /No certificate for new\.test was asked for: /)
    for (const name of ['other.test', 'new.test']) assert.equal(await asked(name), 0)
    await statusWith(({ problem }) => /new\.test/.test(problem?.what))
    assert.match((await served('renewed.test')).issuer, /Caddy/, 'what was there goes on')
    await lead(['new.test'], host.address)
    await arrived('new\\.test')
  })
})

test('an authority that finds another machine under the name has counted it, and is asked again after half an hour at the earliest', async () => {
  const { host } = product
  await lead(['moved.test'], host.address)
  await stopAcmeServer(host)
  await startAcmeServer(host, `127.0.0.1 localhost ${acmeName}\n${host.gateway} moved.test\n`)
  {
    using _other = await anotherWebServer()
    await want({ domains: ['moved.test'], https: 8443 })
    await said(
      host,
      'tljh-hub',
      /The certificate authority did not find this hub under moved\.test: over http-01 it said/,
    )
  }
  const { nextAttempt, problem } = await statusWith(({ problem }) => /moved\.test/.test(problem?.what))
  assert.ok(Date.parse(nextAttempt) > Date.now() + 25 * minuteMs, nextAttempt)
  const times = await asked()
  await host.run(['systemctl', 'restart', 'tljh-hub'])
  const after = await statusWith(({ problem }) => problem)
  assert.deepEqual([after.nextAttempt, after.problem, await asked()], [nextAttempt, problem, times])
})

test('an authority whose clock is another, or that wants to be left alone, is not asked for anything', async () => {
  const { host } = product
  const pair = selfSigned(['authority.test'])
  await lead(['authority.test'], host.gateway)
  await host.writeFile('/etc/ssl/authority.pem', pair.chain)
  let answer = { status: 200, date: new Date(Date.now() + 3 * hourMs), retryAfter: '' }
  const server = createHttpsServer({ key: pair.key, cert: pair.chain }, (_request, response) => {
    response.writeHead(answer.status, { date: answer.date.toUTCString(), 'retry-after': answer.retryAfter }).end('{}')
  }).listen(0, host.gateway)
  using _server = ending(server)
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  const directory = `https://authority.test:${port}/directory`
  const caFile = '/etc/ssl/authority.pem'
  await want({ domains: ['hub.test'], directory, caFile })
  assert.match(await said(host, 'tljh-hub', /that of authority\.test/), /is 180 minutes ahead.*Set the clock/)

  answer = { status: 503, date: new Date(), retryAfter: '7200' }
  await want({ domains: ['hub.test', 'both.test'], directory, caFile })
  await said(host, 'tljh-hub', /authority\.test:\d+ is not to be asked now: it answers with status 503/)
  await statusWith(({ nextAttempt }) => Date.parse(nextAttempt) > Date.now() + hourMs)

  // What a machine sees whose clock is behind: everything is from the future.
  const future = selfSigned(['authority.test'], Date.now() + 10 * 24 * hourMs)
  server.setSecureContext({ key: future.key, cert: future.chain })
  await host.writeFile('/etc/ssl/authority.pem', future.chain)
  await want({ domains: ['hub.test', 'http.test'], directory, caFile })
  await said(host, 'tljh-hub', /the certificate of authority\.test:\d+ is not valid yet: probably the clock is wrong/)
})
