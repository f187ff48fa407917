/**
 * The programs of the machine that we run: `getent`, `useradd`, `systemctl` and their kin.
 *
 * Always with an argument array, an environment of our own and a time limit. There is no shell. And always in `/`: many a program obeys
 * a file that it finds in the current folder or above it (`uv.toml`, `.npmrc`), and root may stand in a folder of somebody else's. So paths in
 * the arguments are absolute.
 */
import { type ExecFileException, execFile } from 'node:child_process'

export interface CommandResult {
  /** The exit code. */
  code: number
  stdout: string
  stderr: string
}

export interface CommandOptions {
  /** Written to the program's standard input, which is empty otherwise. */
  input?: string
  timeoutMs?: number
  /** Variables beside our own, such as `https_proxy` for a program that reaches out. */
  env?: Readonly<Record<string, string | undefined>>
  /** Ends the program with SIGTERM, and rejects. */
  signal?: AbortSignal | undefined
}

/** Of what a program prints, in bytes; the audit log is the longest. */
const mostOutput = 64 * 1024 ** 2

const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' }

/** Runs a program to its end. Rejects only where it could not be run or did not end in time (20 s if not given). */
export function runProgram(
  file: string,
  args: readonly string[],
  { input = '', timeoutMs = 20_000, env = {}, signal }: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      args,
      {
        cwd: '/',
        env: { ...environment, ...env },
        timeout: timeoutMs,
        encoding: 'utf8',
        maxBuffer: mostOutput,
        signal,
      },
      (error, stdout, stderr) => {
        if (error && typeof error.code !== 'number') reject(failure(error, file, timeoutMs))
        else resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr: stderr.trim() })
      },
    )
    // A program that ends without reading its input closes the pipe; its exit code says more than EPIPE does.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}

/**
 * The whole number that a program has printed, such as du(1) before a tab. Undefined where there is none: JavaScript would make 0 of
 * nothing, and NaN of words.
 */
export function countIn(text: string | undefined): number | undefined {
  const digits = /^\s*(\d+)(?:\s|$)/.exec(text ?? '')?.[1]
  const count = Number(digits)
  return digits !== undefined && Number.isSafeInteger(count) ? count : undefined
}

/** Node.js says `Command failed` of all of them alike. */
function failure(error: ExecFileException, file: string, timeoutMs: number): Error {
  if (error.code !== null && error.code !== undefined) return error
  if (error.killed) return new Error(`${file} did not end within ${timeoutMs / 1000} s`, { cause: error })
  return new Error(`${file} was ended by ${error.signal}`, { cause: error })
}
