/**
 * Which process is which: a process id alone says little, because ids are used again. With the time at which the process
 * started it is unique until the machine reboots.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

export interface ProcessIdentity {
  pid: number
  /** In clock ticks since the machine booted, as /proc/PID/stat has it. */
  startTime: string
}

/** Nothing if there is no such process, or only its exit code is left (a zombie). */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch (error) {
    if (isErrorCode(error, 'ENOENT') || isErrorCode(error, 'ESRCH')) return undefined
    throw error
  }
  // The second field is the program's name in parentheses, which may hold anything: count from behind it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, startTime] = [fields[0], fields[19]]
  return state === 'Z' || state === 'X' || startTime === undefined ? undefined : { pid, startTime }
}

export function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  return identifyProcess(pid)?.startTime === startTime
}

/** Kills a process that is not our child, and waits until it is gone. */
export async function killForeign(identity: ProcessIdentity): Promise<void> {
  if (!isAlive(identity)) return
  killIfAlive(identity.pid, 'SIGKILL')
  // Only a parent is told of an end.
  while (isAlive(identity)) await delay(10)
}

/** Sends a signal to a process that may have ended by itself. */
export function killIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!isErrorCode(error, 'ESRCH')) throw error
  }
}

/** Whether `error` is an error of the system with this code, such as `ENOENT`. */
export function isErrorCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
