/** Whose word on a request counts, and what is made of words that make no sense. */
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { Server as HttpServer, IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { planChange } from '../../../config/change/plan.ts'
import { parseConfig, readConfig } from '../../../config/meaning/config.ts'
import { hubAddress } from '../../../config/meaning/hub-address.ts'
import { readAddress, readForwarded } from '../../../hub/front-proxy/forwarded-headers.ts'
import { createFrontProxies } from '../../../hub/front-proxy/trust.ts'
import { isSecure } from '../../../hub/web/cookies.ts'
import { addressOf } from '../../../hub/web/request.ts'

const behind = (more = '') => `http: { mode: behind-proxy, address: 127.0.0.1, port: 8080${more} }\n`

interface Wire {
  peer?: string
  headers?: IncomingHttpHeaders
  /** It comes by the hub's unix socket. */
  isByUnixSocket?: boolean
}

/** A request as it looks to the hub with that configuration. `told` is what has been logged. */
function arriving(config: string, { peer = '127.0.0.1', headers = {}, isByUnixSocket = false }: Wire) {
  const place = isByUnixSocket ? '/run/tljh/front.sock' : { port: 8080 }
  const server = Object.assign(new EventEmitter(), { address: () => place })
  server.on('request', () => undefined)
  const told: string[] = []
  const inForce = parseConfig(config)
  const fronts = createFrontProxies(
    () => inForce,
    line => told.push(line),
  )
  fronts.follow(server as unknown as HttpServer)
  server.emit('listening')
  const rawHeaders = Object.entries(headers).flatMap(([name, value]) => [name, String(value)])
  const socket = isByUnixSocket ? {} : { remoteAddress: peer, localPort: 8080 }
  const request = { method: 'GET', headers: { ...headers }, rawHeaders, socket } as unknown as IncomingMessage
  server.emit('request', request)
  return {
    address: addressOf(request),
    isSecure: isSecure(request),
    host: request.headers.host,
    rawHost: rawHeaders[rawHeaders.findIndex(text => text.toLowerCase() === 'host') + 1],
    told,
    problem: fronts.problem(),
  }
}

const addressFrom = (xForwardedFor: string, more = '', peer = '127.0.0.1') =>
  arriving(behind(more), { peer, headers: { 'x-forwarded-for': xForwardedFor } }).address

test('the address is the last one that nobody who is believed has', () => {
  assert.equal(addressFrom('198.51.100.1'), '198.51.100.1')
  assert.equal(addressFrom('203.0.113.9, 198.51.100.1'), '198.51.100.1', 'what the browser wrote stands in front')
  assert.equal(addressFrom('203.0.113.9,198.51.100.1,127.0.0.1'), '198.51.100.1', 'two web servers in a row')
  const list = ', trusted_proxies: [127.0.0.1, 10.0.0.0/8, "2001:db8:1::/48"]'
  assert.equal(addressFrom('203.0.113.9, 198.51.100.1, 10.1.2.3, 2001:db8:1::7', list), '198.51.100.1')
  assert.equal(addressFrom('10.0.0.7, 10.1.2.3', list), '10.0.0.7', 'all of them are believed')
  assert.equal(addressFrom('198.51.100.1', list, '::ffff:10.1.1.1'), '198.51.100.1')
  assert.equal(addressFrom('198.51.100.1', list, 'fe80::1%eth0'), 'fe80::1%eth0')
})

test('who comes by the unix socket is believed, and nobody of this machine who came to the web server', () => {
  const config = 'http: { mode: behind-proxy, address: "unix:/run/tljh/front.sock" }'
  const by = (xForwardedFor: string, isByUnixSocket = true) =>
    arriving(config, { isByUnixSocket, headers: { 'x-forwarded-for': xForwardedFor, 'x-forwarded-proto': 'https' } })
  assert.equal(by('203.0.113.9, 198.51.100.1').address, '198.51.100.1')
  assert.ok(by('198.51.100.1').isSecure)
  assert.equal(by('203.0.113.9, 127.0.0.1').address, '127.0.0.1')
  const byPort = by('198.51.100.1', false)
  assert.equal(byPort.address, '127.0.0.1', 'as long as the hub has not moved')
  assert.ok(!byPort.isSecure)
})

test('what is no address ends what is known', () => {
  for (const text of [
    '',
    ' ',
    ',',
    'unknown',
    '999.1.1.1',
    '198.51.100.1.',
    '1.2.3.4 5.6.7.8',
    '[',
    '_hidden',
    '0x7f.1',
  ]) {
    assert.equal(addressFrom(text), '127.0.0.1', text)
    assert.equal(addressFrom(`198.51.100.1, ${text}`), '127.0.0.1', text)
    const two = addressFrom(`198.51.100.1, ${text}, 10.1.2.3`, ', trusted_proxies: [127.0.0.1, 10.0.0.0/8]')
    assert.equal(two, '10.1.2.3', 'the last that somebody who is believed has seen')
  }
})

test('addresses are written as Node.js writes them', () => {
  const same = {
    '198.51.100.1:4711': '198.51.100.1',
    '[2001:db8::7]:4711': '2001:db8::7',
    '[2001:0DB8:0:0::7]': '2001:db8::7',
    '2001:db8::7': '2001:db8::7',
    '::ffff:198.51.100.1': '198.51.100.1',
    '::FFFF:c633:6401': '198.51.100.1',
  }
  for (const [written, read] of Object.entries(same)) assert.equal(readAddress(written), read, written)
  for (const wrong of ['fe80::1%eth0', '[198.51.100.1', '198.51.100.1]', '198.51.100.1:', '[::1]x', 'localhost']) {
    assert.equal(readAddress(wrong), undefined, wrong)
  }
})

test('https and the name are believed of the nearest alone', () => {
  const told = (headers: IncomingHttpHeaders) => {
    const { isSecure, host, rawHost } = arriving(behind(), { headers: { host: '127.0.0.1:8080', ...headers } })
    return [isSecure, host, rawHost]
  }
  assert.deepEqual(told({}), [false, '127.0.0.1:8080', '127.0.0.1:8080'])
  const full = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'hub.test:8443' }
  assert.deepEqual(told(full), [true, 'hub.test:8443', 'hub.test:8443'])
  const added = { 'x-forwarded-proto': 'http, HTTPS', 'x-forwarded-host': 'evil.test, hub.test' }
  assert.deepEqual(told(added), [true, 'hub.test', 'hub.test'])
  for (const host of ['a b', 'x/y', '', 'hub.test:', 'hub.test:123456', 'ü.test', 'a@b', '[::1']) {
    assert.equal(told({ 'x-forwarded-host': host })[1], '127.0.0.1:8080', host)
  }
  for (const protocol of ['', 'ftp', 'httpss', 'https;', 'on'])
    assert.equal(told({ 'x-forwarded-proto': protocol })[0], false)
})

