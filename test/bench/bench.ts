/**
 * `npm run bench -- NAME [--rounds N] [--json]`: measures us and a peer in one run, and prints a table.
 *
 * A benchmark is a file of this folder, NAME.ts, that exports a `Benchmark` as `benchmark`: to add one is to add a file.
 * What is said on the way goes to standard error, so that with `--json` standard output is one JSON value (npm itself
 * announces there what it runs: `npm run --silent bench -- …`):
 *
 *   { "name", "rounds", "rows": [{ "id", "ours", "peer", "unit", "ratio" }] }
 *
 * A goal that is missed is told and is no failure: how loaded this machine is says nothing about the program.
 */
import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { handleStop } from '../harness/host/stop-signal.ts'
import type { Benchmark, Findings } from './measure/benchmark.ts'
import { jsonReport, textReport } from './measure/report.ts'

/** With five, two slow rounds do not move the median. */
const FEWEST_ROUNDS = 5

/** A benchmark bounds its own steps; this is for the one that hangs all the same. The first run makes images. */
const SETUP_LIMIT_MS = 20 * 60_000
const ROUND_LIMIT_MS = 3 * 60_000

interface Order {
  name: string
  rounds: number
  json: boolean
}

const order = readCommandLine(process.argv.slice(2))
if ('refusal' in order) {
  console.error(order.refusal)
  process.exitCode = 2
} else {
  await carryOut(order)
}
// A connection that was left open must not keep this process.
process.exit()

function readCommandLine(args: readonly string[]): Order | { refusal: string } {
  const names = benchmarkNames()
  const usage = `Write: npm run bench -- NAME [--rounds N] [--json]. There is: ${names.join(', ')}.`
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        rounds: { type: 'string', default: String(FEWEST_ROUNDS) },
        json: { type: 'boolean', default: false },
      },
    })
    const [name, ...rest] = positionals
    const rounds = Number(values.rounds)
    if (name === undefined || rest.length > 0) return { refusal: usage }
    if (!names.includes(name)) return { refusal: `There is no benchmark named ${JSON.stringify(name)}. ${usage}` }
    if (!Number.isInteger(rounds) || rounds < FEWEST_ROUNDS)
      return {
        refusal: `--rounds is ${JSON.stringify(values.rounds)}; it is a whole number, ${FEWEST_ROUNDS} or more.`,
      }
    return { name, rounds, json: values.json }
  } catch (error) {
    // parseArgs says itself which option it does not know.
    return { refusal: `${error instanceof Error ? error.message : error}\n${usage}` }
  }
}

function benchmarkNames(): string[] {
  return readdirSync(import.meta.dirname)
    .filter(file => file.endsWith('.ts') && file !== basename(import.meta.filename))
    .map(file => basename(file, '.ts'))
    .toSorted()
}

async function carryOut({ name, rounds, json }: Order): Promise<void> {
  const { benchmark } = (await import(`./${name}.ts`)) as { benchmark: Benchmark }
  const stop = handleStop()
  await using cleanup = new AsyncDisposableStack()
  const limitMs = SETUP_LIMIT_MS + rounds * ROUND_LIMIT_MS
  const late = delay(limitMs).then(() => ({ lateMs: limitMs }))
  const run = benchmark.run({ rounds, cleanup, report: line => console.error(line) })
  // A host that boots at this very moment dies with this process.
  const end = await Promise.race([run.then(findings => ({ findings })), stop, late])
  if ('findings' in end) print(name, end.findings, json)
  else if ('exitCode' in end) process.exitCode = end.exitCode
  else throw new Error(`${name} was not through after ${end.lateMs / 60_000} minutes`)
}

function print(name: string, findings: Findings, json: boolean): void {
  console.log(json ? JSON.stringify(jsonReport(name, findings), null, 2) : textReport(name, findings))
}
