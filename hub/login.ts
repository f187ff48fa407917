/**
 * Who has typed that name and that password: asks each way in that takes passwords, and the one-time codes.
 *
 * Every refusal reads the same and takes the same time, so the page tells nobody which names exist: each way is asked for each
 * attempt, whatever the others say.
 */

import { type AuthenticatorKind, storingKinds } from '../config/authenticators.ts'
import { mayEnter } from '../config/config.ts'
import type { ConfigFile } from '../config/file.ts'
import { isUserName, type UserName } from '../config/names.ts'
import { isDiskFull, ProblemError } from '../problem.ts'
import { mayHaveSession } from './access.ts'
import type { Typed } from './authenticators/authenticator.ts'
import type { Authenticators } from './authenticators/authenticators.ts'
import type { OneTimeCodes } from './one-time-codes.ts'
import type { Passwords } from './passwords.ts'
import type { Throttle } from './throttle.ts'

export type Login =
  | { kind: 'user'; user: UserName; way: AuthenticatorKind }
  /** The password was a one-time code: a password is to be chosen now. */
  | { kind: 'code'; user: UserName; code: string }

export interface LoginDesk {
  /**
   * Who has logged in from that address (of the internet). Throws `LOGIN_REFUSED`, `LOGIN_TOO_OFTEN`, `LOGINS_TOO_MANY`, and what a
   * way throws.
   */
  logIn(typed: Typed, address: string): Promise<Login>
  /**
   * Uses a one-time code up for a password, which counts from now on. Throws `CODE_VOID`, `LOGIN_TOO_OFTEN`, and what
   * `Passwords.set` throws; the code is kept then.
   */
  choosePassword(
    typed: { username: string; code: string; password: string },
    address: string,
  ): Promise<{ user: UserName; way: AuthenticatorKind }>
  /** Whether that is the user's password, for somebody who is logged in. Throws as `logIn` does; `PASSWORD_WRONG` of the caller. */
  isPasswordOf(user: UserName, password: string, address: string): Promise<boolean>
}

export interface LoginDeskOptions {
  config: ConfigFile
  authenticators: Authenticators
  passwords: Passwords
  codes: OneTimeCodes
  throttle: Throttle
}

/** What a way that does not know somebody comes to, beside those that are broken. */
const saysNo = Symbol('no')

export function createLoginDesk({ config, authenticators, passwords, codes, throttle }: LoginDeskOptions): LoginDesk {
  async function ask(typed: Typed, user: UserName | undefined): Promise<Login | undefined> {
    const ways = authenticators.forPasswords()
    // A way by which the name may not come must not even store a password for it.
    const comingBy = (way: AuthenticatorKind) =>
      user && mayHaveSession(config.current(), user, way) ? user : undefined
    const asked = ways.map(async (way): Promise<Login> => {
      const found = await way.authenticate(typed, comingBy(way.kind))
      if (found && mayHaveSession(config.current(), found, way.kind))
        return { kind: 'user', user: found, way: way.kind }
      throw saysNo
    })
    // Whoever is right does not wait for the ways that are slow to say no; a refusal waits for all of them.
    const answers = await Promise.any(asked).catch((error: AggregateError) => error.errors as unknown[])
    if (!Array.isArray(answers)) return answers
    if (
      user &&
      config.current().auth.kinds.some(kind => storingKinds.includes(kind) && comingBy(kind)) &&
      codes.isRight(user, typed.password)
    ) {
      return { kind: 'code', user, code: typed.password }
    }
    // Somebody whom one way knows must not be kept out by another that is broken; but it is said why nobody was found.
    for (const answer of answers) if (answer !== saysNo) throw answer
    return undefined
  }

  return {
    async logIn(typed, address) {
      const name = typed.username.trim().toLowerCase()
      const user = isUserName(name) && mayEnter(config.current(), name) ? name : undefined
      const tried = name.slice(0, 64)
      await throttle.begin('password', tried, address)
      const login = await ask(typed, user)
      if (login) {
        await throttle.succeeded('password', tried, address)
        return login
      }
      throw refused()
    },
    async choosePassword({ username, code, password }, address) {
      const name = username.trim().toLowerCase()
      const tried = name.slice(0, 64)
      await throttle.begin('password', tried, address)
      const way = config.current().auth.kinds.find(kind => storingKinds.includes(kind))
      const user = isUserName(name) && mayEnter(config.current(), name) ? name : undefined
      if (!user || !way || !mayHaveSession(config.current(), user, way) || !codes.isRight(user, code)) throw codeVoid()
      const stored = await passwords.prepare(password)
      try {
        if (!codes.use(user, code, () => passwords.put(user, stored))) throw codeVoid()
      } catch (error) {
        throw isDiskFull(error) ? notSaved(error) : error
      }
      await throttle.succeeded('password', tried, address)
      return { user, way }
    },
    async isPasswordOf(user, password, address) {
      await throttle.begin('password', user, address)
      const login = await ask({ username: user, password }, user)
      const isRight = login?.kind === 'user' && login.user === user
      if (isRight) await throttle.succeeded('password', user, address)
      return isRight
    },
  }
}

function refused(): ProblemError {
  return new ProblemError('LOGIN_REFUSED', {
    what: 'You are not logged in',
    why: 'the user name or the password is not right',
    fix: 'Check both. Whoever is new, or has forgotten the password, gets a one-time code from an administrator and types it here as the password',
  })
}

function notSaved(cause: Error): ProblemError {
  return new ProblemError('DISK_FULL', {
    what: 'Your password was not saved',
    why: 'the hub’s disk is full',
    fix: 'Ask your teacher to make room, then try again. Your one-time code still works',
    cause,
  })
}

function codeVoid(): ProblemError {
  return new ProblemError('CODE_VOID', {
    what: 'That password was not taken',
    why: 'the user name or the one-time code is not right, or the code was used, replaced by a newer one, or has run out',
    fix: 'Check both. An administrator makes a new code with: sudo tljh-ts user invite NAME',
  })
}
