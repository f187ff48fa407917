/**
 * Options of the ways in that lead to another site and back: OpenID Connect and GitHub. Names are oauthenticator's, and so is
 * their meaning: some say who may come whom the file does not name (`allow_all`, `allowed_groups`, …), others whom nothing lets in
 * (`hosted_domain`, `allowed_idps`). One that this version does not know is an error, never read past.
 */

const texts = { type: ['array', 'null'], items: { type: 'string', minLength: 1 }, effect: 'now' } as const
const address = { type: ['string', 'null'], effect: 'now' } as const
const yes = { type: 'boolean', enum: [true], effect: 'now' } as const
const list = { type: ['array', 'null'], items: { type: 'string' } } as const

const replaced = {
  admin_users: { ...list, replaced: 'administrators are named in users.admin' },
  allowed_users: { ...list, replaced: 'who may enter is named in users.allowed and users.admin' },
  allow_existing_users: { type: 'boolean', replaced: 'who may enter is named in users.allowed and users.admin' },
  admin_groups: { ...list, replaced: 'administrators are named in users.admin' },
  manage_groups: { type: 'boolean', replaced: 'groups are written in this file' },
  enable_auth_state: { type: 'boolean', replaced: 'nothing of the provider is kept but who somebody is there' },
  auto_login: { type: 'boolean', replaced: 'the login page has a button' },
  logout_redirect_url: {
    type: 'string',
    replaced: 'logging out ends the session here; the one at the provider goes on',
  },
  custom_403_message: {
    type: 'string',
    replaced: 'the page says who somebody is at the provider, and why that may not enter',
  },
  refresh_pre_spawn: { type: 'boolean', replaced: 'the provider is asked at each login, and not in between' },
  auth_refresh_age: { type: 'integer', replaced: 'the provider is asked at each login, and not in between' },
} as const

const client = {
  client_id: {
    type: ['string', 'null'],
    minLength: 1,
    description: 'What the provider calls this hub.',
    effect: 'now',
  },
  client_secret: {
    type: ['string', 'null'],
    minLength: 1,
    secret: true,
    description: 'The hub’s own password at the provider.',
    effect: 'now',
  },
  oauth_callback_url: {
    ...address,
    description: 'Where the provider leads people back to. Empty: the address at which they found the hub.',
    examples: ['https://hub.example.org/hub/oauth_callback'],
  },
  login_service: {
    type: ['string', 'null'],
    maxLength: 60,
    description: 'What stands on the button, after ‘Log in with’.',
    effect: 'now',
  },
  allow_all: {
    type: 'boolean',
    default: false,
    description: 'Whether everybody who can log in there may enter, not only those whom users.allowed names.',
    effect: 'now',
  },
  scope: { ...texts, description: 'What to ask of the provider, beside what is needed anyway.' },
  basic_auth: {
    type: 'boolean',
    description: 'Whether the client’s secret goes into a header. Without it, as the provider wants.',
    effect: 'now',
  },
  extra_authorize_params: {
    type: ['object', 'null'],
    additionalProperties: { type: 'string' },
    description: 'More parameters for the provider’s login page.',
    effect: 'now',
  },
  enable_pkce: { ...yes, description: 'Always true: each login has a key of its own.' },
  validate_server_cert: { ...yes, description: 'Always true: whoever could be anybody tells nothing.' },
  ...replaced,
} as const

const foundByIssuer = { type: 'string', replaced: 'the provider itself tells its addresses' } as const

const openId = {
  ...client,
  username_claim: {
    type: 'string',
    minLength: 1,
    description:
      'What the provider says of somebody that is the user name here. Best one that its owner cannot choose.',
    examples: ['preferred_username', 'email'],
    effect: 'now',
  },
  authorize_url: foundByIssuer,
  token_url: foundByIssuer,
  userdata_url: foundByIssuer,
  userdata_token_method: foundByIssuer,
  userdata_from_id_token: { type: 'boolean', replaced: 'what the ID token does not say is asked for' },
} as const

const issuer = {
  ...address,
  description: 'The provider’s address: what stands before /.well-known/openid-configuration.',
  examples: ['https://login.example.org/realms/school'],
} as const

