/** The ways in that the configuration names, at this moment and in its order. */

import { isOAuthKind, type OAuthKind } from '../../config/meaning/auth-oauth.ts'
import type { Config } from '../../config/meaning/config.ts'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import { installedLayout } from '../../machine/layout.ts'
import type { Passwords } from '../credentials/passwords.ts'
import type { ExternalAuthenticator, ExternalFlow, PasswordAuthenticator } from './authenticator.ts'
import { ldap } from './ldap.ts'
import type { ProviderClients } from './oauth-client.ts'
import { clientOf, labelOf, type OpenIdKind } from './oauth-providers.ts'
import { pam } from './pam.ts'
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
  // Most hubs have no such way, and what leads there and back is big.
  let clients: ProviderClients | undefined
  const openIdFlow = async (kind: OpenIdKind) => {
    const [{ openIdConnect }, { createProviderClients }] = await Promise.all([
      import('./openid-connect.ts'),
      import('./oauth-client.ts'),
    ])
    clients ??= createProviderClients()
    return openIdConnect(kind, { ...options, clients })
  }
  const external = (kind: OAuthKind): ExternalAuthenticator => {
    const flow = async (): Promise<ExternalFlow> =>
      kind === 'github' ? (await import('./github.ts')).github(options) : openIdFlow(kind)
    return {
      kind,
      get label() {
        return labelOf(kind, options.config().auth.options)
      },
      get callback() {
        return clientOf(kind, options.config().auth.options).callback
      },
      begin: async (...given) => (await flow()).begin(...given),
      complete: async (...given) => (await flow()).complete(...given),
    }
  }
  const inForce = () => options.config().auth.kinds
  return {
    forPasswords: () => inForce().flatMap(kind => passwordKinds[kind] ?? []),
    external: () => inForce().flatMap(kind => (isOAuthKind(kind) ? [external(kind)] : [])),
    isExternal: isOAuthKind,
  }
}
