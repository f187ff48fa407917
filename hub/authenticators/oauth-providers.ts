/**
 * What differs from one provider of OpenID Connect to the next, read from the options: its address, what to ask it for, and how to
 * read what it says of somebody.
 *
 * What always holds: an account of an organization that is not among those named (`hosted_domain`, `allowed_idps`) is nobody,
 * whatever else lets people in; an e-mail address is a name only where the provider says that it was verified, or where the
 * institution that says so owns the domain.
 */

import { type OAuthKind, oauthSectionOf } from '../../config/meaning/auth-oauth.ts'
import type { Config } from '../../config/meaning/config.ts'
import { ProblemError } from '../../problem.ts'

export type Claims = Readonly<Record<string, unknown>>
export type OpenIdKind = Exclude<OAuthKind, 'github'>
type AuthOptions = Config['auth']['options']

/** What a provider must be told of the hub, whichever it is. */
export interface Client {
  id: string
  secret: string | undefined
  /** Whether the secret goes into a header; undefined: as the provider wants. */
  isBasic: boolean | undefined
  /** As it stands in the file; undefined: as the browser sees the hub. */
  callback: string | undefined
}

export interface Provider {
  /** As in 'Log in with Google'. */
  label: string
  client: Client
  issuer: URL
  scopes: string[]
  /** More parameters for the provider's login page. */
  parameters: Record<string, string>
  /** What must be known of somebody; what the ID token does not have is asked for. */
  claims: readonly string[]
  /** The claim that is the same for ever, and nobody else's. */
  subjectClaim: string
  /** Throws `AUTH_…` where that is nobody. */
  read(claims: Claims): Person
}

/** Somebody, as the provider tells. */
export interface Person {
  /** In lower case; it need not be a name that can be used here. */
  name: string
  /** Where that was said. */
  claim: string
  /** Whether the options of this way let in somebody whom the file does not name. */
  isWelcome: boolean
}

const labels: Record<OAuthKind, string> = {
  oidc: 'OpenID Connect',
  keycloak: 'Keycloak',
  github: 'GitHub',
  google: 'Google',
  microsoft: 'Microsoft',
  gitlab: 'GitLab',
  auth0: 'Auth0',
  cognito: 'Amazon Cognito',
  cilogon: 'CILogon',
}

export function labelOf(kind: OAuthKind, options: AuthOptions): string {
  return options[oauthSectionOf[kind]]?.login_service || labels[kind]
}

export function clientOf(kind: OAuthKind, options: AuthOptions): Client {
  const {
    client_id: id,
    client_secret: secret,
    basic_auth: isBasic,
    oauth_callback_url: callback,
  } = options[oauthSectionOf[kind]] ?? {}
  return { id: id ?? '', secret: secret || undefined, isBasic, callback: callback || undefined }
}

