/**
 * OpenID Connect: the browser is sent to the provider with a state, a nonce and the hash of a key (PKCE, S256), and comes back with a
 * code, which the hub exchanges for an ID token.
 *
 * The ID token counts only with the provider's signature, for this hub, of this login, and for a short time; openid-client
 * checks all of that. Signatures are checked although the token comes straight from the provider (`enableNonRepudiationChecks`).
 */
import {
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type Configuration,
  calculatePKCECodeChallenge,
  fetchUserInfo,
  type IDToken,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
} from 'openid-client'
import type { Config } from '../../config/meaning/config.ts'
import { ProblemError } from '../../problem.ts'
import type { ExternalFlow } from './authenticator.ts'
import { descriptionProblem, type ProviderClients, providerProblem } from './oauth-client.ts'
import { type Claims, type OpenIdKind, type Provider, providerOf } from './oauth-providers.ts'

export interface ExternalOptions {
  config: () => Config
  clients: ProviderClients
}

export function openIdConnect(kind: OpenIdKind, { config, clients }: ExternalOptions): ExternalFlow {
  const provider = () => providerOf(kind, config().auth.options)
  const clientOf = ({ issuer, client, label }: Provider) =>
    clients.discover(issuer, client).catch((error: unknown) => {
      throw descriptionProblem(error, label)
    })

  return {
    async begin(callback, { isFresh }) {
      const asked = provider()
      const client = await clientOf(asked)
      const kept: Kept = { state: randomState(), nonce: randomNonce(), verifier: randomPKCECodeVerifier() }
      const address = buildAuthorizationUrl(client, {
        ...asked.parameters,
        ...(isFresh ? { prompt: 'login' } : {}),
        redirect_uri: callback.href,
        scope: asked.scopes.join(' '),
        state: kept.state,
        nonce: kept.nonce,
        code_challenge: await calculatePKCECodeChallenge(kept.verifier),
        code_challenge_method: 'S256',
      })
      return { address, state: kept.state, kept: JSON.stringify(kept) }
    },
    async complete(returned, text) {
      const asked = provider()
      const client = await clientOf(asked)
      const { state, nonce, verifier } = JSON.parse(text) as Kept
      const checks = { expectedState: state, expectedNonce: nonce, pkceCodeVerifier: verifier, idTokenExpected: true }
      try {
        const tokens = await authorizationCodeGrant(client, returned, checks)
        const token = tokens.claims()
        if (!token) throw new TypeError('there is no ID token in its answer')
        const claims = await allClaims(client, token, tokens.access_token, asked.claims)
        const subject = claims[asked.subjectClaim]
        if (typeof subject !== 'string' || !subject) throw noSubject(asked.label, asked.subjectClaim)
        return { provider: token.iss, subject, ...asked.read(claims) }
      } catch (error) {
        throw providerProblem(error, asked.label)
      }
    },
  }
}

interface Kept {
  state: string
  nonce: string
  verifier: string
}

/** What the token says, and where that is not all that must be known, what the provider says besides of the same person. */
async function allClaims(
  client: Configuration,
  token: IDToken,
  accessToken: string,
  wanted: readonly string[],
): Promise<Claims> {
  const lacks = wanted.some(claim => token[claim] === undefined)
  if (!lacks || !client.serverMetadata().userinfo_endpoint) return token
  return mergedClaims(token, await fetchUserInfo(client, accessToken, token.sub))
}

/** The token is the stronger. An address and whether it is verified are of one piece: never the one of here and the other of there. */
export function mergedClaims(token: Claims, more: Claims): Claims {
  const isOfToken = token.email !== undefined && (token.email_verified !== undefined || token.email !== more.email)
  const { email, email_verified } = isOfToken ? token : more
  return { ...more, ...token, email, email_verified }
}

function noSubject(label: string, claim: string): ProblemError {
  return new ProblemError('AUTH_PROVIDER', {
    what: `${label} did not say who you are`,
    why: `there is no ${claim} in its answer, which tells one account from another for ever`,
    fix: 'An administrator asks for it with scope',
  })
}
