/** Names of units are made as systemd makes them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { escapeUnitName, unitName, unitOfPath, unitPath } from '../../../systemd/names.ts'

test('text is escaped byte by byte', () => {
  const examples = {
    ann: 'ann',
    'a.b_c:D9': 'a.b_c:D9',
    'a-b': 'a\\x2db',
    'a/b': 'a-b',
    '.hidden': '\\x2ehidden',
    'a b@c\\': 'a\\x20b\\x40c\\x5c',
    ü: '\\xc3\\xbc',
    '': '',
  }
  for (const [text, escaped] of Object.entries(examples)) assert.equal(escapeUnitName(text), escaped)
})

test('different texts never escape to the same name, and every escaped text is a name', () => {
  const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 10 }).filter(value => value.isWellFormed())
  fc.assert(
    fc.property(text, text, (one, other) => {
      assert.equal(escapeUnitName(one) === escapeUnitName(other), one === other)
      assert.ok(unitName(`tljh-user-${escapeUnitName(one)}.service`))
    }),
  )
})

test('what is no name of a unit is refused', () => {
  const good = ['a.service', 'tljh-user-a\\x20b.service', '-.slice', 'getty@tty1.service', `${'a'.repeat(247)}.service`]
  for (const name of good) assert.equal(unitName(name), name)
  const bad = ['', 'a', '.service', 'a.txt', 'a b.service', 'a/b.service', '@.service', 'a.service\n', 'ü.service']
  for (const name of [...bad, `${'a'.repeat(248)}.service`])
    assert.throws(() => unitName(name), { code: 'SYSTEMD_UNIT_NAME' }, name)
})

test('the path of a unit leads back to the unit', () => {
  const name = fc.stringMatching(/^[A-Za-z0-9:_.\\-]{1,60}$/).map(text => unitName(`${text}.service`))
  fc.assert(
    fc.property(name, unit => {
      assert.match(unitPath(unit), /^\/org\/freedesktop\/systemd1\/unit\/[A-Za-z0-9_]+$/)
      assert.equal(unitOfPath(unitPath(unit)), unit)
    }),
  )
  assert.equal(unitPath(unitName('dbus-x.service')), '/org/freedesktop/systemd1/unit/dbus_2dx_2eservice')
  assert.equal(unitPath(unitName('0a.service')), '/org/freedesktop/systemd1/unit/_30a_2eservice')
  assert.equal(unitOfPath('/org/freedesktop/systemd1/job/7'), undefined)
})
