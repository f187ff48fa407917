import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { UserName } from '../../../../config/users/names.ts'
import { requestHeaders, responseHeaders, trailers } from '../../../../hub/proxy/headers.ts'
import { cookieValues, withoutOwnCookies } from '../../../../hub/web/cookies.ts'

const forwarded = {
  user: 'ann@uni.example' as UserName,
  address: '192.0.2.7',
  protocol: 'https',
} as const

const ours = ['X-Forwarded-For', '192.0.2.7', 'X-Forwarded-Proto', 'https', 'X-Tljh-User', 'ann%40uni.example']

test('a server never hears from a browser what only the hub may say', () => {
  const claims = [
    ...['X-Tljh-User', 'root', 'x-tljh-user', 'root', 'X-TLJH-Token', '1', 'X-Forwarded-For', '6.6.6.6'],
    ...['x-forwarded-proto', 'http', 'X-Forwarded-Host', 'evil', 'Forwarded', 'for=6.6.6.6', 'X-Real-IP', '6.6.6.6'],
    ...['X-Scheme', 'http', 'Proxy-Authorization', 'x', 'TE', 'trailers', 'Keep-Alive', '1'],
    ...['Connection', 'close, X-Private', 'X-Private', 'of this connection', 'Connection', 'x-tljh-user'],
  ]
  assert.deepEqual(requestHeaders(['Host', 'hub', ...claims, 'Accept', '*/*'], forwarded), [
    ...['Host', 'hub', 'Accept', '*/*'],
    ...ours,
  ])
})

test('a server never sees the hub’s session, and keeps its own cookies', () => {
  const cookie = '_xsrf=2|a|b; tljh-session=secret; username-x="1"; tljh-session=again'
  assert.deepEqual(requestHeaders(['Cookie', cookie], forwarded).slice(0, 2), ['Cookie', '_xsrf=2|a|b; username-x="1"'])
  assert.deepEqual(requestHeaders(['cookie', 'tljh-session=secret'], forwarded), ours)
})

test('an upgrade stays one, and how a body is cut is for the next connection to say', () => {
  const upgrade = ['Connection', 'keep-alive, Upgrade', 'Upgrade', 'websocket', 'Sec-WebSocket-Key', 'k']
  assert.deepEqual(requestHeaders(upgrade, forwarded, true).slice(0, 6), [
    ...['Connection', 'Upgrade', 'Upgrade', 'websocket', 'Sec-WebSocket-Key', 'k'],
  ])
  assert.deepEqual(requestHeaders(upgrade, forwarded).slice(0, 2), ['Sec-WebSocket-Key', 'k'])
  assert.deepEqual(requestHeaders(['Transfer-Encoding', 'chunked'], forwarded), ours)
})

test('a server sets nothing that reaches beyond its own address', () => {
  const answer = [
    ...[
      'Content-Type',
      'text/html',
      'Clear-Site-Data',
      '"*"',
      'Service-Worker-Allowed',
      '/',
      'Alt-Svc',
      'h2="evil:443"',
    ],
    ...['Strict-Transport-Security', 'max-age=1', 'NEL', '{}', 'Report-To', '{}', 'Connection', 'x-a', 'X-A', '1'],
    ...['Content-Security-Policy', 'sandbox'],
  ]
  assert.deepEqual(responseHeaders(answer, '/user/ann/'), [
    ...['Content-Type', 'text/html', 'Content-Security-Policy', 'sandbox'],
  ])
})

test('a server gives no orders to a web server in front of the hub, in whatever part of an answer', () => {
  const orders = [
    ...['X-Accel-Redirect', 'x-accel-expires', 'X-Accel-Limit-Rate', 'X-Accel-Buffering', 'X-Accel-Charset'],
    ...['X-Sendfile', 'X-SENDFILE-TEMPORARY', 'X-Sendfile2', 'X-LIGHTTPD-send-file', 'X-LIGHTTPD-send-tempfile'],
    ...['X-LiteSpeed-Location', 'X-LiteSpeed-Cache-Control', 'X-Reproxy-URL', 'X-REPROXY-FILE', 'X_Accel_Redirect'],
    ...['Surrogate-Control', 'Surrogate-Key', 'CDN-Cache-Control'],
  ].flatMap(name => [name, '/protected/x'])
  const others = ['X-Accelerator', 'fast', 'X-Send', 'it', 'Cache-Control', 'no-store']

  assert.deepEqual(responseHeaders([...orders, ...others], '/user/ann/'), others)
  const upgrade = ['Upgrade', 'websocket', ...orders]
  assert.deepEqual(responseHeaders(upgrade, '/user/ann/', true), ['Connection', 'Upgrade', 'Upgrade', 'websocket'])
  assert.deepEqual(trailers([...orders, 'Digest', '1']), [['Digest', '1']])
})

test('a cookie of a server is for that server alone', () => {
  const confined = (cookie: string) => responseHeaders(['Set-Cookie', cookie], '/user/ann/')[1]
  assert.equal(confined('a=1; Path=/user/ann/x; HttpOnly'), 'a=1; HttpOnly; Path=/user/ann/x')
  assert.equal(
    confined('tljh-session=x; Path=/; Domain=hub.example; Secure'),
    'tljh-session=x; Secure; Path=/user/ann/',
  )
  assert.equal(confined('a=1'), 'a=1; Path=/user/ann/')
  assert.equal(confined('a=1;path=/user/ann/;PATH=/'), 'a=1; Path=/user/ann/')
  assert.equal(confined('a=1; path=/user/annabel/'), 'a=1; Path=/user/ann/')
})

test('of several cookies with one name, all are seen', () => {
  assert.deepEqual(cookieValues('a=1; b=2;a=3; a =4; aa=5; a', 'a'), ['1', '3', '4'])
  assert.deepEqual(cookieValues(undefined, 'a'), [])
  assert.equal(withoutOwnCookies('b=2; tljh-a=3;__Host-tljh-b=4'), 'b=2')
})
