import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import fc from 'fast-check'
import { isNavigation, isSameOrigin, ownPath } from '../../../../hub/web/request.ts'

const asked = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage

test('what came as `next` leads to a page of ours or nowhere', () => {
  for (const next of [
    '/hub/home',
    '/user/ann/lab?x=//y#z',
    '/hub/spawn?next=%2Fuser',
    `/user/ann/x?a='b'&c="<d>"&&e=%27`,
  ])
    assert.equal(ownPath(next, '/'), next)
  for (const next of [
    ...['https://evil', '//evil', '///evil', '\\\\evil', '/\\evil', '/\t/evil', '/\n/evil', 'javascript:alert(1)', ''],
    ...['HOST:80@evil', '/.//evil', '/..//evil', '/%2e//evil', 'hub/home', ' //evil', '\0//evil', '/x/../..//evil'],
  ]) {
    assert.equal(ownPath(next, '/'), '', JSON.stringify(next))
  }
  assert.equal(ownPath('/hub/home', '/class/'), '')
  assert.equal(ownPath('/class/../hub/home', '/class/'), '')
  assert.equal(ownPath('/class/hub/home', '/class/'), '/class/hub/home')
})

test('whatever `next` is, a browser that follows it stays on this host', () => {
  const pieces = fc.constantFrom(
    '/',
    '\\',
    '.',
    '..',
    'evil',
    '@',
    ':',
    '%2f',
    '%5c',
    '\t',
    '\r',
    '?',
    '#',
    'http:',
    ' ',
  )
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 8 }), parts => {
      const path = ownPath(parts.join(''), '/')
      assert.equal(new URL(path || '/', 'https://hub.example').host, 'hub.example')
    }),
  )
})

test('a page of another origin is told from ours', () => {
  const host = 'hub.example:8000'
  assert.equal(isSameOrigin(asked({ host, origin: 'http://hub.example:8000' })), true)
  assert.equal(isSameOrigin(asked({ host: 'HUB.example', origin: 'https://hub.example' })), true)
  assert.equal(isSameOrigin(asked({ host })), true, 'programs send no Origin')
  assert.equal(
    isSameOrigin(asked({ host, origin: 'http://hub.example:9000' })),
    false,
    'another port is another origin',
  )
  assert.equal(isSameOrigin(asked({ host, origin: 'null' })), false)
  assert.equal(isSameOrigin(asked({ host, origin: 'http://evil.example' })), false)
  assert.equal(isSameOrigin(asked({ host, 'sec-fetch-site': 'cross-site' })), false)
  assert.equal(
    isSameOrigin(asked({ host, 'sec-fetch-site': 'same-site' })),
    false,
    'another port or another user’s host',
  )
  assert.equal(isSameOrigin(asked({ host, 'sec-fetch-site': 'none' })), true)
})

test('people get pages, programs get JSON', () => {
  assert.equal(isNavigation(asked({ 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' })), true)
  assert.equal(
    isNavigation(asked({ 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe', accept: 'text/html' })),
    false,
  )
  assert.equal(isNavigation(asked({ 'sec-fetch-mode': 'cors', accept: 'text/html' })), false)
  assert.equal(isNavigation(asked({ accept: 'text/html,*/*;q=0.8' })), true)
  assert.equal(isNavigation(asked({ accept: '*/*' })), false)
  assert.equal(isNavigation(asked({})), false)
})
