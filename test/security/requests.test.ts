/**
 * Requests that mean one thing to the hub and another to the server behind it, or that go where they may not: smuggling, spellings of
 * addresses, hosts, headers. The servers of ann and bob are recorders. Bob attacks; whatever he sends, ann's hears nothing, and his
 * own hears of nobody but bob.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { after, afterEach, before, test } from 'node:test'
import fc from 'fast-check'
import { lines, say, statusesIn } from '../harness/peers/raw-http.ts'
import { type Arrived, type Recorder, recordInPlaceOf } from '../harness/peers/recording-server.ts'
import { type Visitor, visit } from '../harness/people/visitor.ts'
import { type Classroom, openClassroom, studentPassword } from '../harness/product/classroom.ts'

let classroom: Classroom
let bob: Visitor
let anns: Recorder
let bobs: Recorder
/** `Host` and `Cookie` of bob. */
let own: string[]
let sessionCookie: string

before(async () => {
  classroom = await openClassroom(undefined)
  const { host } = classroom
  await classroom.student('ann')
  bob = await classroom.student('bob')
  anns = await recordInPlaceOf(host, 'ann')
  bobs = await recordInPlaceOf(host, 'bob')
  // Connections to the servers before are kept open, and would be used.
  await host.run(['systemctl', 'restart', 'tljh-hub'])
  sessionCookie = `tljh-session=${bob.cookies.get('tljh-session')}`
  own = [`Host: ${new URL(classroom.url).host}`, `Cookie: ${sessionCookie}`]
})
after(async () => {
  await anns?.[Symbol.asyncDispose]()
  await bobs?.[Symbol.asyncDispose]()
  await classroom?.[Symbol.asyncDispose]()
})

/** What holds after each attempt. */
afterEach(async () => {
  const heard = { byAnns: await anns.arrived(), byBobs: await bobs.arrived() }
  assert.deepEqual(heard.byAnns, [], 'nothing has reached ann’s server')
  for (const request of heard.byBobs) isBobs(request)
  await isWell()
})

