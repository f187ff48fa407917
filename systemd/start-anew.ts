/**
 * Starting a transient unit where one of that name may be left: of a run before, or of a program that was killed.
 *
 * systemd forgets a unit a moment after it has ended, so a start can still meet the last one; it is tried a few times.
 *
 * What is to stop, stops: systemd's own clock can be put off by a unit with Type=notify (EXTEND_TIMEOUT_USEC=, sd_notify(3)), and
 * so by a student's code. So the time is taken here, and when it is over, every process of the unit is killed.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { ProblemError } from '../problem.ts'
import type { AuxiliaryUnit, Job, UnitName, UnitProperties, Units } from './units.ts'

/** What this needs of systemd. */
export type ClearableUnits = Pick<
  Units,
  'inspectUnit' | 'startTransientUnit' | 'stopUnit' | 'killUnit' | 'resetFailedUnit'
>

export interface CleanStart {
  name: UnitName
  properties: UnitProperties
  /** Started with it, and cleared before as well. */
  auxiliary?: readonly AuxiliaryUnit[]
  /** Asked before each attempt. */
  isWanted?: () => boolean
}

const mostAttempts = 5

/** More than any unit of ours is given by systemd (TimeoutStopUSec in spawner/server/plan.ts). */
const stopPatienceMs = 20_000
/** The kernel ends a process of a busy machine late; processes that were just made are killed the next time. */
const killPatienceMs = 3_000
const mostKills = 10

/** Starts it once nothing of that name is left. `undefined`: it is no longer wanted. Throws what `startTransientUnit` throws. */
export function startCleared(units: ClearableUnits, start: Omit<CleanStart, 'isWanted'>): Promise<Job>
export function startCleared(units: ClearableUnits, start: CleanStart): Promise<Job | undefined>
export async function startCleared(
  units: ClearableUnits,
  { name, properties, auxiliary = [], isWanted = () => true }: CleanStart,
): Promise<Job | undefined> {
  for (let attempt = 1; ; attempt++) {
    for (const one of [name, ...auxiliary.map(unit => unit.name)]) await clearUnit(units, one)
    if (!isWanted()) return undefined
    try {
      return await units.startTransientUnit(name, properties, [...auxiliary])
    } catch (error) {
      if (!hasCode(error, 'SYSTEMD_UNIT_EXISTS') || attempt === mostAttempts) throw error
      await delay(attempt * 20)
    }
  }
}

/** Ends the unit, if it runs, and has systemd forget how it ended. Takes 20 seconds, and rarely a little more. Throws `SYSTEMD_NOT_STOPPED`. */
export async function clearUnit(units: ClearableUnits, name: UnitName): Promise<void> {
  const unit = await units.inspectUnit(name)
  if (!unit) return
  // A start that was accepted is a job, and while systemd is busy nothing more than that: the stop takes its place.
  const isToStart = unit.jobId !== undefined
  if (isToStart || (unit.active !== 'inactive' && unit.active !== 'failed')) await stopUnit(units, name)
  await units.resetFailedUnit(name)
}

async function stopUnit(units: ClearableUnits, name: UnitName): Promise<void> {
  try {
    const { done } = await units.stopUnit(name)
    if (await settlesWithin(done, stopPatienceMs)) return
    for (let kills = 0; kills < mostKills; kills++) {
      await units.killUnit(name)
      if (await settlesWithin(done, killPatienceMs)) return
    }
  } catch (error) {
    // Meanwhile it has gone by itself.
    if (!hasCode(error, 'SYSTEMD_NO_SUCH_UNIT')) throw error
    return
  }
  throw new ProblemError('SYSTEMD_NOT_STOPPED', {
    what: `${name} does not stop`,
    why: 'all its processes were killed, and the kernel still keeps one of them: most often a disk or a network drive does not answer',
    fix: `See which it is: systemctl status ${name}. If its disk cannot be brought back, restart the machine`,
  })
}

async function settlesWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController()
  const late = delay(ms, false, { signal: over.signal }).catch(() => false)
  try {
    return await Promise.race([work.then(() => true), late])
  } finally {
    over.abort()
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof ProblemError && error.code === code
}