test('of strangers, and in mode direct, nothing is believed', () => {
  const headers = {
    ...{ host: 'hub.test', 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https' },
    ...{ 'x-forwarded-host': 'evil.test', forwarded: 'for=203.0.113.9;proto=https;host=evil.test' },
  }
  const cases: [string, string][] = [
    [behind(), '192.0.2.1'],
    [behind(', proxy_headers: forwarded'), '192.0.2.1'],
    [behind(', trusted_proxies: [192.0.2.7]'), '127.0.0.1'],
    ['', '127.0.0.1'],
    ['http: { trusted_proxies: [127.0.0.1] }', '127.0.0.1'],
  ]
  for (const [config, peer] of cases) {
    const { address, isSecure, host } = arriving(config, { peer, headers })
    assert.deepEqual([address, isSecure, host], [peer, false, 'hub.test'], config)
  }
})

test('Forwarded: what the one says who has seen the browser', () => {
  const from = (forwarded: string, trusted = '127.0.0.1') => {
    const config = behind(`, proxy_headers: forwarded, trusted_proxies: [${trusted}]`)
    const { address, isSecure, host } = arriving(config, { headers: { host: 'x', forwarded } })
    return [address, isSecure, host]
  }
  const good = 'for="[2001:db8::7]:4711";proto=https;host="hub.test:8443"'
  const read = ['2001:db8::7', true, 'hub.test:8443']
  assert.deepEqual(from(good), read)
  assert.deepEqual(from(good.replace('for', ' For').replaceAll(';', ' ; ')), read)
  assert.deepEqual(from(`for=203.0.113.9;proto=http, ${good}`), read)
  assert.deepEqual(from(`for="203.0.113.9, ${good}`), read, 'a quote that was never closed')
  assert.deepEqual(from(`${good}, for=10.0.0.1;host=inner`, '127.0.0.1, 10.0.0.0/8'), read)
  assert.deepEqual(from('for=unknown;proto=https'), ['127.0.0.1', true, 'x'])
  assert.deepEqual(from('for=_x, by=127.0.0.1'), ['127.0.0.1', false, 'x'])
  assert.deepEqual(from('for=198.51.100.1;host="a,b"'), ['198.51.100.1', false, 'x'])
})

test('one kind of headers says nothing of the other', () => {
  const headers = { 'x-forwarded-for': '198.51.100.1', forwarded: 'for=203.0.113.9;proto=https;host=evil.test' }
  const usual = arriving(behind(), { headers })
  assert.deepEqual([usual.address, usual.isSecure, usual.host], ['198.51.100.1', false, undefined])
  const standard = arriving(behind(', proxy_headers: forwarded'), { headers })
  assert.equal(standard.address, '203.0.113.9')
})

test('whatever is sent, an address comes out, and nothing breaks', () => {
  const piece = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constantFrom(',', ';', '"', '\\', 'for=', 'proto=https', 'host=', '[', ']', ':', '%', '=', '127.0.0.1', ' '),
    fc.ipV4(),
    fc.ipV6(),
  )
  const text = fc.array(piece, { maxLength: 30 }).map(pieces => pieces.join(''))
  const isTrusted = (address: string) => address.startsWith('127.') || address.startsWith('10.')
  const kinds = ['x-forwarded', 'forwarded'] as const
  const whole = fc.record({
    'x-forwarded-for': text,
    'x-forwarded-proto': text,
    'x-forwarded-host': text,
    forwarded: text,
  })
  fc.assert(
    fc.property(whole, fc.constantFrom(...kinds), fc.ipV4(), (headers, kind, own) => {
      const { address, host } = readForwarded(headers, { kind, peer: '127.0.0.1', isTrusted })
      assert.notEqual(isIP(address), 0)
      if (host !== undefined) assert.match(host, /^[\w.:[\]-]+$/)
      // Whatever stands in front, what the web server itself has added is what counts.
      if (isTrusted(own)) return
      const added = { 'x-forwarded-for': `${headers['x-forwarded-for']}, ${own}` }
      const standard = { forwarded: `${headers.forwarded}, for="${own}:1";proto=https` }
      const told = readForwarded(kind === 'forwarded' ? standard : added, { kind, peer: '127.0.0.1', isTrusted })
      assert.equal(told.address, own)
    }),
    { numRuns: 500 },
  )
})

