/**
 * Running programs, for the test hosts: an argument array in, both outputs and the exit code out.
 *
 * Nothing here goes through a shell, so no argument needs quoting. A program that fails throws an error that holds
 * everything one needs to understand it (what was run, its code, both outputs): a test log is read long after the
 * host is gone.
 */
import { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { killIfAlive } from './process.ts'

export interface CommandOptions {
  /** Written to the program's standard input, which is empty otherwise. */
  input?: string | Uint8Array
  env?: NodeJS.ProcessEnv
  cwd?: string
  /** The program is killed after this long; 120 seconds if not given. */
  timeoutMs?: number
  /** The program tells on file descriptor 3 which process has to be killed in its place. */
  tellsVictim?: boolean
  /** With `false` a failing program is a result like any other. */
  check?: boolean
}

export interface CommandResult {
  stdout: string
  stderr: string
  /** The exit code; 128 and the number of the signal when a signal ended the program, as shells do it. */
  code: number
}

export class CommandError extends Error implements CommandResult {
  readonly stdout: string
  readonly stderr: string
  readonly code: number

  constructor(argv: readonly string[], result: CommandResult, reason: string) {
    super(`${argv.join(' ')}\n${reason}\nstdout: ${result.stdout.trimEnd()}\nstderr: ${result.stderr.trimEnd()}`)
    this.name = 'CommandError'
    this.stdout = result.stdout
    this.stderr = result.stderr
    this.code = result.code
  }
}

const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
}

/** The exit code that a shell would report. */
export function exitCode(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + ((signal && SIGNAL_NUMBERS[signal]) ?? 0)
}

/**
 * Runs a program to its end.
 * @param shownAs what an error calls the command, where `argv` is wrapped in a way that readers need not see
 * @throws CommandError when it fails (unless `check` is false), cannot be started, or takes too long
 */
export function execute(
  argv: readonly string[],
  { input, env, cwd, timeoutMs = 120_000, tellsVictim = false, check = true }: CommandOptions = {},
  shownAs: readonly string[] = argv,
): Promise<CommandResult> {
  const { promise, resolve, reject } = Promise.withResolvers<CommandResult>()
  const [program = '', ...args] = argv
  const child = spawn(program, args, {
    stdio: tellsVictim ? ['pipe', 'pipe', 'pipe', 'pipe'] : 'pipe',
    env: env ?? process.env,
    ...(cwd === undefined ? {} : { cwd }),
  })
  let victim = child.pid
  if (tellsVictim)
    (child.stdio[3] as Readable).once('data', line => {
      victim = Number(line)
    })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
  // A program that ends without reading its input closes the pipe: its exit code tells more than EPIPE does.
  child.stdin.on('error', () => {})
  child.stdin.end(input)

  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    if (victim !== undefined) killIfAlive(victim, 'SIGKILL')
    // A grandchild may still hold the pipes open: the error need not wait for it.
    child.stdout.destroy()
    child.stderr.destroy()
  }, timeoutMs)

  child.on('error', cause => {
    clearTimeout(timer)
    reject(new CommandError(shownAs, { stdout: '', stderr: '', code: 127 }, `could not be started: ${cause.message}`))
  })
  child.on('close', (code, signal) => {
    clearTimeout(timer)
    const result = {
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
      code: exitCode(code, signal),
    }
    if (isLate) reject(new CommandError(shownAs, result, `was killed: it took longer than ${timeoutMs} ms`))
    else if (check && result.code !== 0) reject(new CommandError(shownAs, result, `failed with code ${result.code}`))
    else resolve(result)
  })
  return promise
}
