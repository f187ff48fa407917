/**
 * What `tljh-ts status` is made of: lines, each about one thing, and checks, each of which answers some. A check is bounded in time and never
 * throws through: what it cannot find out is a line like others, so that a machine on which everything is broken is still told of.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { ProblemError } from '../../problem.ts'

/** `warning`: it works, and will not for long. */
export type Health = 'good' | 'warning' | 'bad'

export interface StatusLine {
  /** What it is about, for programs: the same on each machine. */
  name: string
  health: Health
  /** A sentence without a full stop that names the thing. */
  text: string
  /** Of what is not good. */
  why?: string
  fix?: string
}

export interface Check {
  name: string
  run(): Promise<StatusLine[]>
}

/** A machine that is emulated, or that swaps, needs half a minute for what takes a second elsewhere. */
const limitMs = 90_000

export function good(name: string, text: string): StatusLine {
  return { name, health: 'good', text }
}

export function warning(name: string, text: string, why: string, fix: string): StatusLine {
  return { name, health: 'warning', text, why, fix }
}

export function bad(name: string, text: string, why: string, fix: string): StatusLine {
  return { name, health: 'bad', text, why, fix }
}

/** All at once, and the lines in the order of the checks. */
export async function runChecks(checks: readonly Check[]): Promise<StatusLine[]> {
  return (await Promise.all(checks.map(runBounded))).flat()
}

async function runBounded({ name, run }: Check): Promise<StatusLine[]> {
  const late = new AbortController()
  try {
    const tooLate = delay(limitMs, undefined, { signal: late.signal }).then(() => {
      throw new Error(`there was no answer within ${limitMs / 1000} seconds`)
    })
    return await Promise.race([run(), tooLate])
  } catch (error) {
    if (error instanceof ProblemError) return [bad(name, error.what, error.why, error.fix)]
    const why = error instanceof Error ? error.message : String(error)
    return [
      bad(
        name,
        `${name} could not be looked at`,
        why,
        'See what the machine says: sudo journalctl --boot --priority=err',
      ),
    ]
  } finally {
    late.abort()
  }
}
