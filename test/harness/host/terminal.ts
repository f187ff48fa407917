/**
 * A person at a terminal of a host: types, and sees what is on the screen.
 *
 *   await using terminal = openTerminal(host, [...TLJH_TS, 'config', 'edit'], { EDITOR: 'vi' })
 *   await terminal.sees(/Apply\?/)
 *   terminal.types('y\r')
 *
 * The pseudo-terminal is one of this machine's; script(1) makes one of the host's behind it, so that job control, signals and
 * the end of the terminal are as they are for somebody who logged in over SSH.
 */
import { stripVTControlCharacters } from 'node:util'
import { spawn } from '@lydell/node-pty'
import { commandToEnter } from './enter.ts'
import type { Host } from './host.ts'
import { killIfAlive } from './process.ts'

export interface Terminal extends AsyncDisposable {
  /** Waits until the screen shows `pattern`, after what was waited for before. Rejects after two minutes, with the screen. */
  sees(pattern: RegExp): Promise<void>
  types(keys: string): void
  /** All that was on the screen, without colours and movements. */
  screen(): string
  /** The exit code. */
  ended: Promise<number>
  /** As when the window is closed or the connection breaks. */
  close(): void
}

export const CTRL_C = '\x03'
export const CTRL_D = '\x04'

/** Only for what never comes. */
const TIMEOUT_MS = 120_000

/** Starts a program in a terminal of a host. It ends with the terminal. */
export function openTerminal(host: Host, argv: readonly string[], env: Record<string, string> = {}): Terminal {
  const line = argv.map(arg => `'${arg.replaceAll("'", "'\\''")}'`).join(' ')
  const inner = ['script', '--quiet', '--return', '--command', `exec ${line}`, '/dev/null']
  const entrance = { pid: host.pid, groups: [], env: {} }
  const command = commandToEnter(entrance, inner, { env: { TERM: 'xterm', ...env } })
  // Nobody here asks for the process id, which the way in tells on file descriptor 3.
  const pty = spawn('sh', ['-c', 'exec "$@" 3>/dev/null', 'sh', ...command.argv], {
    cols: 120,
    rows: 50,
    env: command.env,
  })
  let output = ''
  let position = 0
  let hasEnded = false
  let look = () => {}
  pty.onData(data => {
    output += data
    look()
  })
  const ended = new Promise<number>(resolve => {
    pty.onExit(({ exitCode }) => {
      hasEnded = true
      resolve(exitCode)
      look()
    })
  })
  const screen = () => stripVTControlCharacters(output)

  return {
    sees(pattern) {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const timer = setTimeout(
        () => reject(new Error(`${pattern} was not seen in ${TIMEOUT_MS / 1000} s:\n${screen()}`)),
        TIMEOUT_MS,
      )
      look = () => {
        const found = pattern.exec(screen().slice(position))
        if (found) position += found.index + found[0].length
        else if (!hasEnded) return
        clearTimeout(timer)
        look = () => {}
        if (found) resolve()
        else reject(new Error(`the program ended before ${pattern} was seen:\n${screen()}`))
      }
      look()
      return promise
    },
    types: keys => pty.write(keys),
    screen,
    ended,
    close: () => (pty as unknown as { destroy(): void }).destroy(),
    async [Symbol.asyncDispose]() {
      if (hasEnded) return
      killIfAlive(pty.pid, 'SIGKILL')
      await ended
    },
  }
}
