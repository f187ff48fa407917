/** A command of the product in a host, refused one write after the other: test/harness/product/refused-writes.ts. */
import assert from 'node:assert/strict'
import { dirname, join } from 'node:path'
import type { CommandResult } from '../../../machine/run-program.ts'
import type { Host } from '../host/host.ts'
import { TLJH_TS } from './product.ts'
import { preload, type Refusal, refusalsIn } from './refused-writes.ts'

export type Refused = Refusal & CommandResult

const notes = '/run/refused-writes'
const timeoutMs = 300_000

/**
 * Gives the command again and again, until nothing is refused that was not refused before; that one has to
 * succeed, or to be what `end` says. `seen` is told of each
 * run before it. Answers what was refused. `except` is of places that are refused elsewhere.
 */
export async function commandAtEachWrite(
  host: Host,
  args: readonly [string, ...string[]],
  seen: (refused: Refused) => unknown,
  { except, end = mustSucceed }: { except?: RegExp; end?: (result: CommandResult) => unknown } = {},
): Promise<Refusal[]> {
  const [node = '', program = ''] = TLJH_TS
  const file = join(dirname(program), 'test/harness/product/refused-writes.ts')
  const variables = preload({ file, notes, command: args[0], except })
  const environment = Object.entries(variables).map(([name, value]) => `${name}=${value}`)
  await host.run(['rm', '-f', notes])
  for (let count = 0; ; count++) {
    const result = await host.run(['env', ...environment, node, program, ...args], { check: false, timeoutMs })
    const { stdout: noted } = await host.run(['sh', '-c', `cat ${notes} 2>/dev/null || true`])
    const refusals = refusalsIn(noted)
    const last = refusals[count]
    if (last === undefined) {
      await end(result)
      return refusals
    }
    assert.doesNotMatch(result.stderr, /\n {4}at /, 'no stack trace')
    await seen({ ...last, ...result })
  }
}

function mustSucceed({ code, stderr }: CommandResult): void {
  assert.equal(code, 0, stderr)
}
