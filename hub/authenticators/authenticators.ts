/** The ways in that the configuration names, at this moment and in its order. */
import type { AuthenticatorKind } from '../../config/authenticators.ts'
import type { Config } from '../../config/config.ts'
import { installedLayout } from '../../config/paths.ts'
import type { Passwords } from '../passwords.ts'
import type { ExternalAuthenticator, PasswordAuthenticator } from './authenticator.ts'
import { github } from './github.ts'
import { ldap } from './ldap.ts'
import { openIdConnect } from './openid-connect.ts'
import { pam } from './pam.ts'
import { createProviderClients } from './provider-client.ts'
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
  /** The socket of tljh-pam.socket, where it is not at its place. */
  pamSocket?: string
  /** Told what an administrator should know. */
  log?: (line: string) => void
}

export function createAuthenticators(options: AuthenticatorsOptions): Authenticators {
  const passwordKinds: Partial<Record<AuthenticatorKind, PasswordAuthenticator>> = {
    'first-use': storedPasswords('first-use', options),
    native: storedPasswords('native', options),
    'shared-password': sharedPassword('shared-password', options),
    dummy: sharedPassword('dummy', options),
    ldap: ldap(options),
    pam: pam({ pamSocket: installedLayout.pamSocket, ...options }),
  }
  const openId = { ...options, clients: createProviderClients() }
  const externalKinds: Partial<Record<AuthenticatorKind, ExternalAuthenticator>> = {
    oidc: openIdConnect('oidc', openId),
    github: github(options),
    google: openIdConnect('google', openId),
    microsoft: openIdConnect('microsoft', openId),
    gitlab: openIdConnect('gitlab', openId),
    auth0: openIdConnect('auth0', openId),
    cognito: openIdConnect('cognito', openId),
    cilogon: openIdConnect('cilogon', openId),
    keycloak: openIdConnect('keycloak', openId),
  }
  const named = <Kind>(known: Partial<Record<AuthenticatorKind, Kind>>) =>
    options.config().auth.kinds.flatMap(kind => known[kind] ?? [])
  return {
    forPasswords: () => named(passwordKinds),
    external: () => named(externalKinds),
    isExternal: kind => Object.hasOwn(externalKinds, kind),
  }
}
