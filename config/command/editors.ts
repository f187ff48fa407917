/**
 * The editor of the person who edits: which one it is, and running it in the terminal.
 */
import { spawn } from 'node:child_process'
import { accessSync, constants, realpathSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { ProblemError } from '../../problem.ts'

export interface Editor {
  /** The whole path of the program. */
  file: string
  args: string[]
}

/** The variables that say which editor somebody wants, and then Debian's ways to the editor of the machine. */
const variables = ['SUDO_EDITOR', 'VISUAL', 'EDITOR'] as const
const programs = ['sensible-editor', 'editor', 'nano', 'vi']

/** Those that understand `+LINE` before the file. */
const jumping =
  /^(?:sensible-editor|vi|vim|nvim|nvi|elvis|vim\..*|view|r?nano|pico|emacs.*|mg|jed|joe|jmacs|jpico|jstar|ne|micro|kak)$/

/** The first that is there. A variable may hold arguments. Throws `CONFIG_NO_EDITOR`. */
export function findEditor(environment: NodeJS.ProcessEnv): Editor {
  const wishes = variables.map(name => environment[name]?.trim() ?? '').filter(Boolean)
  for (const wish of [...wishes, ...programs]) {
    const [program = '', ...args] = wish.split(/\s+/)
    const file = findProgram(program, environment.PATH)
    if (file) return { file, args }
  }
  throw new ProblemError('CONFIG_NO_EDITOR', {
    what: 'The configuration was not opened',
    why: 'this machine has no editor that could be found',
    fix: 'Install one (sudo apt install nano), or say which it is: sudo EDITOR=/usr/bin/emacs tljh-ts config edit',
  })
}

export interface EditorEnd {
  /** Undefined where a signal ended it. */
  code: number | undefined
}

/** Opens `path`, at a line where there is one and the editor can. Ends the editor when `signal` says so. */
export function runEditor(
  { file, args }: Editor,
  path: string,
  { line, signal, environment }: { line: number | undefined; signal: AbortSignal; environment: NodeJS.ProcessEnv },
): Promise<EditorEnd> {
  const jump = line !== undefined && canJump(file) ? [`+${line}`] : []
  const { promise, resolve, reject } = Promise.withResolvers<EditorEnd>()
  const child = spawn(file, [...args, ...jump, path], {
    stdio: 'inherit',
    env: environment,
    signal,
    killSignal: 'SIGHUP',
  })
  const force = () => setTimeout(() => child.kill('SIGKILL'), 2_000).unref()
  signal.addEventListener('abort', force)
  child.on('close', code => {
    signal.removeEventListener('abort', force)
    resolve({ code: code ?? undefined })
  })
  child.on('error', cause => {
    // When we aborted the editor ourselves, the `close` event reports it.
    if (signal.aborted) return
    reject(
      new ProblemError('CONFIG_NO_EDITOR', {
        what: `${file} could not be started`,
        why: cause.message,
        fix: 'Name another editor: sudo EDITOR=nano tljh-ts config edit',
        cause,
      }),
    )
  })
  return promise
}

/** The name on the command line may be a link, as Debian's `editor` is. */
function canJump(file: string): boolean {
  return jumping.test(basename(file)) || jumping.test(basename(realpathSync(file)))
}

function findProgram(program: string, path = '/usr/local/bin:/usr/bin:/bin'): string | undefined {
  const candidates = program.includes('/') ? [program] : path.split(':').map(folder => join(folder || '.', program))
  return candidates.find(isProgram)
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}
