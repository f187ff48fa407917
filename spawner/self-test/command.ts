/**
 * `tljh-ts self-test`: starts a server as nobody in particular, runs a cell in it, and takes everything back. It says of each stage how
 * long it took, and of the one that fails why, and what to do.
 */
import { type CommandContext, misused, readCommandLine } from '../../cli/arguments.ts'
import { ProblemError } from '../../problem.ts'
import { runStages, type StageResult } from './stages.ts'

const usage = `Usage: sudo tljh-ts self-test [--json]

Starts a server as a user who is made for it, as a student would get it: in the same slice, with the limits in force. Runs a
cell in it, stops it, and removes the user. It takes some seconds, and disturbs nobody.

  --json    one object at the end, for programs
`

export async function runSelfTest(args: string[], { layout, streams }: CommandContext): Promise<number> {
  const { stdout } = streams
  const given = readCommandLine(args, { usage, options: { json: { type: 'boolean' } }, count: [0, 0] })
  if (!given) {
    stdout.write(usage)
    return 0
  }
  if (process.getuid?.() !== 0) throw misused('it makes an account, which root alone may', 'Start it with sudo')
  const isJson = given.values.json === true
  const stages: StageResult[] = []
  const stop = new AbortController()
  const interrupt = () => stop.abort()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
  try {
    const isWell = await runStages({
      layout,
      signal: stop.signal,
      report(stage) {
        stages.push(stage)
        if (!isJson) stdout.write(lineOf(stage))
      },
    })
    if (isJson) stdout.write(`${JSON.stringify({ ok: isWell, stages }, null, 2)}\n`)
    else if (isWell) stdout.write('All is well: a student can start a server and work in it.\n')
    return isWell ? 0 : 1
  } catch (error) {
    if (!(isJson && error instanceof ProblemError)) throw error
    const { code, what, why, fix } = error
    stdout.write(`${JSON.stringify({ ok: false, stages, problem: { code, what, why, fix } }, null, 2)}\n`)
    return 1
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, interrupt)
  }
}

function lineOf({ title, milliseconds, problem }: StageResult): string {
  const line = `${problem ? '✖' : '✔'} ${title} (${(milliseconds / 1000).toFixed(1)} s)\n`
  if (!problem) return line
  return `${line}  ${problem.what}\n  why: ${problem.why}\n  what to do: ${problem.fix}\n`
}
