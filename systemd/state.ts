/**
 * The state of a unit, read from the properties that systemd shows on the bus. Units that are no services have no
 * result, no process and no status text.
 */
import type { UnitName } from './names.ts'

export type ActiveState = 'active' | 'reloading' | 'inactive' | 'failed' | 'activating' | 'deactivating' | 'maintenance'

/** Properties by name, as `GetAll` gives them and `PropertiesChanged` changes them. */
export type Properties = Readonly<Record<string, unknown>>

export interface UnitState {
  name: UnitName
  description: string
  /** `loaded`, `not-found`, `masked`, `bad-setting`, `error`, … */
  load: string
  active: ActiveState
  /** Finer, and of each type of unit its own: `running`, `start-pre`, `stop-sigterm`, `dead`, … */
  sub: string
  /** Of the last run: `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, …; see spawner/server/how-it-ended.ts. */
  result: string
  /** The process that is the service, while it runs. */
  mainPid: number | undefined
  /** How the main process of the last run ended. */
  execMainCode: 'exited' | 'killed' | 'dumped' | undefined
  /** The exit status, or the number of the signal. */
  execMainStatus: number
  /** What the service last said with STATUS= (sd_notify(3)). */
  statusText: string
  /** Of this run or the last: 32 hexadecimal digits, or nothing if it never ran. */
  invocationId: string
  /** The job that systemd is doing or will do to the unit. */
  jobId: number | undefined
  /** When this run or the last began: when systemd checked the conditions, which it does before it starts a program. */
  startTimestampMs: number | undefined
  activeEnterTimestampMs: number | undefined
  stateChangeTimestampMs: number | undefined
}

/** What systemd does not announce when it changes is only in here. */
export interface UnitInspection extends UnitState {
  /** The unit's control group, from the root of the hierarchy: `/system.slice/x.service`; nothing while it has none. */
  controlGroup: string
  /** In bytes; undefined where memory is not accounted. */
  memoryCurrent: number | undefined
  /** Of a service: none of its processes can ever get more rights, such as by sudo. */
  hasNoNewPrivileges: boolean
}

/** The interfaces that have what is read here. */
export const UNIT_INTERFACE = 'org.freedesktop.systemd1.Unit'
export const SERVICE_INTERFACE = 'org.freedesktop.systemd1.Service'

/** From <signal.h>: CLD_EXITED, CLD_KILLED, CLD_DUMPED. */
const MAIN_CODES = [undefined, 'exited', 'killed', 'dumped'] as const

const NOT_ACCOUNTED = 2n ** 64n - 1n

export function readState(name: UnitName, properties: Properties): UnitState {
  const text = (key: string) => (typeof properties[key] === 'string' ? properties[key] : '')
  const number = (key: string) => (typeof properties[key] === 'number' ? properties[key] : 0)
  const id = properties.InvocationID
  const job = properties.Job
  return {
    name,
    description: text('Description'),
    load: text('LoadState'),
    active: text('ActiveState') as ActiveState,
    sub: text('SubState'),
    result: text('Result'),
    mainPid: number('MainPID') || undefined,
    execMainCode: MAIN_CODES[number('ExecMainCode')],
    execMainStatus: number('ExecMainStatus'),
    statusText: text('StatusText'),
    invocationId: id instanceof Uint8Array ? Buffer.from(id).toString('hex') : '',
    jobId: Array.isArray(job) && typeof job[0] === 'number' ? job[0] || undefined : undefined,
    startTimestampMs: milliseconds(properties.ConditionTimestamp),
    activeEnterTimestampMs: milliseconds(properties.ActiveEnterTimestamp),
    stateChangeTimestampMs: milliseconds(properties.StateChangeTimestamp),
  }
}

export function readInspection(name: UnitName, properties: Properties): UnitInspection {
  const { ControlGroup: group, MemoryCurrent: memory } = properties
  return {
    ...readState(name, properties),
    controlGroup: typeof group === 'string' ? group : '',
    hasNoNewPrivileges: properties.NoNewPrivileges === true,
    memoryCurrent: typeof memory === 'bigint' && memory !== NOT_ACCOUNTED ? Number(memory) : undefined,
  }
}

/** systemd counts microseconds since 1970, and 0 is never. */
function milliseconds(value: unknown): number | undefined {
  return typeof value === 'bigint' && value !== 0n ? Number(value / 1000n) : undefined
}
