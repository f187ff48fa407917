/**
 * What this program does to units: start, stop, look at, change.
 *
 * systemd does things in jobs: a call queues one and is answered at once, the job may take as long as the service does.
 * So starting and stopping give a `Job` as soon as systemd has accepted it, and `job.done` tells the end. The end is
 * never missed: its signal is listened for before the call is made, and if the connection drops meanwhile, the unit is
 * looked at when it is back.
 */
import { constants } from 'node:os'
import { ProblemError } from '../problem.ts'
import { MANAGER, MANAGER_PATH, PROPERTIES, type SystemBus } from './bus.ts'
import { type UnitName, unitOfPath, unitPath } from './names.ts'
import { encodeProperties, type UnitProperties } from './properties.ts'
import { type ActiveState, type Properties, readInspection, type UnitInspection } from './state.ts'

export { escapeUnitName, type UnitName, unitName } from './names.ts'
export type { UnitProperties } from './properties.ts'
export type { UnitState } from './state.ts'

/** How a job ends, from org.freedesktop.systemd1(5), JobRemoved. */
type JobResult =
  | 'done'
  | 'canceled'
  | 'timeout'
  | 'failed'
  | 'dependency'
  | 'skipped'
  | 'invalid'
  | 'assert'
  | 'unsupported'
  | 'collected'
  | 'once'

export interface Job {
  id: number
  unit: UnitName
  /** Rejects only when the bus is closed, or systemd cannot be reached any more to be asked. Need not be awaited. */
  done: Promise<JobResult>
}

interface UnitLine {
  name: UnitName
  description: string
  load: string
  active: ActiveState
  sub: string
}

export interface AuxiliaryUnit {
  name: UnitName
  properties: UnitProperties
}

export interface Units {
  /**
   * Makes the unit and starts it; other units that it needs (`aux`) are made with it, and started only if it pulls them
   * in. Resolves when systemd has accepted it: wait for `job.done` to know that it runs (with Type=notify: is ready).
   * @throws ProblemError SYSTEMD_UNIT_EXISTS when one of that name is there already, even as failed; SYSTEMD_REFUSED
   */
  startTransientUnit(name: UnitName, properties: UnitProperties, aux?: readonly AuxiliaryUnit[]): Promise<Job>
  /** Starts a unit that is there. */
  startUnit(name: UnitName): Promise<Job>
  /** @throws ProblemError SYSTEMD_NO_SUCH_UNIT */
  stopUnit(name: UnitName): Promise<Job>
  /** SIGKILL for every process of the unit, in whatever control group below its own. Nothing happens to a unit that is not there. */
  killUnit(name: UnitName): Promise<void>
  /** Forgets a failure, so that the unit may be made again. Nothing happens to a unit that is not there. */
  resetFailedUnit(name: UnitName): Promise<void>
  /** Changes what can be changed while the unit runs (limits); `runtime`: not beyond a reboot. */
  setUnitProperties(name: UnitName, runtime: boolean, properties: UnitProperties): Promise<void>
  /** The unit that the process belongs to. @throws ProblemError SYSTEMD_NO_SUCH_UNIT */
  unitByPid(pid: number): Promise<UnitName>
  /** The state of a unit that systemd has loaded (one that runs, has failed, or is needed); otherwise undefined. */
  inspectUnit(name: UnitName): Promise<UnitInspection | undefined>
  /** The loaded units whose names match one of the patterns, in which `*` stands for any text. */
  listUnits(patterns: readonly string[]): Promise<UnitLine[]>
}

