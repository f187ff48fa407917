import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compareVersions, isVersion, mustBeNear, resolveVersion } from '../../../installer/upgrade/versions.ts'

const released = ['0.9.0', '0.10.0', '1.0.0-rc.1', '1.0.0', '1.0.9', '1.0.10', '1.2.0', '2.0.0', '2.1.0-beta']

test('a version is three numbers, and maybe a tag', () => {
  for (const text of ['0.1.0', '10.20.30', '1.0.0-rc.1', '1.0.0-x-y']) assert.ok(isVersion(text), text)
  for (const text of ['', '1', '1.2', 'v1.2.3', '01.2.3', '1.2.3-', '1.2.3 ', '1.2.3\n', '../1.2.3', '1.2.3+x']) {
    assert.ok(!isVersion(text), JSON.stringify(text))
  }
})

test('versions are sorted by their numbers, and a trial comes before what it is a trial of', () => {
  const sorted = ['0.9.0', '0.10.0', '1.0.0-1', '1.0.0-2', '1.0.0-10', '1.0.0-rc', '1.0.0-rc.1', '1.0.0', '1.0.1']
  assert.deepEqual([...sorted].reverse().sort(compareVersions), sorted)
})

test('a part of a version means the newest of those, and nothing the newest of all', () => {
  assert.equal(resolveVersion('1.0.9', released), '1.0.9')
  assert.equal(resolveVersion('v1.0.9', released), '1.0.9')
  assert.equal(resolveVersion('1.0', released), '1.0.10')
  assert.equal(resolveVersion('1', released), '1.2.0')
  assert.equal(resolveVersion('0', released), '0.10.0')
  assert.equal(resolveVersion(undefined, released), '2.0.0')
  assert.equal(resolveVersion('latest', released), '2.0.0')
})

test('a trial is meant only by who writes it out', () => {
  assert.equal(resolveVersion('2.1.0-beta', released), '2.1.0-beta')
  assert.throws(() => resolveVersion('2.1', released), { code: 'RELEASE_UNKNOWN', why: /1\.2\.0, 2\.0\.0$/ })
  assert.throws(() => resolveVersion(undefined, ['0.1.0-rc.1']), { code: 'RELEASE_UNKNOWN' })
})

test('what was not released is refused with what was', () => {
  assert.throws(() => resolveVersion('3', released), { what: 'There is no version 3', why: /0\.9\.0, .*2\.0\.0/ })
  assert.throws(() => resolveVersion('1.0.11', released), { code: 'RELEASE_UNKNOWN' })
  assert.throws(() => resolveVersion('1.x', released), { code: 'RELEASE_UNKNOWN' })
})

test('an upgrade begins at the same minor version or the one before, as the list has them', () => {
  const near = [
    ['1.0.0', '1.0.10'],
    ['1.0.9', '1.2.0'],
    ['0.10.0', '1.0.10'],
    ['1.2.0', '2.0.0'],
    ['1.0.0-rc.1', '1.0.0'],
    ['2.0.0', '2.1.0-beta'],
  ] as const
  for (const [from, to] of near) mustBeNear(from, to, released)
})

test('from further back it is told where to go first', () => {
  assert.throws(() => mustBeNear('0.9.0', '1.0.10', released), { code: 'UPGRADE_TOO_FAR', fix: /upgrade 0\.10\.0,/ })
  assert.throws(() => mustBeNear('1.0.0', '2.0.0', released), { fix: /upgrade 1\.2\.0,.*upgrade 2\.0\.0$/ })
  assert.throws(() => mustBeNear('0.9.0', '2.0.0', released), { fix: /upgrade 0\.10\.0,/ })
})