test('what a web server leaves out is told once, by pages alone, until it says it', () => {
  const asked = { accept: 'text/html', host: 'hub.test' }
  const problemOf = (headers: IncomingHttpHeaders) => arriving(behind(), { headers }).problem?.what ?? ''
  assert.match(problemOf(asked), /does not say where browsers are/)
  assert.equal(problemOf({ host: 'hub.test', accept: '*/*' }), '', 'a check of the health')
  const told = { ...asked, 'x-forwarded-for': '198.51.100.1' }
  assert.equal(problemOf(told), '', 'http with browsers is allowed')
  assert.match(problemOf({ ...told, 'sec-fetch-site': 'none' }), /whether browsers come by https/)
  assert.match(problemOf({ ...told, host: '127.0.0.1:8080', 'x-forwarded-proto': 'https' }), /which name/)
  assert.equal(problemOf({ ...told, 'sec-fetch-site': 'none', 'x-forwarded-proto': 'https' }), '')
  assert.match(arriving('', { headers: told }).told.join(), /seems to stand in front.*http\.mode behind-proxy/)
  assert.deepEqual(arriving('', { headers: told, peer: '192.0.2.1' }).told, [], 'anybody may write that')
  assert.match(arriving(behind(), { headers: told, peer: '192.0.2.1' }).told.join(), /does not name 192\.0\.2\.1/)
})

