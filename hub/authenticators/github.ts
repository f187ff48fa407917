/**
 * GitHub, and GitHub Enterprise servers: OAuth 2, where who somebody is comes from the API and not from a signed token.
 *
 * Accounts are told apart by their number, which is never given again; names at GitHub are.
 */
import {
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type Configuration,
  calculatePKCECodeChallenge,
  fetchProtectedResource,
  randomPKCECodeVerifier,
  randomState,
} from 'openid-client'
import type { Config } from '../../config/meaning/config.ts'
import { ProblemError } from '../../problem.ts'
import type { ExternalFlow } from './authenticator.ts'
import { clientFor, providerProblem } from './oauth-client.ts'
import { clientOf, labelOf, lowered } from './oauth-providers.ts'

/** 100 a page is the most that GitHub gives; nobody is in thousands. */
const mostPages = 10

export function github({ config }: { config: () => Config }): ExternalFlow {
  const server = () => serverOf(config().auth.options)

  return {
    async begin(callback, { isFresh }) {
      const { client, scopes, parameters } = server()
      const kept: Kept = { state: randomState(), verifier: randomPKCECodeVerifier() }
      const address = buildAuthorizationUrl(client, {
        ...parameters,
        ...(isFresh ? { prompt: 'select_account' } : {}),
        redirect_uri: callback.href,
        ...(scopes.length ? { scope: scopes.join(' ') } : {}),
        state: kept.state,
        code_challenge: await calculatePKCECodeChallenge(kept.verifier),
        code_challenge_method: 'S256',
      })
      return { address, state: kept.state, kept: JSON.stringify(kept) }
    },
    async complete(returned, text) {
      const { client, issuer, api, allowed, allowAll } = server()
      const { state, verifier } = JSON.parse(text) as Kept
      try {
        const tokens = await authorizationCodeGrant(client, returned, {
          expectedState: state,
          pkceCodeVerifier: verifier,
        })
        const ask = (path: string) => askApi(client, tokens.access_token, `${api}${path}`)
        const { id, login } = (await ask('/user')) as { id?: unknown; login?: unknown }
        if (!Number.isSafeInteger(id) || typeof login !== 'string') throw notGitHub('/user names nobody')
        return {
          provider: issuer,
          subject: String(id),
          name: lowered(login),
          claim: 'login',
          isWelcome: allowAll || (await isInOne(allowed, ask)),
        }
      } catch (error) {
        throw providerProblem(error, labelOf('github', config().auth.options))
      }
    },
  }
}

interface Kept {
  state: string
  verifier: string
}

function serverOf(options: Config['auth']['options']) {
  const own = options.GitHubOAuthenticator ?? {}
  const url = trimmed(own.github_url || 'https://github.com')
  const api = trimmed(own.github_api_url || (url === 'https://github.com' ? 'https://api.github.com' : `${url}/api/v3`))
  const allowed = own.allowed_organizations ?? []
  // Under this name GitHub speaks of itself where it says who answers (RFC 9207).
  const issuer = `${url}/login/oauth`
  const client = clientFor(
    {
      issuer,
      authorization_endpoint: `${url}/login/oauth/authorize`,
      token_endpoint: `${url}/login/oauth/access_token`,
    },
    clientOf('github', options),
  )
  return {
    client,
    issuer,
    api,
    allowed,
    allowAll: own.allow_all ?? false,
    scopes: [...new Set([...(own.scope ?? []), ...(allowed.length ? ['read:org'] : [])])],
    parameters: { ...(own.extra_authorize_params ?? {}) },
  }
}

type Ask = (path: string) => Promise<unknown>

/** Whether somebody is in one of the organizations, or of the teams (`organization:team`). Capitals do not matter at GitHub. */
async function isInOne(allowed: readonly string[], ask: Ask): Promise<boolean> {
  const wanted = new Set(allowed.map(lowered))
  if (!wanted.size) return false
  const teams = [...wanted].some(name => name.includes(':'))
  const organizations = [...wanted].some(name => !name.includes(':'))
  return (
    (organizations && (await someOf('/user/orgs', ask, ({ login }) => wanted.has(lowered(String(login)))))) ||
    (teams &&
      (await someOf('/user/teams', ask, ({ slug, organization }) =>
        wanted.has(lowered(`${(organization as Item | undefined)?.login}:${slug}`)),
      )))
  )
}

type Item = Record<string, unknown>

async function someOf(path: string, ask: Ask, isWanted: (item: Item) => boolean): Promise<boolean> {
  for (let page = 1; page <= mostPages; page++) {
    const items = await ask(`${path}?per_page=100&page=${page}`)
    if (!Array.isArray(items)) throw notGitHub(`${path} is no list`)
    if (items.some(item => isWanted(item as Item))) return true
    if (items.length < 100) return false
  }
  return false
}

async function askApi(client: Configuration, accessToken: string, address: string): Promise<unknown> {
  const headers = new Headers({ accept: 'application/vnd.github+json', 'user-agent': 'tljh-ts' })
  const answer = await fetchProtectedResource(client, accessToken, new URL(address), 'GET', null, headers)
  if (answer.status !== 200) throw notGitHub(`${new URL(address).pathname} answers ${answer.status}`)
  return answer.json().catch(() => {
    throw notGitHub(`${new URL(address).pathname} is not JSON`)
  })
}

function notGitHub(reason: string): ProblemError {
  return new ProblemError('AUTH_PROVIDER', {
    what: 'GitHub could not be asked who you are',
    why: `it gave an answer that cannot be used (${reason})`,
    fix: 'Try again in a while. If it stays so, an administrator checks github_url and github_api_url',
  })
}

function trimmed(address: string): string {
  return address.replace(/\/+$/, '')
}