function isBobs({ url, headers }: Arrived): void {
  assert.match(url, /^\/user\/bob\//)
  assert.deepEqual(valuesOf(headers, 'x-tljh-user'), ['bob'])
  assert.deepEqual(valuesOf(headers, 'x-forwarded-proto'), ['http'])
  assert.equal(valuesOf(headers, 'x-forwarded-for').length, 1)
  assert.doesNotMatch(headers.join('\n'), /tljh-session|tljh-login/)
}

function valuesOf(headers: readonly string[], name: string): string[] {
  return headers.filter(
    (_, index) => index % 2 === 1 && headers[index - 1]?.toLowerCase().replaceAll('_', '-') === name,
  )
}

async function isWell(): Promise<void> {
  assert.equal((await fetch(`${classroom.url}/hub/health`)).status, 200)
  const { stdout } = await classroom.host.run(['systemctl', 'show', '--value', '--property=NRestarts', 'tljh-hub'])
  assert.equal(stdout.trim(), '0')
}

/** A request of bob's to his own server, with `more` lines in its head; it is the last on its connection. */
function ask(more: readonly string[], body = '', { method = 'POST', path = '/user/bob/echo' } = {}): Promise<string> {
  return say(classroom.url, lines([`${method} ${path} HTTP/1.1`, ...own, ...more, 'Connection: close'], body))
}

/** What an attacker wants another server to take for a request of its own. */
const inner = 'GET /user/ann/secret HTTP/1.1\r\nHost: x\r\nX-Tljh-User: ann\r\n\r\n'

// D5: of two lengths, or one that can be read in two ways, none counts.
for (const [what, head, body] of [
  ['a length and chunks (CL.TE)', ['Content-Length: 6', 'Transfer-Encoding: chunked'], `0\r\n\r\n${inner}`],
  ['chunks and a length (TE.CL)', ['Transfer-Encoding: chunked', 'Content-Length: 4'], `5c\r\n${inner}\r\n0\r\n\r\n`],
  ['chunks, and then none (TE.TE)', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], `0\r\n\r\n${inner}`],
  ['chunks that are not the last coding', ['Transfer-Encoding: chunked, gzip'], `0\r\n\r\n${inner}`],
  ['a coding that nobody knows', ['Transfer-Encoding: xchunked'], `0\r\n\r\n${inner}`],
  ['a coding in quotes', ['Transfer-Encoding: "chunked"'], `0\r\n\r\n${inner}`],
  ['a coding behind a vertical tab', ['Transfer-Encoding: \x0bchunked'], `0\r\n\r\n${inner}`],
  ['a space before the colon', ['Transfer-Encoding : chunked'], `0\r\n\r\n${inner}`],
  ['a folded line (obs-fold)', ['Transfer-Encoding:', ' chunked', 'Content-Length: 6'], `0\r\n\r\n${inner}`],
  ['two lengths', ['Content-Length: 0', `Content-Length: ${inner.length}`], inner],
  ['the same length twice', ['Content-Length: 4', 'Content-Length: 4'], 'abcd'],
  ['lengths in a list', ['Content-Length: 4, 4'], 'abcd'],
  ['a length with a sign', ['Content-Length: +4'], 'abcd'],
  ['a length below nothing', ['Content-Length: -1'], inner],
  ['a length in hexadecimal digits', ['Content-Length: 0x4'], 'abcd'],
  ['a length beyond all numbers', ['Content-Length: 99999999999999999999999'], 'abcd'],
  ['a length with a space in it', ['Content-Length: 4 4'], 'abcd'],
  ['a chunk whose size is no number', ['Transfer-Encoding: chunked'], `xyz\r\n${inner}0\r\n\r\n`],
  ['a chunk whose size has a sign', ['Transfer-Encoding: chunked'], `+4\r\nabcd\r\n0\r\n\r\n`],
  ['a chunk whose size has a prefix', ['Transfer-Encoding: chunked'], `0x4\r\nabcd\r\n0\r\n\r\n`],
  ['a chunk whose size overflows', ['Transfer-Encoding: chunked'], `fffffffffffffffff1\r\nabcd\r\n0\r\n\r\n`],
  ['a chunk longer than it says', ['Transfer-Encoding: chunked'], `2\r\nabcd\r\n0\r\n\r\n`],
  ['a bare line feed after a chunk’s size', ['Transfer-Encoding: chunked'], `4\nabcd\r\n0\r\n\r\n`],
  ['a bare line feed in a chunk’s extension', ['Transfer-Encoding: chunked'], `4;x\nabcd\r\n0\r\n\r\n`],
  ['a bare line feed at the end of a header', ['X: 1\nContent-Length: 4'], 'abcd'],
  ['a bare carriage return in a header', ['X: 1\rContent-Length: 4'], 'abcd'],
  ['a NUL in a header', ['X: 1\x002'], ''],
  ['a header without a name', [': chunked'], ''],
  ['a space in a header’s name', ['Transfer Encoding: chunked'], ''],
  ['a line that is no header', ['Transfer-Encoding'], ''],
] as const) {
  test(`smuggling: ${what} is refused, and nothing of it reaches a server`, async () => {
    const answer = await ask(head, body)
    // What came before the mistake may be on its way already: then the connection breaks without an answer.
    assert.ok(['400', ''].includes(statusesIn(answer).join()), answer)
    for (const { body: received } of await bobs.arrived()) assert.fail(`it heard ${received}`)
  })
}

test('smuggling: no header hides behind a thousand others', async () => {
  const many = Array.from({ length: 1010 }, () => 'a:')
  for (const hidden of [
    `Content-Length: ${inner.length}`,
    'Transfer-Encoding: chunked',
    'Origin: https://evil.example',
    'X-Tljh-User: ann',
  ]) {
    assert.deepEqual(statusesIn(await ask([...many, hidden], inner)).slice(0, 1), [431], hidden)
  }
  assert.deepEqual(await bobs.arrived(), [])
})

test('smuggling: extensions of chunks are left behind, and trailers say nothing', async () => {
  const chunks = '4;a=b;c="d"\r\nabcd\r\n0\r\nX-Tljh-User: ann\r\n\r\n'
  const answer = await ask(['Transfer-Encoding: chunked', 'Trailer: X-Tljh-User'], chunks)
  assert.deepEqual(statusesIn(answer), [200])
  const [request, ...others] = await bobs.arrived()
  assert.ok(request)
  assert.deepEqual(others, [])
  isBobs(request)
  assert.deepEqual([request.body, request.trailers, valuesOf(request.headers, 'trailer')], ['abcd', [], []])
})

