import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Secret } from 'otpauth'
import { parseUserName } from '../../../../config/users/names.ts'
import { createSecondFactors } from '../../../../hub/credentials/second-factor.ts'
import { createPendingLogins } from '../../../../hub/login/pending-logins.ts'
import { openState } from '../../../../hub/state/database.ts'

const ann = parseUserName('ann')
/** The shared secret of RFC 6238, appendix B. */
const rfcSecret = Secret.fromUTF8('12345678901234567890').base32

function factorsAt(t: TestContext, seconds: number) {
  const db = openState(':memory:')
  t.after(() => db.close())
  const clock = { seconds }
  return {
    clock,
    factors: createSecondFactors(
      db,
      () => 'Our class',
      () => clock.seconds * 1000,
    ),
  }
}

test('the vectors of RFC 6238 are right, each at its time', t => {
  // The RFC has eight digits; with six, they are the last six.
  const vectors = [
    [59, '94287082'],
    [1111111109, '07081804'],
    [1111111111, '14050471'],
    [1234567890, '89005924'],
    [2000000000, '69279037'],
    [20000000000, '65353130'],
  ] as const
  for (const [seconds, digits] of vectors) {
    const { factors } = factorsAt(t, seconds)
    assert.ok(factors.switchOn(ann, rfcSecret, digits.slice(2)), `${seconds}`)
  }
})

test('a code counts once, in its half minute and the ones beside it', t => {
  const { factors, clock } = factorsAt(t, 1111111109)
  assert.equal(factors.switchOn(ann, rfcSecret, '000000'), undefined)
  assert.equal(factors.isOn(ann), false)
  assert.ok(factors.switchOn(ann, rfcSecret, '081804'))
  assert.equal(factors.take(ann, '081804'), false, 'it was used to switch it on')
  clock.seconds = 1111111111
  assert.equal(factors.take(ann, ' 050 471 '), true)
  assert.equal(factors.take(ann, '050471'), false)
  assert.equal(factors.take(ann, '081804'), false, 'an earlier one than the last')
  clock.seconds += 120
  assert.equal(factors.take(ann, '050471'), false)
})

test('each recovery code counts once', t => {
  const { factors } = factorsAt(t, 59)
  const codes = factors.switchOn(ann, rfcSecret, '287082') ?? []
  assert.equal(new Set(codes).size, 10)
  const [first = '', second = ''] = codes
  assert.equal(factors.take(ann, first.toUpperCase()), true)
  assert.equal(factors.take(ann, first), false)
  assert.equal(factors.take(ann, second.replace('-', ' ')), true)
  assert.equal(factors.take(parseUserName('bob'), codes[2] ?? ''), false)
})

test('what stands in a QR code is an address that apps read', t => {
  const { factors } = factorsAt(t, 0)
  const { secret, address } = factors.propose(ann)
  const url = new URL(address)
  assert.equal(url.protocol, 'otpauth:')
  assert.equal(url.searchParams.get('secret'), secret)
  assert.equal(url.searchParams.get('issuer'), 'Our class')
  assert.equal(factors.propose(ann, secret).secret, secret)
  assert.equal(factors.isOn(ann), false, 'it counts for nothing yet')
})

test('who is between password and code has five attempts and five minutes', () => {
  let now = 0
  const arrivals = createPendingLogins(() => now)
  const arrival = { user: ann, way: 'first-use', next: '' } as const
  const cookie = `tljh-login=${arrivals.add(arrival)}`
  assert.equal(arrivals.find(cookie)?.user, 'ann')
  assert.equal(arrivals.find('tljh-login=made-up'), undefined)
  for (let attempt = 0; attempt < 4; attempt++) arrivals.failed(cookie)
  assert.ok(arrivals.find(cookie))
  arrivals.failed(cookie)
  assert.equal(arrivals.find(cookie), undefined)
  const late = `tljh-login=${arrivals.add(arrival)}`
  now += 301_000
  assert.equal(arrivals.find(late), undefined)
})
