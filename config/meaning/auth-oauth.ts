/**
 * What the options of a way in that leads to another site mean: whether they let strangers in, and what they cannot do without.
 *
 * A provider is only ever asked over https. The one exception is an address of the machine itself, which nobody else can answer at:
 * a provider that runs beside the hub, or a test's.
 */

import type { ProblemText } from '../../problem.ts'
import type { ConfigFileContent } from '../schema/schema.ts'

type AuthOptions = NonNullable<NonNullable<ConfigFileContent>['auth']>

export type OAuthKind =
  | 'oidc'
  | 'keycloak'
  | 'github'
  | 'google'
  | 'microsoft'
  | 'gitlab'
  | 'auth0'
  | 'cognito'
  | 'cilogon'

/** The section of the options of each. */
export const oauthSectionOf = {
  oidc: 'GenericOAuthenticator',
  keycloak: 'KeycloakOAuthenticator',
  github: 'GitHubOAuthenticator',
  google: 'GoogleOAuthenticator',
  microsoft: 'AzureAdOAuthenticator',
  gitlab: 'GitLabOAuthenticator',
  auth0: 'Auth0OAuthenticator',
  cognito: 'AWSCognitoAuthenticator',
  cilogon: 'CILogonOAuthenticator',
} as const satisfies Record<OAuthKind, keyof AuthOptions>

export function isOAuthKind(kind: string): kind is OAuthKind {
  return Object.hasOwn(oauthSectionOf, kind)
}

/** Whether somebody whom the file does not name can come by this way. */
export function oauthLetsStrangersIn(kind: OAuthKind, options: AuthOptions): boolean {
  if (options[oauthSectionOf[kind]]?.allow_all) return true
  switch (kind) {
    case 'google':
      return false
    case 'github':
      return isFilled(options.GitHubOAuthenticator?.allowed_organizations)
    case 'gitlab':
      return isFilled(options.GitLabOAuthenticator?.allowed_gitlab_groups)
    case 'cilogon':
      return Object.values(options.CILogonOAuthenticator?.allowed_idps ?? {}).some(
        idp => (idp.allow_all ?? false) || isFilled(idp.allowed_domains),
      )
    default:
      return isFilled(options[oauthSectionOf[kind]]?.allowed_groups)
  }
}

/** What is wrong with the options of a way; `option` is below its section. */
export function* oauthFaults(kind: OAuthKind, options: AuthOptions): Iterable<{ option: string } & ProblemText> {
  const own = options[oauthSectionOf[kind]] ?? {}
  const key = (option: string) => `auth.${oauthSectionOf[kind]}.${option}`
  const unset = (option: string, why: string, value = 'VALUE') => ({
    option,
    what: `${key(option)} is not set`,
    why,
    fix: `Set it: sudo tljh-ts config set ${key(option)} ${value}`,
  })
  if (!own.client_id) yield unset('client_id', 'the provider does not know this hub without it')
  if (!own.client_secret && !mayBePublic.includes(kind)) {
    yield unset('client_secret', 'the provider gives nothing to a hub without it')
  }
  for (const [option, value] of addressesIn(kind, options)) {
    if (value && !isSafeAddress(value)) yield { option, ...unsafe(key(option), value) }
  }
  if (own.oauth_callback_url && !isCallback(own.oauth_callback_url)) {
    yield {
      option: 'oauth_callback_url',
      what: `${key('oauth_callback_url')} is ${JSON.stringify(own.oauth_callback_url)}`,
      why: 'the hub takes people back at an address that ends in /hub/oauth_callback, and nowhere else',
      fix: 'Write it like https://hub.example.org/hub/oauth_callback, and the same at the provider',
    }
  }
  yield* faultsOfOne(kind, options, unset)
}

/** Whether a provider may be asked at that address. */
export function isSafeAddress(text: string): boolean {
  const url = URL.parse(text)
  if (!url || url.username || url.password) return false
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
}

/** Names below `localhost` are the machine's own (RFC 6761), and so are all of 127.0.0.0/8. */
function isLoopback(hostname: string): boolean {
  return /^(?:127(?:\.\d{1,3}){3}|\[::1\]|(?:[a-z0-9-]+\.)*localhost)$/.test(hostname)
}

