/**
 * What the section `auth` means for who may come: which ways in are open, and which of them let people in whom the file does
 * not name.
 */

import type { ProblemText } from '../../problem.ts'
import { type AuthenticatorKind, authenticatorKind, authenticatorKinds, authSchema } from '../schema/auth.ts'
import { ldapDefects } from '../schema/auth-directory.ts'
import type { ConfigFileContent } from '../schema/schema.ts'
import { isOAuthKind, oauthFaults, oauthLetsStrangersIn } from './auth-oauth.ts'

export type AuthOptions = NonNullable<NonNullable<ConfigFileContent>['auth']>

/** Something that a way in cannot do without. `path` is below `auth`. */
export interface Missing extends ProblemText {
  path: readonly string[]
}

/** The same options, whether a default is written or left out, and without what is empty. */
export function withDefaults(options: AuthOptions): AuthOptions {
  const sections = Object.entries(authSchema.properties).flatMap(([section, node]) => {
    if (section === 'type' || !('properties' in node)) return []
    const written = Object.entries(options).find(([name]) => name === section)?.[1] ?? {}
    const defaults = Object.entries(node.properties).flatMap(
      ([key, { default: value }]: [string, { default?: unknown }]) =>
        value === undefined || value === null ? [] : [[key, value] as const],
    )
    const set = Object.entries(written).filter(([, value]) => value !== null)
    return [[section, { ...Object.fromEntries(defaults), ...Object.fromEntries(set) }] as const]
  })
  return { ...Object.fromEntries(sections), type: authenticatorsIn(options) } as AuthOptions
}

/** The ways that `auth.type` names, each once, in its order. */
export function authenticatorsIn({ type = 'firstuse' }: AuthOptions): AuthenticatorKind[] {
  const names = typeof type === 'string' ? [type] : type
  return [...new Set(names.flatMap(name => authenticatorKind(name) ?? []))]
}

/** Whether somebody whom the file does not name can come by this way, if the way itself lets them. */
export function letsStrangersIn(kind: AuthenticatorKind, options: AuthOptions): boolean {
  switch (kind) {
    case 'first-use':
      return options.FirstUseAuthenticator?.create_users ?? false
    case 'native':
      return options.NativeAuthenticator?.open_signup ?? false
    case 'shared-password':
      return options.SharedPasswordAuthenticator?.allow_all ?? true
    case 'dummy':
      return options.DummyAuthenticator?.allow_all ?? true
    case 'temporary':
      return true
    case 'ldap':
      return options.LDAPAuthenticator?.allow_all || Boolean(options.LDAPAuthenticator?.allowed_groups?.length)
    case 'pam':
      return options.PAMAuthenticator?.allow_all ?? false
    default:
      return oauthLetsStrangersIn(kind, options)
  }
}

/** What is not there and must be. */
export function missingOptions(kind: AuthenticatorKind, options: AuthOptions): Missing[] {
  switch (kind) {
    case 'shared-password':
      return options.SharedPasswordAuthenticator?.user_password
        ? []
        : [missing(kind, 'user_password', 'without it, everybody could enter')]
    case 'dummy':
      return options.DummyAuthenticator?.password
        ? []
        : [missing(kind, 'password', 'without it, everybody could enter')]
    case 'ldap':
      return [...ldapDefects(options.LDAPAuthenticator ?? {})].map(({ option, why, fix }) => {
        const value = options.LDAPAuthenticator?.[option]
        const key = `auth.LDAPAuthenticator.${option}`
        const what =
          value === undefined || value === null ? `${key} is not set` : `${key} is set to ${JSON.stringify(value)}`
        return { path: ['LDAPAuthenticator', option], what, why, fix }
      })
    default:
      if (!isOAuthKind(kind)) return []
      return [...oauthFaults(kind, options)].map(({ option, ...words }) => ({
        path: [authenticatorKinds[kind].section, option],
        ...words,
      }))
  }
}

function missing(kind: AuthenticatorKind, option: string, why: string): Missing {
  const { section } = authenticatorKinds[kind]
  return {
    path: [section, option],
    what: `auth.${section}.${option} is not set`,
    why,
    fix: `Set it: tljh-ts config set auth.${section}.${option} VALUE`,
  }
}
