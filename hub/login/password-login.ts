/**
 * Who has typed that name and that password: asks each way in that takes passwords, and the one-time codes.
 *
 * Every refusal reads the same and takes the same time, so the page tells nobody which names exist: each way is asked for each
 * attempt, whatever the others say.
 *
 * Where very many attempts have failed at an address (hub/login/throttle.ts), only names of people are looked at, and the answer comes at the same time for
 * all. So a class gets in from the address of somebody who guesses, and the guesser learns nothing. A right one-time code always
 * gets in: it has 59 random bits, which nobody guesses.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { ConfigFile } from '../../config/change/in-force.ts'
import { isNamed, mayEnter, mayKeepSession } from '../../config/meaning/who-may-enter.ts'
import { type AuthenticatorKind, storingKinds } from '../../config/schema/auth.ts'
import { isUserName, parseUserName, type UserName } from '../../config/users/names.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'
import type { Typed } from '../authenticators/authenticator.ts'
import type { Authenticators } from '../authenticators/authenticators.ts'
import type { Logins } from '../credentials/last-logins.ts'
import type { OneTimeCodes } from '../credentials/one-time-codes.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { Attempt, Throttle } from './throttle.ts'

export type Login =
  | { kind: 'user'; user: UserName; way: AuthenticatorKind }
  /** The password was a one-time code: a password is to be chosen now. */
  | { kind: 'code'; user: UserName; code: string }

export interface LoginDesk {
  /**
   * Who has logged in from that address (of the internet). Throws `LOGIN_REFUSED`, `LOGIN_TOO_OFTEN`, `LOGIN_CROWDED`,
   * `LOGINS_TOO_MANY`, and what a way throws.
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
  logins: Pick<Logins, 'of'>
  throttle: Throttle
  /** Resolves when an attempt from a crowded address is to be refused; usually after so many milliseconds. */
  crowdPatience?: (ms: number) => Promise<unknown>
}

/**
 * Refusals to a crowded address come at the end of such a period: most looks are over by then (hub/credentials/passwords.ts), so that the time of an answer does
 * not tell whether there was one.
 */
const crowdPeriodMs = 3_000
const minuteMs = 60_000
/** Looked up where no user is meant, so that it takes as long. */
const nobody = parseUserName('nobody')

/** What a way that does not know somebody comes to, beside those that are broken. */
const saysNo = Symbol('no')

