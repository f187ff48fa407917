/** A file takes another's place, whoever writes and whatever stands beside. Full disks are in full-disk.test.ts. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openStore } from '../../../hub/tls/store.ts'
import { replaceBy, replaceFile } from '../../../machine/replace-file.ts'

const nobody = 65534

function aFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-replace-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

/** As a program does that may give no file away. */
function asNobody(work: () => void): void {
  const groups = process.getgroups?.() ?? []
  process.setgroups?.([])
  process.setegid?.(nobody)
  process.seteuid?.(nobody)
  try {
    work()
  } finally {
    process.seteuid?.(0)
    process.setegid?.(0)
    process.setgroups?.(groups)
  }
}

test('the hub replaces a file that an administrator has copied into its folder, and has it back', t => {
  const folder = aFolder(t)
  chownSync(folder, nobody, nobody)
  const file = join(folder, 'attempts.json')
  const lines: string[] = []
  for (const [uid, gid] of [
    [0, 0],
    [nobody, 0],
    [0, nobody],
  ] as const) {
    writeFileSync(file, 'null', { mode: 0o600 })
    chownSync(file, uid, gid)
    asNobody(() => {
      const store = openStore(folder, line => void lines.push(line))
      assert.ok(store.keepAttempts(undefined), lines.join('\n'))
    })
    const { uid: owner, gid: group, mode } = statSync(file)
    assert.deepEqual([owner, group, mode & 0o777], [nobody, nobody, 0o600])
  }
})

test('of a file that somebody else replaces, the mode stays; of one that root replaces, owner and group, too', t => {
  const folder = aFolder(t)
  chownSync(folder, nobody, nobody)
  const file = join(folder, 'file')
  writeFileSync(file, 'before')
  chmodSync(file, 0o604)
  const of = () => [statSync(file).uid, statSync(file).gid, statSync(file).mode & 0o777]

  asNobody(() => replaceFile(file, 'after'))
  assert.deepEqual(of(), [nobody, nobody, 0o604])

  replaceFile(file, 'later')
  assert.deepEqual(of(), [nobody, nobody, 0o604])
  replaceFile(join(folder, 'new'), 'new')
  assert.deepEqual([statSync(join(folder, 'new')).uid, statSync(join(folder, 'new')).gid], [0, nobody])
})

test('a folder with the name beside is in nobody’s way', t => {
  const folder = aFolder(t)
  mkdirSync(join(folder, 'file.new/deep'), { recursive: true })
  replaceFile(join(folder, 'file'), 'after')
  assert.deepEqual(readdirSync(folder), ['file'])
  assert.equal(readFileSync(join(folder, 'file'), 'utf8'), 'after')
})

test('what went wrong is said, also where what was made so far cannot be removed', t => {
  const folder = aFolder(t)
  chownSync(folder, nobody, nobody)
  const breakOff = (beside: string) => {
    mkdirSync(join(beside, 'deep'), { recursive: true })
    chmodSync(folder, 0o500)
    throw new Error('the first')
  }
  asNobody(() => {
    assert.throws(() => replaceBy(join(folder, 'file'), '.new', breakOff), { message: 'the first' })
  })
})
