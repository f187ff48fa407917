import type { UserName } from '../../config/users/names.ts'
import type { ExternalIdentities } from './external-identities.ts'
import type { Logins } from './last-logins.ts'
import type { Passwords } from './passwords.ts'

export interface KnownNeeds {
  passwords: Pick<Passwords, 'has'>
  logins: Pick<Logins, 'of'>
  identities: Pick<ExternalIdentities, 'accountOf'>
}

/** Whether somebody has come by that name before, by whatever way: then it is theirs. */
export function isKnownHere({ passwords, logins, identities }: KnownNeeds, user: UserName): boolean {
  return passwords.has(user) || logins.of(user) !== undefined || identities.accountOf(user) !== undefined
}
