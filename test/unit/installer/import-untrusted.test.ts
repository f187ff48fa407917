import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { packagesBelow, readBelow } from '../../../installer/import-tljh/untrusted.ts'

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-untrusted-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

test('the packages of an environment are read from its metadata', t => {
  const folder = folderOf(t)
  const place = join(folder, 'user/lib/python3.11/site-packages')
  for (const name of [
    ...['typing_extensions-4.12.2.dist-info', 'zope.interface-6.0.dist-info', 'torch-2.1.0+cpu.dist-info'],
    ...['six-1.16.0-py3.11.egg-info', 'numpy-1.26.4.dist-info', 'numpy'],
    ...['-r x-1.dist-info', 'a b-1.dist-info', 'x-1\n--index-url.dist-info', 'nothing.dist-info'],
  ]) {
    mkdirSync(join(place, name), { recursive: true })
  }
  assert.equal(
    packagesBelow(folder, 'user'),
    'numpy==1.26.4\nsix==1.16.0\ntorch==2.1.0+cpu\ntyping-extensions==4.12.2\nzope.interface==6.0\n',
  )
  assert.equal(packagesBelow(folder, 'nowhere'), '')
})

test('a file is read whole, or not at all', t => {
  const folder = folderOf(t)
  mkdirSync(join(folder, 'state'))
  writeFileSync(join(folder, 'state/a'), 'x'.repeat(1000))
  assert.equal(readBelow(folder, 'state/a', 1000)?.length, 1000)
  assert.throws(() => readBelow(folder, 'state/a', 999), { code: 'IMPORT_UNREADABLE' })
  assert.equal(readBelow(folder, 'state/b', 1000), undefined)
  assert.equal(readBelow(folder, 'nowhere/b', 1000), undefined)
  symlinkSync('a', join(folder, 'state/link'))
  assert.throws(() => readBelow(folder, 'state/link', 1000), { code: 'IMPORT_UNREADABLE' })
  symlinkSync('state', join(folder, 'other'))
  assert.throws(() => readBelow(folder, 'other/a', 1000), { code: 'IMPORT_UNREADABLE' })
})
