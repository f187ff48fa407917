import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isUserName, type UserName } from '../../../../config/users/names.ts'
import { type Arrangement, type Asked, labelOf, placeOf, steer } from '../../../../hub/access/origins.ts'
import { createPasses, digestOf, newNonce } from '../../../../hub/access/passes.ts'
import type { Session } from '../../../../hub/access/sessions.ts'
import { requestHeaders } from '../../../../hub/proxy/headers.ts'
import { ownCookie } from '../../../../hub/web/cookies.ts'

const name = (text: string): UserName => {
  assert.ok(isUserName(text), text)
  return text
}
const ann = name('ann')
const bob = name('bob')
const userName = fc.stringMatching(/^[a-z0-9][a-z0-9._@-]{0,62}[a-z0-9]$|^[a-z0-9]$/).filter(isUserName)

test('a name that can be a host stays as it is, and every other is cut and gets a piece of its hash', () => {
  for (const plain of ['ann', '7', 'a-b-c', 'x'.repeat(40)]) assert.equal(labelOf(name(plain)), plain)
  for (const other of ['ann.b', 'ann@example.org', 'a--b', 'xn--nxasmq6b', 'www', 'hub', 'x'.repeat(41), 'a_b']) {
    assert.match(labelOf(name(other)), /^[a-z0-9-]{1,40}--[0-9a-f]{20}$/, other)
  }
  assert.match(labelOf(name('ann@example.org')), /^ann-example-org--/)
})

test('no two users share a host, and each host can be one', () => {
  const twoAlike = userName.chain(one =>
    fc.tuple(fc.constant(one), fc.constant(one.replaceAll(/[._@]/g, '-')).filter(isUserName)),
  )
  fc.assert(
    fc.property(fc.oneof(fc.tuple(userName, userName), twoAlike), ([one, other]) => {
      assert.match(labelOf(one), /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/)
      assert.equal(labelOf(one) === labelOf(other), one === other)
    }),
  )
  fc.assert(
    fc.property(userName, user => {
      const label = labelOf(user)
      assert.ok(!isUserName(label) || label === user || labelOf(label) !== label, 'and no label is another user’s name')
    }),
  )
})

const domains: Arrangement = { baseUrl: '/', userDomains: 'hub.example.org', hubPort: 80, visitPort: undefined }
const visitPort: Arrangement = { baseUrl: '/', userDomains: '', hubPort: 80, visitPort: 8081 }

function verdict(arrangement: Arrangement, host: string, url: string, more: Partial<Asked> = {}): string {
  const asked: Asked = {
    ...{ method: 'GET', host, url, isOnVisitPort: false, isSecure: false, isNavigation: true, isUpgrade: false },
    ...more,
  }
  const found = steer(arrangement, asked)
  return found.kind === 'redirect' ? found.to : found.kind === 'refuse' ? found.problem.code : 'served'
}

test('with hosts for users, the hub’s serves the hub and leads to servers', () => {
  const host = 'hub.example.org:8000'
  assert.equal(verdict(domains, host, '/hub/home'), 'served')
  assert.equal(verdict(domains, 'HUB.example.org', '/'), 'served')
  assert.equal(verdict(domains, host, '/user/Ann/lab'), 'served', 'which finds no such page')
  const path = '/user/ann/lab/tree/%C3%A4%2f;x?y=%20&z=//evil'
  assert.equal(verdict(domains, host, path), `http://ann.hub.example.org:8000${path}`, 'byte for byte')
  assert.equal(verdict(domains, host, '/user/ann'), 'http://ann.hub.example.org:8000/user/ann')
  assert.equal(
    verdict(domains, host, '/user/ann/api', { isNavigation: false }),
    'http://ann.hub.example.org:8000/user/ann/api',
  )
  assert.equal(verdict(domains, host, '/user/ann/api', { method: 'POST' }), 'MISDIRECTED')
  assert.equal(verdict(domains, host, '/user/ann/api', { isUpgrade: true }), 'MISDIRECTED')
})

test('a user’s host serves that user’s server alone', () => {
  const host = 'ann.hub.example.org'
  assert.equal(verdict(domains, host, '/user/ann/lab'), 'served')
  assert.equal(verdict(domains, host, '/user/ann/api', { method: 'POST', isNavigation: false }), 'served')
  assert.equal(verdict(domains, host, '/hub/home?x=1'), 'http://hub.example.org/hub/home?x=1')
  assert.equal(verdict(domains, host, '//evil.example/'), 'http://hub.example.org//evil.example/')
  assert.equal(verdict(domains, host, '/user/bob/lab'), 'http://hub.example.org/user/bob/lab')
  for (const url of ['/hub/home', '/user/bob/api', '/', '/hub/static/hub.css']) {
    assert.equal(verdict(domains, host, url, { isNavigation: false }), 'NO_PAGE', url)
    assert.equal(verdict(domains, host, url, { method: 'POST' }), 'NO_PAGE', url)
    assert.equal(verdict(domains, host, url, { isUpgrade: true }), 'NO_PAGE', url)
  }
  assert.equal(verdict(domains, host, 'http://hub.example.org/user/ann/'), 'NO_PAGE')
})

