/**
 * The ways in that `auth.type` can name, and their options: the part of the schema below `auth`, and what of it decides who may
 * come.
 *
 * Each way has JupyterHub's class name (the section of its options) and the names that TLJH's files use for it. A class whose
 * options are not known here is refused rather than read past: an option that was left out by mistake could be the one that keeps
 * strangers away.
 */
import { directorySections } from './auth-directory.ts'
import { oauthSections } from './auth-oauth.ts'

export const authenticatorKinds = {
  'first-use': {
    section: 'FirstUseAuthenticator',
    names: ['firstuseauthenticator.FirstUseAuthenticator', 'firstuse', 'first-use'],
  },
  native: { section: 'NativeAuthenticator', names: ['nativeauthenticator.NativeAuthenticator', 'native'] },
  'shared-password': {
    section: 'SharedPasswordAuthenticator',
    names: [
      'shared-password',
      'jupyterhub.authenticators.shared.SharedPasswordAuthenticator',
      'jupyterhub.auth.SharedPasswordAuthenticator',
    ],
  },
  dummy: {
    section: 'DummyAuthenticator',
    names: ['dummy', 'jupyterhub.auth.DummyAuthenticator', 'dummyauthenticator.DummyAuthenticator'],
  },
  temporary: { section: 'TmpAuthenticator', names: ['tmp', 'tmpauthenticator.TmpAuthenticator', 'temporary'] },
  pam: { section: 'PAMAuthenticator', names: ['pam', 'jupyterhub.auth.PAMAuthenticator'] },
  ldap: { section: 'LDAPAuthenticator', names: ['ldap', 'ldapauthenticator.LDAPAuthenticator'] },
  oidc: {
    section: 'GenericOAuthenticator',
    names: ['generic-oauth', 'oauthenticator.generic.GenericOAuthenticator', 'oidc'],
  },
  github: { section: 'GitHubOAuthenticator', names: ['github', 'oauthenticator.github.GitHubOAuthenticator'] },
  google: { section: 'GoogleOAuthenticator', names: ['google', 'oauthenticator.google.GoogleOAuthenticator'] },
  microsoft: {
    section: 'AzureAdOAuthenticator',
    names: ['azuread', 'oauthenticator.azuread.AzureAdOAuthenticator', 'microsoft'],
  },
  gitlab: { section: 'GitLabOAuthenticator', names: ['gitlab', 'oauthenticator.gitlab.GitLabOAuthenticator'] },
  auth0: { section: 'Auth0OAuthenticator', names: ['auth0', 'oauthenticator.auth0.Auth0OAuthenticator'] },
  cognito: {
    section: 'AWSCognitoAuthenticator',
    names: ['awscognito', 'oauthenticator.awscognito.AWSCognitoAuthenticator', 'cognito'],
  },
  cilogon: { section: 'CILogonOAuthenticator', names: ['cilogon', 'oauthenticator.cilogon.CILogonOAuthenticator'] },
  keycloak: { section: 'KeycloakOAuthenticator', names: ['keycloak'] },
} as const

export type AuthenticatorKind = keyof typeof authenticatorKinds

/** The ways whose passwords the hub keeps, so that they can be chosen with a one-time code. */
export const storingKinds: readonly AuthenticatorKind[] = ['first-use', 'native', 'shared-password', 'dummy']

const kindOfName = new Map<string, AuthenticatorKind>(
  Object.entries(authenticatorKinds).flatMap(([kind, { names }]) =>
    names.map(name => [name, kind as AuthenticatorKind] as const),
  ),
)

/** What a name in `auth.type` stands for; undefined for what is no way in. */
export function authenticatorKind(name: string): AuthenticatorKind | undefined {
  return kindOfName.get(name)
}

/** Every name that `auth.type` takes, the shortest of each way first. */
export const authenticatorNames: readonly string[] = Object.values(authenticatorKinds).flatMap(({ names }) =>
  names.toSorted((a, b) => a.length - b.length),
)

const leastPassword = {
  type: 'integer',
  minimum: 1,
  maximum: 1024,
  description: 'The fewest characters of a new password.',
  effect: 'now',
} as const

const allowAll = {
  type: 'boolean',
  description: 'Whether everybody who gets through may enter, not only those whom users.allowed names.',
  effect: 'now',
} as const

