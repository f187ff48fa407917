/** The last lines of a unit's run are there as soon as its failure is known. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { JournalLine } from '../../../systemd/journal.ts'
import type { UnitName, UnitState } from '../../../systemd/units.ts'
import { bootHostBus, CODE, type HostBus, NODE, testUnit } from '../../harness/host/bare-host.ts'

/** Of seconds, milliseconds and microseconds, one is meant. */
const hourMs = 3600_000

let machine: HostBus
before(async () => {
  machine = await bootHostBus()
})
after(() => machine[Symbol.asyncDispose]())

test('the last line of a program that fails at once is never missing, and lines of earlier runs never there', async () => {
  const name = testUnit('failing')
  for (let run = 0; run < 20; run++) {
    const state = await fail(
      name,
      `for i in 1 2 3 4 5; do echo "run ${run} line $i"; done; echo "run ${run} ends" >&2; exit 3`,
    )
    const lines = await lastLines(state, 10)
    assert.deepEqual(
      lines.map(line => line.text),
      [...[1, 2, 3, 4, 5].map(line => `run ${run} line ${line}`), `run ${run} ends`],
    )
    assert.ok(Math.abs((lines[0]?.timestampMs ?? 0) - Date.now()) < hourMs)
    await machine.units.resetFailedUnit(name)
  }
})

test('lines that are no text, coloured, long or many come out readable and few', async () => {
  const script = [
    'for i in $(seq 100); do echo line $i; done',
    String.raw`printf 'caf\351 \033[31mred\033[0m\ta\001b\n'`,
    'head --bytes=20000 /dev/zero | tr "\\\\0" x; echo',
    'exit 1',
  ].join('\n')
  const state = await fail(testUnit('odd'), script)
  const texts = (await lastLines(state, 4)).map(line => line.text)
  assert.deepEqual(texts.slice(0, 3), ['line 99', 'line 100', 'caf\ufffd red\ta b'])
  assert.match(texts[3] ?? '', /^x{2000}…$/)
})

test('while somebody floods the journal, the lines are read all the same', async () => {
  const { units } = machine
  const flood = testUnit('flood')
  await (await units.startTransientUnit(flood, { ExecStart: [{ argv: ['/bin/sh', '-c', 'exec yes flood'] }] })).done
  const state = await fail(testUnit('drowned'), 'echo help; exit 1')
  // What is waited for is bounded: on a busy machine journald may take longer to come to this line.
  const read = `journalctl --quiet --output=cat _SYSTEMD_UNIT=${state.name}`
  await machine.host.run(['sh', '-c', `until ${read} | grep -qx help; do sleep 0.1; done`])
  const lines = await lastLines(state, 5)
  await (await units.stopUnit(flood)).done
  assert.deepEqual(
    lines.map(({ text }) => text),
    ['help'],
  )
})

/** Runs a unit that fails, and gives its state. */
async function fail(name: UnitName, script: string): Promise<UnitState> {
  const { units } = machine
  const job = await units.startTransientUnit(name, { Type: 'notify', ExecStart: [{ argv: ['/bin/sh', '-c', script] }] })
  assert.equal(await job.done, 'failed')
  const state = await units.inspectUnit(name)
  assert.ok(state)
  return state
}

/** Reads the lines in the host, as the spawner does. */
async function lastLines(unit: UnitState, count: number): Promise<JournalLine[]> {
  const program = `
    import { lastLines } from '${CODE}/systemd/journal.ts'
    console.log(JSON.stringify(await lastLines(${JSON.stringify({ unit, count })})))`
  const { stdout } = await machine.host.run([NODE, '--input-type=module-typescript', '-'], { input: program })
  return JSON.parse(stdout)
}
