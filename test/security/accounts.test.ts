/** Attacks on other people's accounts by way of what the hub offers everybody: the sign-up and the second factor. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TOTP } from 'otpauth'
import { visit } from '../harness/people/visitor.ts'
import { openClassroom, studentPassword } from '../harness/product/classroom.ts'
import { bootProduct } from '../harness/product/product.ts'

const config = `users: {allowed: [ann]}
auth:
  type: [firstuse, native]
  FirstUseAuthenticator: {create_users: true}
`

test('an approval gives nobody the account of somebody who came another way meanwhile', async t => {
  const product = await bootProduct({ config })
  t.after(() => product[Symbol.asyncDispose]())
  const thief = visit(product.url)
  await thief.request('/hub/signup')
  const password = 'password of a thief'
  assert.equal(
    (await thief.post('/hub/signup', { username: 'zoe', email: '', password, repeated: password })).status,
    200,
  )
  assert.equal((await visit(product.url).logIn('zoe', 'password of zoe')).status, 302)
  const admin = visit(product.url)
  await admin.logIn(product.admin, product.adminPassword)
  await admin.post('/hub/confirm', { password: product.adminPassword })
  assert.equal((await admin.post('/hub/admin/users', { action: 'approve', user: 'zoe' })).status, 409)
  assert.equal((await visit(product.url).logIn('zoe', password)).status, 403)
  assert.equal((await visit(product.url).logIn('zoe', 'password of zoe')).status, 302)
})

test('whoever has a session and the password cannot guess the code that switches the second factor off', async t => {
  const classroom = await openClassroom(t)
  const ann = visit(classroom.url)
  await ann.logIn('ann', studentPassword)
  const page = await ann.post('/hub/account/second-factor/new', { password: studentPassword })
  const secret = /name="secret" value="([A-Z2-7]{32})"/.exec(page.body)?.[1] ?? ''
  const on = await ann.post('/hub/account/second-factor', { secret, code: new TOTP({ secret }).generate() })
  assert.equal(on.status, 200)
  const statuses: number[] = []
  for (let guess = 0; guess < 8; guess++) {
    const code = String(100_000 + guess)
    statuses.push((await ann.post('/hub/account/second-factor/off', { password: studentPassword, code })).status)
  }
  assert.deepEqual(statuses, [403, 403, 403, 403, 403, 429, 429, 429])
})
