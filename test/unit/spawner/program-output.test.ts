/** What programs print, where it is not what is expected. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { countIn } from '../../../machine/run-program.ts'

test('a number that a program prints is that number, and anything else is none', () => {
  assert.equal(countIn('4096\t/home/ann\n'), 4096)
  assert.equal(countIn(' 12 '), 12)
  assert.equal(countIn('0'), 0)
  for (const text of [undefined, '', '\n', '\t/home', 'NaN', '-1', '1.5', '0x10', '12MB', '9'.repeat(17), 'du: 7']) {
    assert.equal(countIn(text), undefined, JSON.stringify(text))
  }
})

test('how much does not fit is said on a line of its own, also where tar was killed in the middle of one', t => {
  const folder = mkdtempSync(join(tmpdir(), 'tljh-tar-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'tar'), `#!/bin/sh\nprintf 'tar: ' >&2\nexec cat /dev/urandom 2>/dev/null\n`, {
    mode: 0o755,
  })
  const program = fileURLToPath(new URL('../../../spawner/accounts/home-task-main.ts', import.meta.url))
  const archive = [process.execPath, program, 'archive', relative('/home', folder), '1000']

  // A place without other processes of the user's, who is root here.
  const { status, stderr } = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', ...archive], {
    env: { PATH: `${folder}:${process.env.PATH}` },
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  })

  assert.equal(status, 12, stderr)
  assert.match(stderr, /^tar: $/m)
  assert.match(stderr, /^bytes [1-9]\d*$/m)
})