/** What the options of a way say. They have been checked (config/meaning/auth-oauth.ts). */
export function providerOf(kind: OpenIdKind, options: AuthOptions): Provider {
  const own = options[oauthSectionOf[kind]] ?? {}
  const common = {
    label: labelOf(kind, options),
    client: clientOf(kind, options),
    parameters: { ...(own.extra_authorize_params ?? {}) },
    subjectClaim: 'sub',
  }
  const allowAll = own.allow_all ?? false
  const scopes = (...usual: string[]) => [...new Set(['openid', ...(own.scope ?? usual)])]

  switch (kind) {
    case 'google': {
      const { username_claim: claim = 'email', hosted_domain: domains } = options.GoogleOAuthenticator ?? {}
      const hosts = (domains ?? []).map(domain => domain.toLowerCase())
      const [only] = hosts
      return {
        ...common,
        issuer: new URL('https://accounts.google.com'),
        scopes: scopes('email'),
        parameters: { ...(only ? { hd: hosts.length === 1 ? only : '*' } : {}), ...common.parameters },
        claims: [...claimsForName(claim), ...(only ? ['hd'] : [])],
        read(claims) {
          const hd = text(claims.hd).toLowerCase()
          if (only && !hosts.includes(hd))
            throw otherOrganization(common.label, hd, 'auth.GoogleOAuthenticator.hosted_domain')
          const name = nameIn(claims, claim, common.label)
          const isStripped = hosts.length === 1 && name.endsWith(`@${only}`)
          return { name: isStripped ? name.slice(0, name.lastIndexOf('@')) : name, claim, isWelcome: allowAll }
        },
      }
    }
    case 'gitlab': {
      const {
        username_claim: claim = 'preferred_username',
        allowed_gitlab_groups: allowed,
        gitlab_url: url,
      } = options.GitLabOAuthenticator ?? {}
      return {
        ...common,
        issuer: new URL(url || 'https://gitlab.com'),
        scopes: scopes('profile', 'email'),
        // Of GitLab, these are the groups that one is a member of, by the groups above them, too: not those that one can see.
        claims: [...claimsForName(claim), ...(allowed?.length ? ['groups'] : [])],
        read: claims => ({
          name: nameIn(claims, claim, common.label),
          claim,
          isWelcome: allowAll || isMember(claims, 'groups', allowed),
        }),
      }
    }
    case 'cilogon':
      return cilogon(options, common, scopes('email', 'profile', 'org.cilogon.userinfo'))
    default: {
      const { allowed_groups: allowed, username_claim: named } = options[oauthSectionOf[kind]] ?? {}
      const claim = named ?? usualClaims[kind]
      const key = groupsKey(kind, options)
      return {
        ...common,
        issuer: issuerOf(kind, options),
        scopes: scopes('profile', 'email'),
        // Microsoft's `sub` is another for each registration of the same hub.
        subjectClaim: kind === 'microsoft' ? 'oid' : 'sub',
        claims: [...claimsForName(claim), ...(allowed?.length ? [key.split('.')[0] ?? key] : [])],
        read: claims => ({
          name: nameIn(claims, claim, common.label),
          claim,
          isWelcome: allowAll || isMember(claims, key, allowed),
        }),
      }
    }
  }
}

type OrdinaryKind = Exclude<OpenIdKind, 'google' | 'gitlab' | 'cilogon'>

const usualClaims: Record<OrdinaryKind, string> = {
  oidc: 'preferred_username',
  keycloak: 'preferred_username',
  microsoft: 'preferred_username',
  auth0: 'email',
  cognito: 'cognito:username',
}

function issuerOf(kind: OrdinaryKind, options: AuthOptions): URL {
  switch (kind) {
    case 'microsoft':
      return new URL(`https://login.microsoftonline.com/${options.AzureAdOAuthenticator?.tenant_id}/v2.0`)
    case 'auth0': {
      const { auth0_domain: domain, auth0_subdomain: subdomain } = options.Auth0OAuthenticator ?? {}
      return new URL(`https://${domain || `${subdomain}.auth0.com`}/`)
    }
    default:
      return new URL(options[oauthSectionOf[kind]]?.issuer ?? '')
  }
}

/** In oauthenticator, the claims stand below `oauth_user`. */
function groupsKey(kind: OrdinaryKind, options: AuthOptions): string {
  const { auth_state_groups_key: key, claim_groups_key: older } = options[oauthSectionOf[kind]] ?? {}
  const microsofts = kind === 'microsoft' ? options.AzureAdOAuthenticator?.user_groups_claim : undefined
  const usual = kind === 'cognito' ? 'cognito:groups' : 'groups'
  return key?.replace(/^oauth_user\./, '') ?? older ?? microsofts ?? usual
}

type Common = Pick<Provider, 'label' | 'client' | 'parameters' | 'subjectClaim'>

