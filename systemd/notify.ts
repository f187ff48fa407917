/**
 * Tells systemd how a service of ours is: ready, stopping, alive (sd_notify(3)).
 *
 * The messages go to a unix datagram socket, which Node.js has not, so systemd's own `systemd-notify` sends them. A unit
 * that uses this needs `NotifyAccess=all`: without root the sender is systemd-notify, not the service. systemd finds
 * the unit by the sender's control group, so the sender must still be there when its message is read; systemd-notify
 * waits for that since version 246 (a BARRIER=1 message after it, of which systemd closes the descriptor), and we
 * support 249 and later.
 *
 * The watchdog's message is sent directly where that can be (systemd/notify-socket.ts): it must get through when no process can be
 * started, and a service that sends it goes on to live, so nobody has to wait for it.
 *
 * What always holds: messages arrive in the order in which they were given, and without $NOTIFY_SOCKET nothing happens.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { ProblemError } from '../problem.ts'
import { openNotifySocket } from './notify-socket.ts'

export interface Notifier extends Disposable {
  /** READY=1: with Type=notify, only now is the service started. Resolves when systemd has read it. */
  ready(): Promise<void>
  /** STOPPING=1: a stop that was asked for has begun. */
  stopping(): Promise<void>
  /** STATUS=: one line for `systemctl status`, and for those who watch the unit. */
  status(text: string): Promise<void>
  /**
   * Where the unit has a watchdog: says that the service is alive twice in each period, as long as `isHealthy` says so.
   * A service that stops saying so is killed, and started again if the unit says Restart=.
   */
  startWatchdog(isHealthy: () => boolean): void
  /** Ends the watchdog's messages. */
  close(): void
}

/** The variables that systemd sets for a service. */
export interface NotifyEnvironment {
  NOTIFY_SOCKET?: string | undefined
  WATCHDOG_USEC?: string | undefined
  WATCHDOG_PID?: string | undefined
}

const TIMEOUT_MS = 10_000
const mostAttempts = 3
const run = promisify(execFile)

/** @param onProblem told when a message of the watchdog could not be sent; the next is tried all the same */
export function createNotifier(
  env: NotifyEnvironment,
  onProblem: (problem: unknown) => void = problem => process.emitWarning(String(problem)),
): Notifier {
  const socket = env.NOTIFY_SOCKET
  let last: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined

  const send = (message: string): Promise<void> => {
    if (!socket) return Promise.resolve()
    const sent = last.then(() => sendMessage(socket, message))
    last = sent.catch(() => {})
    return sent
  }

  return {
    ready: () => send('READY=1'),
    stopping: () => send('STOPPING=1'),
    status: text => send(`STATUS=${text.replaceAll('\n', ' ')}`),
    startWatchdog(isHealthy) {
      const periodMs = watchdogPeriodMs(env, process.pid)
      if (!socket || periodMs === undefined) return
      clearInterval(timer)
      const say = openNotifySocket(socket)
      let isSending = false
      timer = setInterval(() => {
        if (isSending || !isHealthy() || say?.('WATCHDOG=1')) return
        isSending = true
        send('WATCHDOG=1')
          .catch(onProblem)
          .finally(() => {
            isSending = false
          })
      }, periodMs / 2).unref()
    },
    close: () => clearInterval(timer),
    [Symbol.dispose]() {
      this.close()
    },
  }
}

/** How long systemd waits for a sign of life; undefined where there is no watchdog, or it is meant for another process. */
export function watchdogPeriodMs(env: NotifyEnvironment, pid: number): number | undefined {
  const microseconds = Number(env.WATCHDOG_USEC)
  if (!(microseconds > 0) || (env.WATCHDOG_PID && Number(env.WATCHDOG_PID) !== pid)) return undefined
  return microseconds / 1000
}

/** A message may be sent twice. On a machine that is very busy, systemd-notify gives up waiting before systemd has looked. */
async function sendMessage(socket: string, message: string, attempt = 1): Promise<void> {
  try {
    await run('systemd-notify', [message], {
      env: { PATH: '/usr/bin:/bin', NOTIFY_SOCKET: socket },
      timeout: TIMEOUT_MS,
    })
  } catch (cause) {
    if (attempt < mostAttempts) return sendMessage(socket, message, attempt + 1)
    throw new ProblemError('SYSTEMD_NOTIFY', {
      what: `systemd could not be told ${message.split('=')[0]}`,
      why: cause instanceof Error ? cause.message.trim() : String(cause),
      fix: 'see whether the unit has NotifyAccess=all, and `systemd-notify` is installed',
      cause,
    })
  }
}