test('other names are refused, and bare addresses lead to the hub', () => {
  for (const host of [
    ...['evil.example', 'hub.example.org.evil.example', 'xhub.example.org', 'a.b.hub.example.org', '.hub.example.org'],
    ...[
      'hub.example.org.',
      'ann.hub.example.org.',
      'ann@hub.example.org',
      'hub.example.org:80:80',
      '',
      'hub.example.org/',
    ],
  ]) {
    assert.equal(verdict(domains, host, '/hub/login'), 'MISDIRECTED', host)
  }
  for (const host of ['127.0.0.1:8000', 'localhost:8000', '[::1]:8000']) {
    assert.equal(verdict(domains, host, '/hub/login'), 'http://hub.example.org:8000/hub/login')
    assert.equal(verdict(domains, host, '/hub/health', { isNavigation: false }), 'served')
    assert.equal(verdict(domains, host, '/hub/login', { method: 'POST' }), 'MISDIRECTED')
  }
})

test('the port for visits serves servers and nothing of the hub', () => {
  const onIt = { isOnVisitPort: true }
  assert.equal(verdict(visitPort, 'h:8081', '/user/bob/lab', onIt), 'served')
  assert.equal(verdict(visitPort, 'h:8081', '/hub/home', onIt), 'http://h/hub/home')
  assert.equal(verdict({ ...visitPort, hubPort: 8000 }, 'h:8081', '/hub/home', onIt), 'http://h:8000/hub/home')
  assert.equal(verdict(visitPort, 'h:8081', '/hub/stop', { ...onIt, method: 'POST' }), 'NO_PAGE')
  assert.equal(verdict({ ...visitPort, visitPort: undefined }, 'h:8081', '/user/bob/lab', onIt), 'MISDIRECTED')
  assert.equal(
    placeOf(visitPort, { host: 'h:8081', isOnVisitPort: false } as Asked).kind,
    'shared',
    'a header is no port',
  )
})

const session: Session = { id: 'ab'.repeat(32), user: ann, way: 'first-use', started: 1 }
const key = Buffer.alloc(32, 7)

test('a code is good once, for a minute, for one server and in one browser', () => {
  let now = 0
  const visits = createPasses(key, () => now)
  const nonce = newNonce()
  const crossing = {
    session,
    owner: ann,
    place: 'server',
    nonceDigest: digestOf(nonce),
    next: '/user/ann/lab',
  } as const
  const to = { owner: ann, place: 'server' } as const
  const issue = () => visits.issueCode(crossing)

  const code = issue()
  const holds = (digest: string) => digest === digestOf(nonce)
  const holdsAnother = (digest: string) => digest === digestOf(newNonce())
  assert.equal(visits.redeem(code, to, holds)?.next, '/user/ann/lab')
  assert.equal(visits.redeem(code, to, holds), undefined, 'twice')
  assert.equal(visits.redeem(issue(), to, holdsAnother), undefined, 'another browser')
  assert.equal(visits.redeem(issue(), { ...to, owner: bob }, holds), undefined, 'another server')
  assert.equal(visits.redeem(issue(), { ...to, place: 'visits' }, holds), undefined, 'another origin')
  const old = issue()
  now = 60_000
  assert.equal(visits.redeem(old, to, holds), undefined, 'too late')
})

test('a pass is good for one owner and one kind of origin, and cannot be made up', () => {
  const visits = createPasses(key)
  const pass = visits.passFor(session, ann, 'server')
  assert.deepEqual(visits.sessionIn(pass, ann, 'server'), session)
  assert.equal(visits.sessionIn(pass, bob, 'server'), undefined)
  assert.equal(visits.sessionIn(pass, ann, 'visits'), undefined)
  assert.equal(createPasses(Buffer.alloc(32, 8)).sessionIn(pass, ann, 'server'), undefined)
  for (const bad of ['', '.', 'x', `${pass}x`, pass.slice(1), pass.replace('.', '..'), pass.split('.')[0] ?? '']) {
    assert.equal(visits.sessionIn(bad, ann, 'server'), undefined, bad)
  }
})

test('a visit lasts an hour, and on a shared port ends the one before', () => {
  let now = 0
  const visits = createPasses(key, () => now)
  visits.grant(session, bob, false)
  visits.grant(session, ann, false)
  assert.ok(visits.isGranted(session, bob))
  assert.ok(!visits.isGranted({ ...session, id: 'other' }, bob))
  now = 3_600_000
  assert.ok(!visits.isGranted(session, bob))
  visits.grant(session, bob, true)
  visits.grant(session, ann, true)
  assert.ok(!visits.isGranted(session, bob))
  visits.end(session, ann)
  assert.ok(!visits.isGranted(session, ann))
})

test('a cookie of ours is kept to its host where TLS lets it be, and none reaches a server', () => {
  const flags = { httpOnly: true, sameSite: 'lax' }
  const plain = { name: 'tljh-session', options: { ...flags, path: '/class/', secure: false } }
  assert.deepEqual(ownCookie('tljh-session', { path: '/class/', isSecure: false }), plain)
  const safe = { name: '__Host-tljh-session', options: { ...flags, path: '/', secure: true } }
  assert.deepEqual(ownCookie('tljh-session', { path: '/class/', isSecure: true }), safe)

  const cookie = 'tljh-session=a; __Host-tljh-session=b; tljh-visit-bob=c; _xsrf=d; tljh-enter=e; username-8080=f'
  const forwarded = { user: ann, address: '', protocol: 'http' } as const
  assert.equal(requestHeaders(['Cookie', cookie], forwarded)[1], '_xsrf=d; username-8080=f')
})
