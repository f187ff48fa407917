/**
 * The programs of the machine that the spawner runs: `getent`, `useradd` and their kin.
 *
 * Always with an argument array, an empty environment and a time limit. There is no shell.
 */
import { execFile } from 'node:child_process'

export interface CommandResult {
  code: number
  stdout: string
  stderr: string
}

const timeoutMs = 20_000

/** Runs a program to its end. Rejects only where it could not be run or did not end in time. */
export function runCommand(file: string, args: readonly string[]): Promise<CommandResult> {
  const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' }
  return new Promise((resolve, reject) => {
    execFile(file, args, { env: environment, timeout: timeoutMs, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(error)
      else resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr: stderr.trim() })
    })
  })
}
