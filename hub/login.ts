/**
 * First use: whoever may enter and has no password yet chooses it by logging in. An administrator never does: that
 * account is the machine's, so its password comes from the installer or from `tljh-ts user passwd`.
 *
 * Every refusal reads the same and takes the same time, so the page tells nobody which names exist.
 */
import { type Config, isAdmin, mayEnter } from '../config/config.ts'
import { isUserName, type UserName } from '../config/names.ts'
import { ProblemError } from '../problem.ts'
import { type Passwords, tooShort } from './passwords.ts'

/** Answers who has logged in. Throws `LOGIN_REFUSED`, and what `Passwords.setFirst` throws. */
export async function logIn(
  config: Config,
  passwords: Passwords,
  typed: { username: string; password: string },
): Promise<UserName> {
  const name = typed.username.trim().toLowerCase()
  const user = isUserName(name) && mayEnter(config, name) ? name : undefined
  const answer = await passwords.check(user, typed.password)
  if (user && answer === 'right') return user
  // Said to everybody alike, or it would tell which names are there and have no password yet.
  if (typed.password.length < passwords.leastLength()) throw tooShort(typed.password, passwords.leastLength())
  if (user && answer === 'unset' && !isAdmin(config, user)) {
    if (await passwords.setFirst(user, typed.password)) return user
  }
  throw new ProblemError('LOGIN_REFUSED', {
    what: 'You are not logged in',
    why: 'the user name or the password is not right',
    fix: 'Check both. If the password is forgotten, an administrator sets a new one: sudo tljh-ts user passwd NAME',
  })
}