/** With these, a client without a secret is usual: the key of each login (PKCE) stands for it. */
const mayBePublic: readonly OAuthKind[] = ['oidc', 'keycloak', 'cognito', 'auth0']

/** Anybody can have a tenant of their own, where anybody can have any name. */
const tenantsOfAnybody = ['common', 'organizations', 'consumers']

function* faultsOfOne(
  kind: OAuthKind,
  options: AuthOptions,
  unset: (option: string, why: string, value?: string) => { option: string } & ProblemText,
): Iterable<{ option: string } & ProblemText> {
  switch (kind) {
    case 'oidc':
    case 'keycloak':
    case 'cognito':
      if (!options[oauthSectionOf[kind]]?.issuer) {
        const why =
          'from it the hub learns the provider’s other addresses and keys (what stands before /.well-known/openid-configuration)'
        yield unset('issuer', why, 'https://…')
      }
      return
    case 'microsoft': {
      const { tenant_id: tenant } = options.AzureAdOAuthenticator ?? {}
      if (!tenant) yield unset('tenant_id', 'accounts of every organization would count')
      else if (tenantsOfAnybody.includes(tenant.toLowerCase())) {
        yield {
          option: 'tenant_id',
          what: `auth.AzureAdOAuthenticator.tenant_id is ${tenant}`,
          why: 'then everybody could bring an organization of their own, with any name in it',
          fix: 'Write the number of your organization, which the overview of Entra shows as ‘Tenant ID’',
        }
      }
      return
    }
    case 'auth0': {
      const { auth0_domain: domain, auth0_subdomain: subdomain } = options.Auth0OAuthenticator ?? {}
      if (!domain && !subdomain) yield unset('auth0_domain', 'each tenant of Auth0 has its own', 'NAME.auth0.com')
      return
    }
    case 'cilogon':
      yield* faultsOfInstitutions(options.CILogonOAuthenticator?.allowed_idps ?? {}, unset)
      return
    default:
      return
  }
}

type Institutions = NonNullable<NonNullable<AuthOptions['CILogonOAuthenticator']>['allowed_idps']>

function* faultsOfInstitutions(
  institutions: Institutions,
  unset: (option: string, why: string) => { option: string } & ProblemText,
): Iterable<{ option: string } & ProblemText> {
  const entries = Object.entries(institutions)
  if (!entries.length)
    yield unset('allowed_idps', 'accounts of every institution would count, and of Google and GitHub besides')
  for (const [id, { username_derivation: derivation = {} }] of entries) {
    const { username_claim: claim, action, domain, prefix } = derivation
    const lacks = !claim
      ? 'username_claim'
      : action === 'strip_idp_domain' && !domain
        ? 'domain'
        : action === 'prefix' && !prefix
          ? 'prefix'
          : ''
    if (!lacks) continue
    yield {
      option: 'allowed_idps',
      what: `username_derivation of ${id} has no ${lacks}`,
      why: 'without it nobody of that institution has a name here',
      fix: 'Write it like username_derivation: {username_claim: eppn, action: strip_idp_domain, domain: my-school.edu}',
    }
  }
}

function addressesIn(kind: OAuthKind, options: AuthOptions): [string, string | null | undefined][] {
  switch (kind) {
    case 'oidc':
    case 'keycloak':
    case 'cognito':
      return [['issuer', options[oauthSectionOf[kind]]?.issuer]]
    case 'github': {
      const { github_url: url, github_api_url: api } = options.GitHubOAuthenticator ?? {}
      return [
        ['github_url', url],
        ['github_api_url', api],
      ]
    }
    case 'gitlab':
      return [['gitlab_url', options.GitLabOAuthenticator?.gitlab_url]]
    default:
      return []
  }
}

function unsafe(key: string, value: string): ProblemText {
  return {
    what: `${key} is ${JSON.stringify(value)}`,
    why: 'what a provider says counts only over https, where nobody else can say it (http is for this machine itself)',
    fix: 'Write it like https://login.example.org',
  }
}

function isCallback(text: string): boolean {
  const url = URL.parse(text)
  return (
    /^https?:$/.test(url?.protocol ?? '') &&
    url?.search === '' &&
    url.hash === '' &&
    url.pathname.endsWith('/hub/oauth_callback')
  )
}

function isFilled(list: readonly unknown[] | null | undefined): boolean {
  return Boolean(list?.length)
}
