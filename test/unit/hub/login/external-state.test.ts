/** What the hub keeps of logins at other sites: of those that are under way, and of who is who. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseUserName } from '../../../../config/users/names.ts'
import { createExternalIdentities } from '../../../../hub/credentials/external-identities.ts'
import { createExternalLoginStates } from '../../../../hub/login/external-state.ts'
import { openState } from '../../../../hub/state/database.ts'

const departure = {
  way: 'oidc',
  kept: '{"verifier":"secret"}',
  callback: 'https://hub.example.org/hub/oauth_callback',
  next: '/hub/home',
} as const
const header = (...cookies: { name: string; value: string }[]) =>
  cookies.map(({ name, value }) => `${name}=${value}`).join('; ')

test('what was kept is there once, for ten minutes, and survives a restart of the hub', () => {
  const db = openState(':memory:')
  let time = 0
  const departures = createExternalLoginStates(db, '/', () => time)
  const cookie = departures.add('one', departure, false)
  const late = departures.add('two', departure, false)
  assert.equal(departures.take('two', header(cookie), false), undefined)
  assert.deepEqual(createExternalLoginStates(db, '/', () => time).take('one', header(late, cookie), false), departure)
  assert.deepEqual(departures.take('one', header(cookie), false), departure)
  assert.equal(departures.take('one', header(cookie), false), undefined)
  time = 600_000
  assert.equal(departures.take('two', header(late), false), undefined)
  db.close()
})

test('a cookie of another hub, of another name, or that was changed is nothing; one that is right beside it counts', () => {
  const db = openState(':memory:')
  const other = openState(':memory:')
  const departures = createExternalLoginStates(db, '/')
  const cookie = departures.add('one', departure, false)
  const foreign = createExternalLoginStates(other, '/').add('one', departure, false)
  assert.equal(foreign.name, cookie.name)
  for (const value of [
    '',
    'x',
    'A'.repeat(4000),
    foreign.value,
    departures.add('two', departure, false).value,
    `${cookie.value}AAAA`,
  ]) {
    assert.equal(departures.take('one', header({ name: cookie.name, value }), false), undefined, value)
  }
  assert.equal(departures.take('one', undefined, false), undefined)
  assert.deepEqual(departures.take('one', header(foreign, cookie), false), departure)
  db.close()
  other.close()
})

test('over TLS, the cookie is one that no other host can set', () => {
  const db = openState(':memory:')
  const departures = createExternalLoginStates(db, '/class/')
  const plain = departures.add('one', departure, false)
  const safe = departures.add('one', departure, true)
  assert.deepEqual(plain.options, { path: '/class/hub/', httpOnly: true, sameSite: 'lax', secure: false })
  assert.deepEqual(safe.options, { path: '/', httpOnly: true, sameSite: 'lax', secure: true })
  assert.equal(safe.name, `__Host-${plain.name}`)
  assert.equal(departures.take('one', header(plain, { ...safe, name: plain.name }), true), undefined)
  assert.equal(departures.take('one', header({ ...plain, name: safe.name }), true), undefined)
  assert.deepEqual(departures.take('one', header(safe), true), departure)
  db.close()
})

test('a cookie is never longer than a browser keeps', () => {
  const db = openState(':memory:')
  const { value } = createExternalLoginStates(db, '/').add(
    's'.repeat(43),
    {
      ...departure,
      kept: 'k'.repeat(180),
      next: `/${'n'.repeat(4000)}`,
    },
    false,
  )
  assert.ok(value.length < 3500)
  const longest = createExternalLoginStates(db, '/').add(
    's'.repeat(43),
    {
      ...departure,
      kept: 'k'.repeat(180),
      next: `/${'n'.repeat(1999)}`,
    },
    false,
  )
  assert.ok(longest.value.length < 4000, String(longest.value.length))
  db.close()
})

test('an account belongs to one user for ever, and a user has one account, until it is unlinked', () => {
  const db = openState(':memory:')
  const identities = createExternalIdentities(db)
  const [ann, bob] = [parseUserName('ann'), parseUserName('bob')]
  const account = { provider: 'https://login.example.org', subject: '7' }
  assert.equal(identities.bind(ann, account), true)
  assert.equal(identities.bind(ann, account), true)
  assert.equal(identities.bind(bob, account), false)
  assert.equal(identities.bind(ann, { ...account, subject: '8' }), false)
  assert.equal(identities.bind(bob, { ...account, provider: 'https://other.example.org' }), true)
  assert.equal(identities.userOf(account), ann)
  assert.deepEqual(identities.accountOf(ann), account)
  assert.equal(identities.unlink(ann), true)
  assert.equal(identities.unlink(ann), false)
  assert.equal(identities.userOf(account), undefined)
  assert.equal(identities.bind(ann, { ...account, subject: '8' }), true)
  db.close()
})
