/** Options of the ways in that lead to another site and back: OpenID Connect and GitHub. Names are oauthenticator's. */

const common = {
  client_id: {
    type: ['string', 'null'],
    description: 'What the provider calls this hub.',
    effect: 'now',
  },
  client_secret: { type: ['string', 'null'], secret: true, description: 'Its password there.', effect: 'now' },
  allow_all: {
    type: 'boolean',
    default: false,
    description: 'Whether everybody with an account there may enter.',
    effect: 'now',
  },
} as const

const section = (description: string) =>
  ({ type: ['object', 'null'], additionalProperties: false, description, properties: common }) as const

export const oauthSections = {
  GenericOAuthenticator: section('OpenID Connect.'),
  GitHubOAuthenticator: section('GitHub.'),
  GoogleOAuthenticator: section('Google.'),
  AzureAdOAuthenticator: section('Microsoft Entra ID.'),
  GitLabOAuthenticator: section('GitLab.'),
  Auth0OAuthenticator: section('Auth0.'),
  AWSCognitoAuthenticator: section('Amazon Cognito.'),
  CILogonOAuthenticator: section('CILogon.'),
  KeycloakOAuthenticator: section('Keycloak.'),
} as const