const groups = {
  allowed_groups: { ...texts, description: 'Whoever is in one of these groups at the provider may enter, too.' },
  auth_state_groups_key: {
    type: 'string',
    minLength: 1,
    description: 'Where the provider says which groups somebody is in. Dots lead inwards.',
    examples: ['groups', 'realm_access.roles'],
    effect: 'now',
  },
  claim_groups_key: {
    type: 'string',
    minLength: 1,
    description: 'An older name of auth_state_groups_key.',
    effect: 'now',
  },
} as const

const section = <const Properties>(description: string, properties: Properties) =>
  ({ type: ['object', 'null'], additionalProperties: false, description, properties }) as const

export const oauthSections = {
  GenericOAuthenticator: section('Any provider that speaks OpenID Connect.', { ...openId, ...groups, issuer }),
  KeycloakOAuthenticator: section('Keycloak.', { ...openId, ...groups, issuer }),
  GitHubOAuthenticator: section('GitHub, or a GitHub Enterprise server.', {
    ...client,
    username_claim: { enum: ['login'], description: 'The name at GitHub.', effect: 'now' },
    allowed_organizations: {
      ...texts,
      description: 'Whoever is in one of these organizations, or in one of these teams of one, may enter, too.',
      examples: ['my-school', 'my-school:tutors'],
    },
    github_url: { ...address, description: 'Of the server itself.', examples: ['https://github.example.org'] },
    github_api_url: { ...address, description: 'Of its API.', examples: ['https://github.example.org/api/v3'] },
  }),
  GoogleOAuthenticator: section('Google.', {
    ...openId,
    hosted_domain: {
      ...texts,
      items: { type: 'string', format: 'domain' },
      description:
        'Only accounts that belong to these organizations. Everybody of them enters with allow_all. Of a single one, ' +
        'names are kept without @ and what follows.',
      examples: ['my-school.edu'],
    },
  }),
  AzureAdOAuthenticator: section('Microsoft Entra ID.', {
    ...openId,
    ...groups,
    tenant_id: {
      type: ['string', 'null'],
      format: 'dotted-word',
      description: 'The one organization whose accounts count: its number, or a domain of it.',
      effect: 'now',
    },
    user_groups_claim: {
      type: 'string',
      minLength: 1,
      description: 'As auth_state_groups_key.',
      effect: 'now',
    },
  }),
  GitLabOAuthenticator: section('GitLab.com, or a GitLab server.', {
    ...openId,
    allowed_gitlab_groups: {
      ...texts,
      description: 'Whoever is a member of one of these groups may enter, too.',
      examples: ['my-school/course'],
    },
    gitlab_url: { ...address, description: 'Of the server.', examples: ['https://gitlab.example.org'] },
  }),
  Auth0OAuthenticator: section('Auth0.', {
    ...openId,
    ...groups,
    auth0_domain: {
      type: ['string', 'null'],
      format: 'domain',
      description: 'The domain of the tenant.',
      examples: ['my-school.eu.auth0.com'],
      effect: 'now',
    },
    auth0_subdomain: {
      type: ['string', 'null'],
      format: 'dotted-word',
      description: 'The same without .auth0.com.',
      effect: 'now',
    },
  }),
  AWSCognitoAuthenticator: section('Amazon Cognito.', { ...openId, ...groups, issuer }),
  CILogonOAuthenticator: section('CILogon.', {
    ...openId,
    username_claim: { type: 'string', replaced: 'each of allowed_idps has its own' },
    allowed_idps: {
      type: ['object', 'null'],
      description:
        'The institutions whose accounts count, by their entity id. Accounts of no other one do, whatever else is written.',
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        properties: {
          username_derivation: {
            type: 'object',
            additionalProperties: false,
            properties: {
              username_claim: { type: 'string', minLength: 1, description: 'As of other providers.', effect: 'now' },
              action: {
                enum: ['strip_idp_domain', 'prefix'],
                description: 'Whether to take the domain off, or to put a word in front.',
                effect: 'now',
              },
              domain: { type: 'string', format: 'domain', description: 'The one to take off.', effect: 'now' },
              prefix: {
                type: 'string',
                format: 'dotted-word',
                description: 'The word in front. A - follows.',
                effect: 'now',
              },
            },
          },
          allow_all: { type: 'boolean', description: 'Whether all of that institution may enter.', effect: 'now' },
          allowed_domains: {
            ...texts,
            items: { type: 'string', format: 'domain' },
            description: 'Whoever has a name of one of these domains may enter, too.',
          },
          default: { type: 'boolean', replaced: 'CILogon offers all of them' },
        },
      },
    },
  }),
} as const