export function createLoginDesk({
  config,
  authenticators,
  passwords,
  codes,
  logins,
  throttle,
  crowdPatience = delay,
}: LoginDeskOptions): LoginDesk {
  /** The name as it is counted, and whose it is, if that person may enter. */
  function meant(username: string): { name: string; user: UserName | undefined } {
    const name = username.trim().toLowerCase()
    return { name: name.slice(0, 64), user: isUserName(name) && mayEnter(config.current(), name) ? name : undefined }
  }

  /** Whether the configuration names the user, or the user was here before. */
  function isPerson(user: UserName | undefined): boolean {
    return (
      user !== undefined && (isNamed(config.current(), user) || passwords.has(user) || logins.of(user) !== undefined)
    )
  }

  /** The way in for which a one-time code gives a password. */
  function storingWay(user: UserName): AuthenticatorKind | undefined {
    return config
      .current()
      .auth.kinds.find(kind => storingKinds.includes(kind) && mayKeepSession(config.current(), user, kind))
  }

  function isCodeOf(user: UserName | undefined, text: string): boolean {
    const isRight = codes.isRight(user ?? nobody, text)
    return user !== undefined && storingWay(user) !== undefined && isRight
  }

  /** The slowest look at a name from a crowded address in the last minute. */
  let slowest = { ms: 0, until: 0 }

  /** What comes of an attempt. Throws `LOGIN_CROWDED` for whatever comes of it but a login, where the address is crowded. */
  async function look(attempt: Attempt, typed: Typed, user: UserName | undefined): Promise<Login | undefined> {
    if (!attempt.isCrowded) return ask(typed, user)
    const began = performance.now()
    const took = () => performance.now() - began
    let failure: unknown
    if (attempt.isLookedAt) {
      try {
        const login = await ask(typed, user)
        if (login) return login
      } catch (error) {
        // What a way says of it would tell that there was a look.
        failure = error
      } finally {
        if (took() > slowest.ms || performance.now() > slowest.until)
          slowest = { ms: took(), until: performance.now() + minuteMs }
      }
    }
    // What is refused unseen takes as long as what was looked at.
    const least = performance.now() < slowest.until ? slowest.ms : 0
    const periods = Math.max(1, Math.ceil(Math.max(took(), least) / crowdPeriodMs))
    await crowdPatience(periods * crowdPeriodMs - took())
    throw failure === undefined || failure instanceof ProblemError ? crowded() : failure
  }

  async function ask(typed: Typed, user: UserName | undefined): Promise<Login | undefined> {
    const ways = authenticators.forPasswords()
    // A way by which the name may not come must not even store a password for it.
    const comingBy = (way: AuthenticatorKind) =>
      user && mayKeepSession(config.current(), user, way) ? user : undefined
    const asked = ways.map(async (way): Promise<Login> => {
      const found = await way.authenticate(typed, comingBy(way.kind))
      if (found && mayKeepSession(config.current(), found, way.kind))
        return { kind: 'user', user: found, way: way.kind }
      throw saysNo
    })
    // Whoever is right does not wait for the ways that are slow to say no; a refusal waits for all of them.
    const answers = await Promise.any(asked).catch((error: AggregateError) => error.errors as unknown[])
    if (!Array.isArray(answers)) return answers
    // Somebody whom one way knows must not be kept out by another that is broken; but it is said why nobody was found.
    for (const answer of answers) if (answer !== saysNo) throw answer
    return undefined
  }

  return {
    async logIn(typed, address) {
      const { name, user } = meant(typed.username)
      const isCode = isCodeOf(user, typed.password)
      if (user && isCode) return { kind: 'code', user, code: typed.password }
      const attempt = throttle.begin('password', name, address, isPerson(user))
      const login = await look(attempt, typed, user)
      if (!login) throw refused()
      attempt.succeeded()
      return login
    },
    async choosePassword({ username, code, password }, address) {
      const { name, user } = meant(username)
      const way = user && storingWay(user)
      if (!user || !way || !isCodeOf(user, code)) {
        // No password is looked at here, so that there is nothing to tell names from each other by.
        throttle.begin('password', name, address, false)
        throw codeVoid()
      }
      const stored = await passwords.prepare(user, password, { isCertain: true })
      try {
        if (!codes.use(user, code, () => passwords.put(user, stored))) throw codeVoid()
      } catch (error) {
        throw isDiskFull(error) ? notSaved(error) : error
      }
      throttle.letIn('password', name, address)
      return { user, way }
    },
    async isPasswordOf(user, password, address) {
      const attempt = throttle.begin('password', user, address, true)
      const login = await look(attempt, { username: user, password }, user)
      const isRight = login?.kind === 'user' && login.user === user
      if (isRight) attempt.succeeded()
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

/** The same for a wrong password, a name that nobody has, and a name that may not be tried now. */
function crowded(): ProblemError {
  return new ProblemError('LOGIN_CROWDED', {
    what: 'Login failed',
    why: 'the user name or password is wrong, or there were too many wrong attempts from your network',
    fix: 'Check both, and try again in a minute. With a one-time code from your teacher you get in at once',
  })
}

function codeVoid(): ProblemError {
  return new ProblemError('CODE_VOID', {
    what: 'That password can’t be used',
    why: 'the user name or the one-time code is not right, or the code was used, replaced by a newer one, or has run out',
    fix: 'Check both, or ask your teacher for a new one-time code',
  })
}
