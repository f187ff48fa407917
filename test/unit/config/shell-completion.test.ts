import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { completionScript } from '../../../config/command/shell-completion.ts'

/** What bash offers at the end of a line. */
function offered(line: string): string[] {
  const words = line.split(' ')
  const program = `${completionScript(['get', 'set', 'edit', 'log'])}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_tljh_ts_config
printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-euc', program, 'bash', ...words], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean)
}

test('verbs are completed, and keys after the verbs that take one', () => {
  assert.deepEqual(offered('tljh-ts c'), ['config'])
  assert.deepEqual(offered('tljh-ts config e'), ['edit'])
  assert.deepEqual(offered('tljh-config ed'), ['edit'])
  assert.deepEqual(offered('tljh-ts config set limits.m'), ['limits.memory'])
  assert.deepEqual(offered('tljh-config get users.a'), ['users.allowed', 'users.admin'])
  assert.deepEqual(offered('tljh-ts config log li'), [])
})