test('smuggling: a request inside of a body stays one', async () => {
  const body = `${inner}${inner}`
  const answers = await Promise.all([
    ask([`Content-Length: ${body.length}`], body),
    ask(['Transfer-Encoding: chunked'], `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`),
    ask([`Content-Length: ${body.length}`], body, { method: 'OPTIONS' }),
    ask([`Content-Length: ${body.length}`], body, { method: 'DELETE' }),
    ask([`Content-Length: ${body.length}`], body, { method: 'GET' }),
  ])
  for (const answer of answers) assert.deepEqual(statusesIn(answer).slice(0, 1), [200], answer)
  const arrived = await bobs.arrived()
  assert.equal(arrived.length, answers.length)
  for (const request of arrived) {
    isBobs(request)
    assert.equal(request.body, body)
  }
})

test('smuggling: a body that the hub does not read is not taken for a request', async () => {
  for (const path of ['/user/ann/echo', '/hub/nothing', '/hub/home', '/hub/static/none']) {
    const head = [`POST ${path} HTTP/1.1`, ...own, `Content-Length: ${inner.length}`]
    const last = lines(['GET /hub/health HTTP/1.1', ...own, 'Connection: close'])
    const statuses = statusesIn(await say(classroom.url, lines(head, inner) + last))
    assert.ok([403, 404, 415].includes(statuses[0] ?? 0), `${path}: ${statuses}`)
    assert.ok(
      statuses.slice(1).every(status => status === 200),
      `${path}: ${statuses}`,
    )
    assert.ok(statuses.length <= 2)
  }
})