export const authSchema = {
  type: ['object', 'null'],
  additionalProperties: false,
  description:
    'How people log in. Whoever gets through must also be let in: by users.allowed or users.admin, or by an option of the way.',
  properties: {
    type: {
      type: ['string', 'array'],
      format: 'authenticator',
      items: { type: 'string', format: 'authenticator' },
      minItems: 1,
      maxItems: 8,
      default: 'firstuseauthenticator.FirstUseAuthenticator',
      description: 'The way in, or a list of several that stand on one login page.',
      examples: ['firstuse', 'github', '[native, google]'],
      effect: 'now',
    },
    FirstUseAuthenticator: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'Passwords that the hub keeps. Whoever is new gets a one-time code from an administrator.',
      properties: {
        create_users: {
          type: 'boolean',
          default: false,
          description: 'Whether somebody whom the file does not name may enter and choose a password.',
          effect: 'now',
        },
        claim_named_users: {
          type: 'boolean',
          default: false,
          description:
            'Whether whoever is first to log in as a user of users.allowed chooses that password, as with TLJH. Without it, ' +
            'each new user needs a one-time code (tljh-ts user invite NAME). Never for administrators.',
          effect: 'now',
        },
        min_password_length: { ...leastPassword, default: 7 },
        dbm_path: {
          type: 'string',
          replaced: 'passwords are kept in the hub’s own state, and are never read from a dbm file',
        },
        check_passwords_on_startup: {
          type: 'boolean',
          replaced: 'passwords are kept as argon2id hashes, which are always valid',
        },
      },
    },
    NativeAuthenticator: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'Sign-up with a name and a password, which an administrator approves.',
      properties: {
        open_signup: {
          type: 'boolean',
          default: false,
          description: 'Whether whoever signs up may enter at once, without approval.',
          effect: 'now',
        },
        enable_signup: {
          type: 'boolean',
          default: true,
          description: 'Whether people can sign up at all.',
          effect: 'now',
        },
        minimum_password_length: { ...leastPassword, default: 8 },
        check_common_password: {
          type: 'boolean',
          replaced: 'passwords that very many people have are always refused, in every way in',
        },
        ask_email_on_signup: {
          type: 'boolean',
          default: false,
          description: 'Whether an e-mail address is asked for. Nothing is sent to it.',
          effect: 'now',
        },
        allowed_email_domains: {
          type: ['array', 'null'],
          items: { type: 'string', format: 'domain' },
          description:
            'An e-mail address is asked for, and those of other domains are refused. Nobody checks whose it is. Empty: all are taken.',
          effect: 'now',
        },
        allowed_failed_logins: {
          type: 'integer',
          minimum: 0,
          replaced:
            'wrong passwords are limited for every way in, by account and by address, without locking the owner out',
        },
        seconds_before_next_try: { type: 'integer', replaced: 'see allowed_failed_logins' },
        allow_2fa: { type: 'boolean', replaced: 'every user can switch a second factor on, on the account page' },
        allow_self_approval_for: {
          type: 'string',
          replaced: 'the hub sends no e-mail; an administrator approves, or open_signup does',
        },
        import_from_firstuse: { type: 'boolean', replaced: 'both kinds of passwords are kept in one place' },
        delete_firstuse_db_after_import: { type: 'boolean', replaced: 'both kinds of passwords are kept in one place' },
        firstuse_db_path: { type: 'string', replaced: 'both kinds of passwords are kept in one place' },
        recaptcha_key: { type: 'string', replaced: 'sign-ups are limited by address instead' },
        recaptcha_secret: { type: 'string', secret: true, replaced: 'sign-ups are limited by address instead' },
        secret_key: { type: 'string', secret: true, replaced: 'the hub sends no e-mail, and makes its keys itself' },
        self_approval_email: { type: 'array', replaced: 'the hub sends no e-mail' },
        self_approval_server: { type: 'object', replaced: 'the hub sends no e-mail' },
        check_password_strength: { type: 'boolean', replaced: 'see minimum_password_length' },
        tos: { type: 'string', replaced: 'write it into branding.message' },
      },
    },
    SharedPasswordAuthenticator: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'One password for a workshop. Whoever knows it can enter under any name that is let in.',
      properties: {
        user_password: {
          type: ['string', 'null'],
          minLength: 8,
          secret: true,
          description: 'The password of all. At least 8 characters.',
          effect: 'now',
        },
        admin_password: {
          type: ['string', 'null'],
          minLength: 16,
          secret: true,
          description:
            'The password of administrators, at least 16 characters. Without it they log in with a password of their own.',
          effect: 'now',
        },
        allow_all: { ...allowAll, default: true },
      },
    },
    DummyAuthenticator: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'TLJH’s name for a shared password.',
      properties: {
        password: {
          type: ['string', 'null'],
          minLength: 8,
          secret: true,
          description: 'The password of all. At least 8 characters. Never of administrators: they have their own.',
          effect: 'now',
        },
        allow_all: { ...allowAll, default: true },
      },
    },
    TmpAuthenticator: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'A new account for each visit, deleted with its files when the visit ends.',
      properties: {
        auto_login: { type: 'boolean', replaced: 'the login page has a button' },
        force_new_server: { type: 'boolean', replaced: 'each visit has an account of its own' },
      },
    },
    ...directorySections,
    ...oauthSections,
  },
} as const