/** CILogon speaks for thousands of institutions; a name is one of that institution, never of all. */
function cilogon(options: AuthOptions, common: Common, scopes: string[]): Provider {
  const { allowed_idps: listed, allow_all: allowAll = false } = options.CILogonOAuthenticator ?? {}
  const institutions = listed ?? {}
  const claims = Object.values(institutions).flatMap(idp =>
    claimsForName(idp.username_derivation?.username_claim ?? ''),
  )
  return {
    ...common,
    issuer: new URL('https://cilogon.org'),
    scopes,
    parameters: { selected_idp: Object.keys(institutions).join(','), ...common.parameters },
    claims: [...new Set(['idp', ...claims])],
    read(claims) {
      const idp = text(claims.idp)
      const institution = Object.hasOwn(institutions, idp) ? institutions[idp] : undefined
      if (!institution) throw otherOrganization(common.label, idp, 'auth.CILogonOAuthenticator.allowed_idps')
      const { username_claim: claim = '', action, domain, prefix } = institution.username_derivation ?? {}
      const domains = (institution.allowed_domains ?? []).map(one => one.toLowerCase())
      const own = domain ? [domain.toLowerCase(), ...domains] : domains
      const whole = nameIn(claims, claim, common.label, own)
      const [, before = '', at = ''] = /^(.*)@([^@]*)$/.exec(whole) ?? []
      const isStripped = action === 'strip_idp_domain' && at === domain?.toLowerCase()
      const name = action === 'prefix' ? `${lowered(prefix ?? '')}-${whole}` : isStripped ? before : whole
      return { name, claim, isWelcome: allowAll || (institution.allow_all ?? false) || domains.includes(at) }
    },
  }
}

function claimsForName(claim: string): string[] {
  return claim === 'email' ? ['email', 'email_verified'] : [claim]
}

/**
 * The name that a claim holds, in lower case. Only ASCII is lowered: of other letters, some become ones of ASCII, and so
 * somebody else's name (the sign for Kelvin becomes a k). `ownDomains` are those whose addresses need no other proof.
 */
function nameIn(claims: Claims, claim: string, label: string, ownDomains: readonly string[] = []): string {
  const value = claims[claim]
  if (typeof value !== 'string' || value === '') {
    throw new ProblemError('AUTH_NAME', {
      what: `${label} did not say what your user name is`,
      why: `there is no ${claim} in its answer, which has: ${Object.keys(claims).slice(0, 30).join(', ')}`,
      fix: 'An administrator can name another with username_claim, or ask for more with scope',
    })
  }
  const name = lowered(value)
  const domain = name.slice(name.lastIndexOf('@') + 1)
  const isVerified = claims.email_verified === true || claims.email_verified === 'true'
  if (claim === 'email' && !isVerified && !ownDomains.includes(domain)) {
    throw new ProblemError('AUTH_EMAIL_UNVERIFIED', {
      what: `${label} knows you as ${shown(value)}, which does not count`,
      why: 'the address is not verified there, so it could be somebody else’s',
      fix: `Have ${label} verify your address. If it never does, an administrator names another claim with username_claim`,
    })
  }
  return name
}

export function lowered(value: string): string {
  return value.replace(/[A-Z]+/g, letters => letters.toLowerCase())
}

/** Whether somebody is in one of those groups. The key may be a name as a whole, or lead inwards by its dots. */
function isMember(claims: Claims, key: string, allowed: readonly string[] | null | undefined): boolean {
  if (!allowed?.length) return false
  const found = Object.hasOwn(claims, key) ? claims[key] : key.split('.').reduce<unknown>(inner, claims)
  return Array.isArray(found) && found.some(group => typeof group === 'string' && allowed.includes(group))
}

function inner(value: unknown, step: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, step)
    ? Reflect.get(value, step)
    : undefined
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** A text of a provider's, as it goes into a sentence. */
export function shown(value: string): string {
  return JSON.stringify(value.length <= 80 ? value : `${value.slice(0, 80)}…`)
}

function otherOrganization(label: string, organization: string, key: string): ProblemError {
  return new ProblemError('AUTH_NOT_ALLOWED', {
    what: `Your account at ${label} may not enter here`,
    why: organization
      ? `it belongs to ${shown(organization)}, which ${key} does not name`
      : `it belongs to no organization, and ${key} names those that count`,
    fix: 'Log in with the account of your school. If you have, ask an administrator to name it',
  })
}
