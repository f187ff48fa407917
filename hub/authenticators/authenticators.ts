/** The ways in that the configuration names, at this moment and in its order. */
import type { AuthenticatorKind } from '../../config/authenticators.ts'
import type { Config } from '../../config/config.ts'
import type { Passwords } from '../passwords.ts'
import type { ExternalAuthenticator, PasswordAuthenticator } from './authenticator.ts'
import { sharedPassword } from './shared-password.ts'
import { storedPasswords } from './stored-password.ts'

export interface Authenticators {
  /** Those that are asked with a name and a password. */
  forPasswords(): PasswordAuthenticator[]
  /** Those that lead to another site and back. */
  external(): ExternalAuthenticator[]
  /** Whether that way leads to another site. */
  isExternal(kind: AuthenticatorKind): boolean
}

export interface AuthenticatorsOptions {
  config: () => Config
  passwords: Passwords
}

export function createAuthenticators(options: AuthenticatorsOptions): Authenticators {
  const passwordKinds: Partial<Record<AuthenticatorKind, PasswordAuthenticator>> = {
    'first-use': storedPasswords('first-use', options),
    native: storedPasswords('native', options),
    'shared-password': sharedPassword('shared-password', options),
    dummy: sharedPassword('dummy', options),
  }
  const externalKinds: Partial<Record<AuthenticatorKind, ExternalAuthenticator>> = {}
  const named = <Kind>(known: Partial<Record<AuthenticatorKind, Kind>>) =>
    options.config().auth.kinds.flatMap(kind => known[kind] ?? [])
  return {
    forPasswords: () => named(passwordKinds),
    external: () => named(externalKinds),
    isExternal: kind => Object.hasOwn(externalKinds, kind),
  }
}