export function createUnits(bus: SystemBus): Units {
  const manager = (member: string, signature: string, body: readonly unknown[]) =>
    bus.call({ path: MANAGER_PATH, interface: MANAGER, member, signature, body })

  /** Reads without making systemd load the unit, which asking its object does. */
  async function inspectUnit(name: UnitName): Promise<UnitInspection | undefined> {
    try {
      await manager('GetUnit', 's', [name])
    } catch (error) {
      if (error instanceof ProblemError && error.code === 'SYSTEMD_NO_SUCH_UNIT') return undefined
      throw error
    }
    // An empty interface name stands for all of them: what there is depends on the type of the unit.
    const all = { path: unitPath(name), interface: PROPERTIES, member: 'GetAll', signature: 's', body: [''] }
    const [properties] = await bus.call(all)
    const state = readInspection(name, properties as Properties)
    return state.load === 'not-found' ? undefined : state
  }

  /** Makes the call that queues a job, and follows the job. */
  async function queue(unit: UnitName, member: string, signature: string, body: readonly unknown[]): Promise<Job> {
    const ended = new Map<string, JobResult>()
    const done = Promise.withResolvers<JobResult>()
    done.promise.catch(() => {})
    let path = ''
    const settle = () => {
      const result = ended.get(path)
      if (result) done.resolve(result)
    }
    const stopListening = bus.listen({
      onSignal(signal) {
        if (signal.interface !== MANAGER || signal.member !== 'JobRemoved') return
        const [, job, name, result] = signal.body
        if (name !== unit) return
        ended.set(String(job), result as JobResult)
        settle()
      },
      onGap() {
        if (path) endAfterGap(unit, jobId(path), member).then(result => result && done.resolve(result), done.reject)
      },
      onClose: done.reject,
    })
    try {
      path = String((await manager(member, signature, body))[0])
    } catch (error) {
      stopListening()
      throw error
    }
    settle()
    done.promise.then(stopListening, stopListening)
    return { id: jobId(path), unit, done: done.promise }
  }

  /** How a job ended of which the end was not heard; undefined while it is still under way. */
  async function endAfterGap(unit: UnitName, id: number, member: string): Promise<JobResult | undefined> {
    const state = await inspectUnit(unit)
    if (state?.jobId === id) return undefined
    const isUp = state?.active === 'active' || state?.active === 'reloading'
    if (member === 'StopUnit') return isUp ? 'canceled' : 'done'
    if (isUp) return 'done'
    return state?.active === 'failed' ? 'failed' : 'canceled'
  }

  /** A call about a unit, which may be gone. */
  async function ifThere(member: string, signature: string, body: readonly unknown[]): Promise<void> {
    try {
      await manager(member, signature, body)
    } catch (error) {
      if (!(error instanceof ProblemError && error.code === 'SYSTEMD_NO_SUCH_UNIT')) throw error
    }
  }

  return {
    startTransientUnit: async (name, properties, aux = []) =>
      queue(name, 'StartTransientUnit', 'ssa(sv)a(sa(sv))', [
        name,
        // What systemd is stopping just now and this needs is started instead. A shutdown is not taken back by it.
        'replace',
        encodeProperties(properties),
        aux.map(unit => [unit.name, encodeProperties(unit.properties)]),
      ]),
    startUnit: name => queue(name, 'StartUnit', 'ss', [name, 'replace']),
    stopUnit: name => queue(name, 'StopUnit', 'ss', [name, 'replace']),
    killUnit: name => ifThere('KillUnit', 'ssi', [name, 'all', constants.signals.SIGKILL]),
    resetFailedUnit: name => ifThere('ResetFailedUnit', 's', [name]),
    async setUnitProperties(name, runtime, properties) {
      await manager('SetUnitProperties', 'sba(sv)', [name, runtime, encodeProperties(properties)])
    },
    async unitByPid(pid) {
      const [path] = await manager('GetUnitByPID', 'u', [pid])
      const name = unitOfPath(String(path))
      if (!name)
        throw new ProblemError('SYSTEMD_NO_SUCH_UNIT', {
          what: `process ${pid} belongs to no unit`,
          why: `systemd answered ${String(path)}`,
          fix: `see \`systemctl status ${pid}\``,
        })
      return name
    },
    inspectUnit,
    async listUnits(patterns) {
      const [lines] = await manager('ListUnitsByPatterns', 'asas', [[], [...patterns]])
      return (lines as [UnitName, string, string, ActiveState, string][]).map(
        ([name, description, load, active, sub]) => ({ name, description, load, active, sub }),
      )
    },
  }
}

function jobId(path: string): number {
  return Number(path.slice(path.lastIndexOf('/') + 1))
}
