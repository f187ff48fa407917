/**
 * Passwords that the hub keeps: those of first use and of sign-up, which differ in how somebody comes by one.
 *
 * First use: with `create_users`, somebody whom the file does not name chooses a password by logging in; with `claim_named_users`,
 * somebody whom it names does, as with TLJH. An administrator never does: that account is the machine's.
 */
import type { Config } from '../../config/meaning/config.ts'
import { isAdmin, namedIn } from '../../config/meaning/who-may-enter.ts'
import type { UserName } from '../../config/users/names.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { PasswordAuthenticator } from './authenticator.ts'

export function storedPasswords(
  kind: 'first-use' | 'native',
  { config, passwords }: { config: () => Config; passwords: Passwords },
): PasswordAuthenticator {
  return {
    kind,
    async authenticate({ username, password }, user) {
      const answer = await passwords.check(user, password)
      if (user && answer === 'right') return user
      if (kind === 'native') return undefined
      // Said to everybody alike, or it would tell which names are there and have no password yet.
      if (anybodyChooses(config())) passwords.mustBeUsable(username, password)
      if (!user || answer !== 'unset' || !mayChoose(config(), user)) return undefined
      return (await passwords.setFirst(user, password, { isCertain: false })) ? user : undefined
    },
  }
}

function anybodyChooses({ auth: { options } }: Config): boolean {
  const { create_users: createsUsers = false, claim_named_users: claims = false } = options.FirstUseAuthenticator ?? {}
  return createsUsers || claims
}

function mayChoose(config: Config, user: UserName): boolean {
  const { create_users: createsUsers = false, claim_named_users: claims = false } =
    config.auth.options.FirstUseAuthenticator ?? {}
  if (isAdmin(config, user)) return false
  // Whom the file names is somebody: nobody becomes that by being the first to say so.
  return namedIn(config).has(user) ? claims : createsUsers
}