test('a configuration that cannot be meant is said', () => {
  const found = (text: string) =>
    readConfig(text)
      .findings.map(({ severity, key, why }) => `${severity} ${key}: ${why}`)
      .join()
  assert.equal(found(behind()), '')
  assert.match(
    found('http: { mode: behind-proxy, address: 0.0.0.0 }'),
    /^warning http\.address: whoever asks there directly/,
  )
  assert.equal(found('http: { mode: behind-proxy, trusted_proxies: [192.0.2.7] }'), '')
  const twice = `${behind()}https: { enabled: true, tls: { key: /k, cert: /c } }`
  assert.match(found(twice), /^warning http\.mode: both the web server in front and the hub then have TLS/)
  assert.match(
    found(`${behind()}admins: { visit_port: 8081 }`),
    /^warning admins\.visit_port: browsers reach the web server/,
  )
  const socket = 'address: "unix:/run/tljh/front.sock"'
  assert.equal(found(`http: { mode: behind-proxy, ${socket} }`), '')
  assert.match(found(`http: { ${socket} }`), /^error http\.address: browsers cannot reach it/)
  assert.match(
    found(`http: { mode: behind-proxy, ${socket} }\nhttps: { enabled: true, tls: { key: /k, cert: /c } }`),
    /error http\.address: https\.enabled is true/,
  )
  for (const path of ['unix:/run/tljh/spawner.sock', 'unix:/etc/passwd', 'unix:/run/tljh/../x', '/run/tljh/front.sock'])
    assert.match(
      found(`http: { mode: behind-proxy, address: "${path}" }`),
      /^error http\.address: it is not an address/,
    )
  const grouped = `http: { mode: behind-proxy, ${socket}, socket_group: web }\nusers: { extra_user_groups: { web: [ann] } }`
  assert.match(found(grouped), /error http\.address: users\.extra_user_groups puts users in web/)
  assert.match(found(`http: { socket_group: jupyterhub-users }`), /^error http\.socket_group/)
  assert.match(found('http: { trusted_proxies: [192.0.2.7] }'), /^warning http\.trusted_proxies: nothing that/)
  for (const network of ['0.0.0.0/0', '::/0', '10.0.0.0/33', 'front.example.org', '10.0.0', '::1%lo', '']) {
    assert.match(
      found(behind(`, trusted_proxies: ["${network}"]`)),
      /^error http\.trusted_proxies\.0: it is no address/,
      network,
    )
  }
  for (const url of ['hub.example.org', 'https://hub.example.org/class', 'ftp://x', 'https://a@b', 'https://']) {
    assert.match(found(behind(`, public_url: "${url}"`)), /^error http\.public_url/, url)
  }
  const other = `${behind(', public_url: "https://other.test"')}https: { user_domains: hub.test }`
  assert.match(found(other), /^error http\.public_url: with https\.user_domains/)
})

test('links that are made on the command line lead to where browsers find the hub', async () => {
  const config = `${behind(', public_url: "https://hub.test:8443/"')}base_url: /class/\n`
  assert.equal(await hubAddress(parseConfig(config)), 'https://hub.test:8443/class/')
})

test('a change says who is believed from then on', () => {
  const lines = (before: string, after: string) => planChange(parseConfig(before), parseConfig(after), []).lines
  const direct = 'http: { address: 127.0.0.1, port: 8080 }'
  assert.match(
    lines(direct, behind()).join(),
    /at 127\.0\.0\.1 and ::1, is believed in X-Forwarded-For, -Proto and -Host/,
  )
  assert.match(lines(behind(), behind(', trusted_proxies: [10.0.0.0/8]')).join(), /at 10\.0\.0\.0\/8, is believed/)
  assert.match(lines(behind(), direct).join(), /nothing is believed from now on/)
  assert.equal(parseConfig(`${behind()}admins: { visit_port: 8081 }`).visitPort, undefined)
})
