/**
 * Accounts of the machine itself: a password is right where PAM says so, and the account may log in.
 *
 * The hub is nobody on the machine and cannot ask PAM. It asks a small program that runs as root for one question, behind a socket that only
 * the hub may open (installer/units/tljh-pam.socket, spawner/pam/authenticate.py). What is asked is a name and a password; what is
 * answered is yes or no.
 *
 * What always holds: a person whom the file does not name enters only by `allow_all`; a PAM that hangs costs the person ten
 * seconds, and keeps nobody out who comes by another way.
 */
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Config } from '../../config/meaning/config.ts'
import { isNamed, ownAccount } from '../../config/meaning/who-may-enter.ts'
import { isUserName, type UserName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import type { PasswordAuthenticator } from './authenticator.ts'

export interface PamAuthenticatorOptions {
  config: () => Config
  /** The socket of tljh-pam.socket. */
  pamSocket: string
}

/** Longer than RuntimeMaxSec= of the unit: then it is known that PAM hangs, and not how. */
const timeoutMs = 12_000
/** systemd closes what comes beyond MaxConnections= of the socket without a word. */
const mostAtOnce = 8
const mostWaiting = 200
/** PAM_MAX_RESP_SIZE, with the zero at the end. */
const mostPasswordBytes = 511

export function pam({ config, pamSocket }: PamAuthenticatorOptions): PasswordAuthenticator {
  const inLine = createLine(mostAtOnce)

  return {
    kind: 'pam',
    async authenticate({ username, password }) {
      const name = username.trim().toLowerCase()
      if (
        !isUserName(name) ||
        !password ||
        password.includes('\0') ||
        Buffer.byteLength(password) > mostPasswordBytes
      ) {
        return undefined
      }
      // Asked for names that have no account, too: the answer takes the same time.
      const isRight = await inLine(() => ask(pamSocket, name, password))
      return isRight && mayEnterBy(config(), name) ? name : undefined
    },
  }
}

function mayEnterBy(config: Config, user: UserName): boolean {
  const isOpen = config.auth.options.PAMAuthenticator?.allow_all === true
  return ownAccount(config, user) !== undefined && (isOpen || isNamed(config, user))
}

/** Whether PAM says yes. Throws `AUTH_UNREACHABLE` where it says nothing. */
async function ask(path: string, name: string, password: string): Promise<boolean> {
  const socket = connect(path)
  const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${timeoutMs / 1000} seconds`)), timeoutMs)
  try {
    socket.end(`${name}\0${password}\0`)
    const answer = await text(socket)
    if (answer === 'yes\n') return true
    if (answer === 'no\n') return false
    throw new Error('it ended without an answer')
  } catch (cause) {
    throw unreachable(cause)
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}

/** Does so many things at once, and lets others wait in line. */
function createLine(most: number): <Value>(work: () => Promise<Value>) => Promise<Value> {
  let free = most
  const waiting: (() => void)[] = []
  return async work => {
    if (free > 0) free--
    else if (waiting.length >= mostWaiting) throw unreachable(new Error('too many people log in at this moment'))
    else await new Promise<void>(resolve => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else free++
    }
  }
}

function unreachable(cause: unknown): ProblemError {
  return new ProblemError('AUTH_UNREACHABLE', {
    what: 'The accounts of this machine (PAM) cannot be asked who you are',
    why: cause instanceof Error ? cause.message : String(cause),
    fix: 'Try again later. An administrator finds out more with: sudo journalctl --unit=tljh-pam.socket --unit="tljh-pam@*"',
    cause,
  })
}
