import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkMeaning } from '../../../config/meaning/checks.ts'
import { readConfigText } from '../../../config/text/read.ts'
import { mustBeUsable } from '../../../config/users/password-rules.ts'

function verdict(password: string, name = 'ann.lee', title = 'Statistics 1', leastLength = 7): string {
  try {
    mustBeUsable(password, { leastLength, names: [name, title] })
    return 'taken'
  } catch (error) {
    return Reflect.get(Object(error), 'code')
  }
}

for (const password of [
  ...['ann.lee', 'Ann.Lee1', 'annlee2026', 'lee-ann', '1ann1ann1', 'eel.nna', '2026eelnna!', 'annannann'],
  ...['Statistics 1', 'statistics2026', '1scitsitats', 'ann_statistics'],
]) {
  test(`“${password}” is no password of ann.lee’s, on a hub called Statistics 1`, () => {
    assert.equal(verdict(password), 'PASSWORD_NAME')
  })
}

test('a name within other words is no reason to refuse a password', () => {
  for (const password of ['banana pylon', 'statistically safe', 'an annual fee', '2026-09-15 8:00']) {
    assert.equal(verdict(password), 'taken', password)
  }
})

test('passwords that very many people have are refused, and one key held down', () => {
  for (const password of ['password1', 'PASSWORD1', '123456789', 'qwertyuiop', 'xxxxxxxxxxxx', 'abababababab']) {
    assert.equal(verdict(password), 'PASSWORD_COMMON', password)
  }
})

test('a name of one letter, of digits or of other alphabets is looked at like any other', () => {
  assert.equal(verdict('aaaaaaa', 'a', ''), 'PASSWORD_NAME')
  assert.equal(verdict('20261234', '2026', ''), 'PASSWORD_NAME')
  assert.equal(verdict('Статистика1', 'ann', 'Статистика'), 'PASSWORD_NAME')
  assert.equal(verdict('correct horse', '-', ''), 'taken')
})

test('a password of a million characters is refused without a look at it', () => {
  assert.equal(verdict('ann'.repeat(400_000)), 'PASSWORD_LONG')
})

test('a shared password that anybody would try is warned of, and stays in force', () => {
  const findings = (yaml: string) =>
    checkMeaning(readConfigText(yaml)).map(({ severity, what }) => `${severity}: ${what}`)
  assert.deepEqual(findings('auth: {type: dummy, DummyAuthenticator: {password: password1}}'), [
    'warning: auth.DummyAuthenticator.password is easy to guess',
  ])
  assert.deepEqual(
    findings(
      'branding: {title: Statistics}\nauth: {type: shared-password, SharedPasswordAuthenticator: {user_password: statistics26}}',
    ),
    ['warning: auth.SharedPasswordAuthenticator.user_password is easy to guess'],
  )
  assert.deepEqual(findings('auth: {type: dummy, DummyAuthenticator: {password: workshop-on-tuesday}}'), [])
})
