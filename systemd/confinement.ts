/**
 * In what a student's code is kept, wherever it runs: in the user's server (spawner/server/plan.ts), and in programs that do
 * something with the files of a home (owner-program.ts). Whoever has the same user id can take such a program over
 * (ptrace(2), /proc/PID/mem), so it must be confined as the student is.
 */
import { type UnitProperties, unitName } from './units.ts'

export const usersSlice = unitName('tljh-users.slice')

/**
 * By the bus a student could have units of their own, outside of all limits (lingering), and see those of others. What systemd
 * is told by processes from whom it takes nothing becomes lines of its own in the journal.
 */
export const closedPaths = ['-/run/dbus', '-/run/systemd/private', '-/run/systemd/notify']

/** What an administrator's server does not have, because it may use sudo. */
export const confinement: UnitProperties = {
  NoNewPrivileges: true,
  ProtectHome: 'tmpfs',
  ProtectProc: 'invisible',
  ProtectKernelTunables: true,
  ProtectKernelModules: true,
  ProtectKernelLogs: true,
  ProtectClock: true,
  ProtectHostname: true,
  RestrictRealtime: true,
  RestrictSUIDSGID: true,
  RestrictNamespaces: 0,
  LockPersonality: true,
}

/** As the configuration has them (config/meaning/config.ts). */
interface Limits {
  memory: number | null
  cpu: number | null
  tasks: number
  swap: number | null
}

const second = 1_000_000

/** The limits, as a unit has them: of one that starts, and of one that runs. */
export function limitProperties({ memory, cpu, tasks, swap }: Limits): UnitProperties {
  return {
    MemoryMax: memory ?? 'infinity',
    MemorySwapMax: memory === null ? 'infinity' : (swap ?? 0),
    CPUQuotaPerSecUSec: cpu === null ? 'infinity' : Math.round(cpu * second),
    TasksMax: tasks,
  }
}

/** Node.js needs most of it to do anything at all. */
const leastMemory = 256 * 1024 ** 2
/** Enough for tar(1) to know each folder of a very large home. */
const mostMemory = 1024 ** 3
/** Node.js has eleven. */
const mostTasks = 64

/** Of a program that does something with a home: not more than the student has, and never much. */
export function modestLimits(limits: Limits): UnitProperties {
  const memory = Math.min(Math.max(limits.memory ?? mostMemory, leastMemory), mostMemory)
  return limitProperties({ ...limits, memory, swap: 0, tasks: Math.min(limits.tasks, mostTasks) })
}