test('smuggling: an upgrade to HTTP/2 is a request like any other, and HTTP/2 itself is refused', async () => {
  const h2c = ['Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA']
  const answer = await say(
    classroom.url,
    lines(['GET /user/bob/echo HTTP/1.1', ...own, ...h2c, 'Connection: Upgrade, HTTP2-Settings, close']),
  )
  assert.deepEqual(statusesIn(answer), [200])
  const [request] = await bobs.arrived()
  assert.equal(request?.isUpgrade, false)
  assert.deepEqual(
    [...valuesOf(request?.headers ?? [], 'upgrade'), ...valuesOf(request?.headers ?? [], 'http2-settings')],
    [],
  )
  assert.deepEqual(statusesIn(await say(classroom.url, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')), [400])
})

test('smuggling: behind a WebSocket that was refused comes nothing more', async () => {
  for (const path of ['/user/bob/echo', '/user/ann/echo', '/hub/login']) {
    const upgrade = [
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: eA==',
    ]
    const answer = await say(classroom.url, lines([`GET ${path} HTTP/1.1`, ...own, ...upgrade], inner))
    assert.equal(statusesIn(answer).length, 1, answer)
  }
  const arrived = await bobs.arrived()
  assert.deepEqual(
    arrived.map(({ isUpgrade, url }) => [isUpgrade, url]),
    [[true, '/user/bob/echo']],
  )
})

// D4
test('each of several requests on one connection is judged by itself', async () => {
  const first = lines(['GET /user/bob/echo?1 HTTP/1.1', ...own])
  const foreign = lines(['GET /user/ann/secret HTTP/1.1', ...own])
  const nobodys = lines(['GET /user/bob/echo?2 HTTP/1.1', own[0] ?? ''])
  const last = lines(['GET /user/bob/echo?3 HTTP/1.1', ...own, 'Connection: close'])
  const answer = await say(classroom.url, first + foreign + nobodys + foreign + last)
  assert.deepEqual(statusesIn(answer), [200, 403, 403, 403, 200])
  assert.deepEqual(
    (await bobs.arrived()).map(({ url }) => url),
    ['/user/bob/echo?1', '/user/bob/echo?3'],
  )
})

test('a connection that was used by somebody who has logged out is nobody’s', async () => {
  const other = visit(classroom.url)
  assert.equal((await other.logIn('bob', studentPassword)).status, 302)
  const token = other.cookies.get('_xsrf') ?? ''
  const cookie = `tljh-session=${other.cookies.get('tljh-session')}; _xsrf=${token}`
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const ports = new Set<number | undefined>()
  const call = async (method: string, path: string, body = '') => {
    const headers = { cookie, 'content-type': 'application/x-www-form-urlencoded' }
    const sent = request(`${classroom.url}${path}`, { method, agent, headers }).end(body)
    const [answer] = (await once(sent, 'response')) as [IncomingMessage]
    ports.add(answer.socket.localPort)
    await once(answer.resume(), 'end')
    return answer.statusCode
  }
  assert.equal(await call('GET', '/user/bob/echo'), 200)
  assert.equal(await call('POST', '/hub/logout', `_xsrf=${token}`), 302)
  assert.equal(await call('GET', '/user/bob/echo'), 403)
  assert.equal(ports.size, 1)
  agent.destroy()
})

// D2, and traversals of the kind of CVE-2026-35397 (jupyter_server). More of them: isolation.test.ts.
test('no spelling of an address leads into another’s server', async () => {
  for (const path of [
    ...[
      '/user/bob/..;/ann/secret',
      '/user/bob/.%2e/ann/secret',
      '/user/bob/%2e./ann/secret',
      '/user/bob/..%5cann/secret',
    ],
    ...['/user/bob/%2e%2e%2fann/secret', '/user/bob/%252e%252e/ann/secret', '/user/bob/%c0%ae%c0%ae/ann/secret'],
    ...['/user/ann%00/secret', '/user/ann%2fsecret', '/user/ann%0a/secret', '/user/ann%20/secret', '/user/ann./secret'],
    ...['/user/Ann/secret', '/user/aNN/secret', '/uSer/ann/secret', '/%75ser/ann/secret', '/user/%EF%BD%81nn/secret'],
    ...[
      '/hub/../user/ann/secret',
      '/hub/static/../../user/ann/secret',
      '/hub/%2e%2e/user/ann/secret',
      '/./user/ann/secret',
    ],
    ...[
      '//user/ann/secret',
      '///user/ann/secret',
      '/user//ann/secret',
      '/user/bob//../../ann/secret',
      '/;/user/ann/secret',
    ],
    ...[
      '/user/ann;/secret',
      '/user;/ann/secret',
      '/user/ann?/secret',
      '/user/ann#/secret',
      '/user/bob/#/../../ann/secret',
    ],
    ...[
      '/user/bob/../ann/secret#',
      '/user/bob/?/../../ann/secret',
      '/user/bobb/secret',
      '/user/bo/secret',
      '/user/bob%2f..%2fann/secret',
    ],
    ...[
      'http://x/user/ann/secret',
      'http://ann@x/user/ann/secret',
      'http:///user/ann/secret',
      'https://x/user/ann/secret',
    ],
    ...[
      '/user/ann/\\secret',
      '\\user\\ann\\secret',
      'user/ann/secret',
      '*',
      '?/user/ann/secret',
      '/user/\x80ann/secret',
      '/user/ann\xff/secret',
    ],
  ]) {
    const statuses = statusesIn(await ask([], '', { method: 'GET', path }))
    const arrived = await bobs.arrived()
    arrived.forEach(isBobs)
    // What is below bob's own address is his, however it is spelled.
    const isAllowed = arrived.length === 1 ? [200] : [302, 400, 403, 404]
    assert.ok(isAllowed.includes(statuses[0] ?? 0), `${path}: ${statuses}`)
  }
})

test('no characters that are not allowed in an address get through, and an endless address is cut off', async () => {
  for (const byte of [0, 1, 9, 10, 11, 12, 13, 27, 32, 127]) {
    const path = `/user/bob/x${String.fromCharCode(byte)}/../../ann/secret`
    const [status] = statusesIn(await ask([], '', { method: 'GET', path }))
    assert.equal(status, 400, `byte ${byte}`)
  }
  for (const length of [17_000, 1_000_000]) {
    const [status = 431] = statusesIn(await ask([], '', { method: 'GET', path: `/user/ann/${'a'.repeat(length)}` }))
    assert.equal(status, 431)
  }
  const many = `/user/bob/${'../'.repeat(4000)}user/ann/secret`
  assert.deepEqual(statusesIn(await ask([], '', { method: 'GET', path: many })), [400])
})

test('whatever the bytes of an address are, ann’s server hears nothing of them', async () => {
  const pieces = fc.constantFrom(
    ...[
      '/',
      '//',
      '.',
      '..',
      '%2e',
      '%2f',
      '%5c',
      '\\',
      ';',
      '?',
      '#',
      '%00',
      '%',
      'user',
      'ann',
      'bob',
      'hub',
      '@',
      ':',
      '\xff',
      '*',
      'http:',
    ],
  )
  const path = fc.array(pieces, { minLength: 1, maxLength: 10 }).map(parts => `/user/${parts.join('')}`)
  await fc.assert(
    fc.asyncProperty(path, async text => {
      const [status] = statusesIn(await ask([], '', { method: 'GET', path: text }))
      assert.ok(status && status < 500, `${text}: ${status}`)
    }),
    { numRuns: 300 },
  )
})

// D3
test('no header and no method makes another request of one', async () => {
  const elsewhere = [
    ...[
      'X-Original-URL: /user/ann/secret',
      'X-Rewrite-URL: /user/ann/secret',
      'X-Forwarded-Prefix: /user/ann',
      'X-Forwarded-Host: evil',
    ],
    ...[
      'X-HTTP-Method-Override: DELETE',
      'X-Method-Override: DELETE',
      'Forwarded: host=evil;for=6.6.6.6',
      'X-Forwarded-For: 6.6.6.6',
    ],
  ]
  assert.deepEqual(statusesIn(await ask(elsewhere, '', { method: 'GET' })), [200])
  const [request] = await bobs.arrived()
  assert.ok(request)
  isBobs(request)
  assert.deepEqual([request.method, request.url], ['GET', '/user/bob/echo'])
  assert.doesNotMatch(valuesOf(request.headers, 'x-forwarded-for').join(), /6\.6\.6\.6/)
  for (const method of ['TRACE', 'CONNECT', 'PROPFIND', 'MKCOL', 'PURGE', 'FOO', 'get', 'QUERY']) {
    const [status = 400] = statusesIn(await ask([], '', { method }))
    assert.ok([400, 404, 405].includes(status), `${method}: ${status}`)
  }
  assert.deepEqual(await bobs.arrived(), [])
})

test('hosts that are missing, doubled or malformed lead nowhere, and one that is false is told to nobody', async () => {
  const [, cookie = ''] = own
  const head = 'GET /hub/home HTTP/1.1'
  const close = 'Connection: close'
  assert.deepEqual(statusesIn(await say(classroom.url, lines([head, cookie, close]))), [400])
  assert.deepEqual(statusesIn(await say(classroom.url, lines([head, ...own, 'Host: evil.example', close]))), [400])
  for (const host of [
    'evil.example',
    'evil.example:80@hub',
    '',
    '/',
    '"><script>',
    'hub\\@evil',
    'a'.repeat(5000),
    '[::1',
    '\xff',
  ]) {
    for (const path of [
      '/',
      '/hub/',
      '/hub/home',
      '/hub/login',
      '/hub/spawn',
      '/user/bob',
      '/user/ann/',
      '/hub/admin',
      '/hub/nothing',
    ]) {
      for (const identity of [cookie, 'X: 1']) {
        const answer = await say(
          classroom.url,
          lines([`GET ${path} HTTP/1.1`, `Host: ${host}`, identity, 'Accept: text/html', close]),
        )
        const [status] = statusesIn(answer)
        assert.ok(status && status < 500, `${host} ${path}: ${status}`)
        assert.match(/^location: (.*)\r$/im.exec(answer)?.[1] ?? '/', /^\/(?!\/)/, 'nobody is led to another host')
        assert.doesNotMatch(answer, /evil|<script>/)
      }
    }
  }
})

// E1, E2, E3
test('nobody becomes somebody else by a header, however it is spelled or named', async () => {
  const claims = [
    ...[
      'X-Tljh-User: ann',
      'x-tljh-user: ann',
      'X_Tljh_User: ann',
      'X-Tljh_User: ann',
      'X_FORWARDED_FOR: 6.6.6.6',
      'X-TLJH-Admin: 1',
    ],
    ...[
      'X-Forwarded-User: ann',
      'X-Forwarded-Proto: https',
      'X_Forwarded_Proto: https',
      'Forwarded: for=6.6.6.6',
      'X_Real_IP: 6.6.6.6',
    ],
    ...[
      'Connection: X-Tljh-User, X-Forwarded-For, X-Forwarded-Proto',
      'Proxy-Authorization: Basic YW5u',
      'Keep-Alive: 1',
      'TE: trailers',
    ],
  ]
  assert.deepEqual(statusesIn(await ask(claims, '', { method: 'GET' })), [200])
  const [request] = await bobs.arrived()
  assert.ok(request)
  isBobs(request)
  assert.doesNotMatch(request.headers.join('\n'), /6\.6\.6\.6|ann|YW5u/)
})

test('a header cannot be split into two, nor an answer', async () => {
  for (const next of [
    '/hub/home\r\nSet-Cookie: a=1',
    '/hub/home%0d%0aSet-Cookie:a=1',
    '/hub/\u010d\u010aSet-Cookie:a=1',
    '/hub/home\0x',
  ]) {
    const query = new URLSearchParams({ next })
    for (const path of [
      `/hub/login?${query}`,
      `/hub/spawn?${query}`,
      `/hub/spawn-pending/bob?${query}`,
      `/hub/confirm?${query}`,
    ]) {
      const { status, headers, location } = await bob.request(path)
      assert.ok(status < 500, path)
      assert.doesNotMatch(location, /[\r\n]/)
      assert.doesNotMatch(String(headers['set-cookie'] ?? ''), /^a=1/)
    }
  }
})

// B4, and B3 with very many
test('cookies of any size and number do no harm, and let nobody in', async () => {
  const home = { method: 'GET', path: '/hub/home' }
  const [huge = 431] = statusesIn(await ask([`Cookie: a=${'a'.repeat(64 * 1024)}`], '', home))
  assert.equal(huge, 431)
  const [tenThousand = 431] = statusesIn(await ask([`Cookie: ${'a=1; '.repeat(10_000)}`], '', home))
  assert.equal(tenThousand, 431)
  const host = own[0] ?? ''
  const askWith = async (cookie: string) =>
    statusesIn(
      await say(classroom.url, lines(['GET /hub/home HTTP/1.1', host, `Cookie: ${cookie}`, 'Connection: close'])),
    )[0]
  assert.equal(await askWith(`${'a=1; '.repeat(2000)}${sessionCookie}`), 200)
  assert.equal(
    await askWith(`tljh-session=invalid; ${sessionCookie}`),
    200,
    'a false one before the right one logs nobody out',
  )
  assert.equal(
    await askWith(`${'tljh-session=x; '.repeat(500)}${sessionCookie}`),
    403,
    'which of so many would be right?',
  )
  for (const odd of [
    'tljh-session',
    'tljh-session=',
    '=x',
    ';;;',
    'tljh-session="',
    '__proto__=1; constructor=1',
    '\xff\xfe=\x80',
    'tljh-session=%',
  ]) {
    assert.equal(await askWith(odd), 403, odd)
  }
})

test('bytes that are no UTF-8, and names that objects have, are words like others', async () => {
  const odd = [
    '%ff%fe',
    '%ed%a0%80',
    '%c0%80',
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    '..%2f..%2fetc%2fpasswd',
    '%00',
  ]
  for (const word of odd) {
    for (const path of [
      ...[
        `/hub/static/${word}`,
        `/hub/${word}`,
        `/user/${word}/lab`,
        `/user/bob/${word}`,
        `/hub/api/users/${word}/server/progress`,
      ],
      ...[
        `/hub/login?next=${word}`,
        `/hub/login?${word}=1`,
        `/hub/login?${word}[${word}]=1`,
        `/hub/welcome?user=${word}&code=${word}`,
      ],
      ...[
        `/hub/spawn-pending/${word}`,
        `/hub/oauth_login?provider=${word}`,
        `/hub/oauth_callback?state=${word}`,
        `/hub/visit/${word}`,
      ],
      ...[`/hub/admin/config/history/${word}`, `/hub/enter?server=${word}&nonce=${word}`],
    ]) {
      const { status } = await bob.request(path)
      assert.ok(status >= 200 && status < 500, `${path}: ${status}`)
    }
  }
})

// C4; CVE-2023-26114 (code-server: WebSockets without a look at Origin), CVE-2024-28179 (jupyter-server-proxy), CVE-2026-40110 (a pattern
// of origins that was not anchored). In a browser: test/browser/cross-origin.test.ts
test('no page but the hub’s own opens a WebSocket with somebody’s cookie', async () => {
  const { host } = new URL(classroom.url)
  const upgrade = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: eA==']
  for (const line of [
    ...[
      'Origin: https://evil.example',
      'Origin: null',
      'Origin:',
      `Origin: http://${host}.evil.example`,
      `Origin: http://evil${host}`,
    ],
    ...[
      `Origin: http://${host}:8000`,
      `Origin: http://${host}@evil.example`,
      `Origin: http://evil.example/${host}`,
      'Origin: file://',
      'Origin: x',
    ],
    ...[
      `Origin: https://evil.example http://${host}`,
      'Sec-Fetch-Site: cross-site',
      'Sec-Fetch-Site: same-site',
      'Sec-Fetch-Site: x',
    ],
  ]) {
    const answer = await say(
      classroom.url,
      lines(['GET /user/bob/api/kernels/x/channels HTTP/1.1', ...own, ...upgrade, line]),
    )
    assert.deepEqual(statusesIn(answer), [403], line)
    assert.deepEqual(await bobs.arrived(), [], line)
  }
  await say(
    classroom.url,
    lines(['GET /user/bob/api/kernels/x/channels HTTP/1.1', ...own, ...upgrade, `Origin: http://${host}`]),
  )
  assert.equal((await bobs.arrived()).length, 1, 'and the hub’s own does')
})

// C1 for users' servers (for the hub's own routes: routes.test.ts); GHSA-64x5 (/files without a look at the origin)
test('what another site sends with somebody’s cookie does not reach a server, not even to be read', async () => {
  for (const line of [
    ...['Origin: https://evil.example', 'Origin: null', 'Sec-Fetch-Site: cross-site', 'Sec-Fetch-Site: same-site'],
    ...[
      'Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script',
      'Origin: https://evil.example\r\nSec-Fetch-Site: same-origin',
    ],
    ...['Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe'],
  ]) {
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD']) {
      const [status] = statusesIn(await ask([line], '', { method, path: '/user/bob/files/x.html' }))
      assert.equal(status, 403, `${method} ${line}`)
    }
  }
  assert.deepEqual(await bobs.arrived(), [])
})

// C2; CVE-2026-40864 (a request that says `no-cors` was taken for one of our own pages)
test('no link, image or form of another site starts or stops a server, or logs anybody out', async () => {
  const foreign: Record<string, string>[] = [
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' },
    { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'empty' },
    {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
      origin: 'https://evil.example',
    },
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' },
    { referer: 'https://evil.example/' },
    { origin: 'null' },
  ]
  const state = ['systemctl', 'show', '--value', '--property=InvocationID', 'tljh-user-bob']
  const before = (await classroom.host.run(state)).stdout
  const body = new URLSearchParams({ _xsrf: bob.cookies.get('_xsrf') ?? '' }).toString()
  for (const headers of foreign) {
    for (const path of ['/hub/spawn', '/hub/logout', '/hub/stop', '/user/bob/logout', '/hub/account'])
      await bob.request(path, { headers })
    if (headers.referer) continue
    for (const path of ['/hub/spawn', '/hub/stop', '/hub/logout', '/hub/account/sessions', '/hub/confirm']) {
      const posted = {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
        body,
      }
      assert.equal((await bob.request(path, posted)).status, 403, path)
    }
  }
  assert.equal((await bob.request('/hub/home')).status, 200, 'still logged in')
  assert.equal((await classroom.host.run(state)).stdout, before, 'and the server is the same')
  for (const path of [
    '/hub/shutdown',
    '/hub/api/shutdown',
    '/hub/api/users',
    '/hub/accept-share',
    '/hub/token',
    '/metrics',
    '/hub/api/proxy',
  ]) {
    for (const method of ['GET', 'POST', 'DELETE'])
      assert.equal((await bob.request(path, { method })).status, 404, `${method} ${path}`)
  }
})
