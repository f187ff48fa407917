/**
 * How a provider is asked: within ten seconds, for answers of a size that fits, and over https; and what it means in words
 * when that fails.
 *
 * Plain http is for addresses of the machine itself (`isSafeAddress`). That is looked at for each request, because a provider names
 * the addresses of its other parts itself.
 */
import {
  AuthorizationResponseError,
  allowInsecureRequests,
  ClientError,
  ClientSecretBasic,
  ClientSecretPost,
  Configuration,
  type CustomFetch,
  customFetch,
  discovery,
  enableNonRepudiationChecks,
  None,
  ResponseBodyError,
  type ServerMetadata,
} from 'openid-client'
import { isSafeAddress } from '../../config/meaning/auth-oauth.ts'
import { ProblemError } from '../../problem.ts'
import type { Client } from './oauth-providers.ts'

const timeoutSeconds = 10
/** The biggest answers are sets of keys: some tens of kilobytes. */
const mostAnswerBytes = 1024 * 1024
/** For so long a provider's description of itself counts. (Its keys are looked at anew when one is missing.) */
const descriptionMs = 3_600_000

export interface ProviderClients {
  /** For a provider that describes itself at its issuer's address. Throws what openid-client does; the next call tries again. */
  discover(issuer: URL, client: Client): Promise<Configuration>
}

export function createProviderClients(now: () => number = Date.now): ProviderClients {
  const known = new Map<string, { client: Promise<Configuration>; until: number }>()

  return {
    discover(issuer, client) {
      const key = JSON.stringify([issuer.href, client])
      const found = known.get(key)
      if (found && found.until > now()) return found.client
      const fresh = describe(issuer, client)
      // Those of an earlier configuration are of no more use.
      if (known.size >= 16) known.clear()
      known.set(key, { client: fresh, until: now() + descriptionMs })
      fresh.catch(() => {
        if (known.get(key)?.client === fresh) known.delete(key)
      })
      return fresh
    },
  }
}

/** For a provider that does not describe itself. */
export function clientFor(server: ServerMetadata, { id, secret, isBasic = false }: Client): Configuration {
  const client = new Configuration(server, id, secret, secret ? proof(secret, isBasic) : None())
  client[customFetch] = frankFetch
  client.timeout = timeoutSeconds
  if (isPlain(server.issuer)) allowInsecureRequests(client)
  return client
}

async function describe(issuer: URL, client: Client): Promise<Configuration> {
  const execute = [enableNonRepudiationChecks, ...(isPlain(issuer.href) ? [allowInsecureRequests] : [])]
  const options = { execute, timeout: timeoutSeconds, [customFetch]: carefulFetch }
  const found = await discovery(issuer, client.id, undefined, None(), options)
  const server = found.serverMetadata()
  const {
    authorization_endpoint: start = '',
    token_endpoint_auth_methods_supported: methods = ['client_secret_basic'],
  } = server
  if (!isSafeAddress(start)) throw new ClientError('its login page is not at an https address')
  if (!client.secret) return found
  const isBasic = client.isBasic ?? !methods.includes('client_secret_post')
  const whole = new Configuration(server, client.id, undefined, proof(client.secret, isBasic))
  whole[customFetch] = carefulFetch
  whole.timeout = timeoutSeconds
  for (const change of execute) change(whole)
  return whole
}

function proof(secret: string, isBasic: boolean) {
  return isBasic ? ClientSecretBasic(secret) : ClientSecretPost(secret)
}

function isPlain(address: string): boolean {
  return address.startsWith('http:') && isSafeAddress(address)
}

/** Redirects are not followed, and an answer that never ends is given up by the signal of `options`. */
const carefulFetch: CustomFetch = async (url, options) => {
  if (!isSafeAddress(url)) throw new TypeError(`${URL.parse(url)?.origin} is not an https address`)
  const { body, ...rest } = options
  const answer = await fetch(url, {
    ...rest,
    ...(body === undefined ? {} : { body: body as NonNullable<RequestInit['body']> }),
  })
  const chunks: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  for await (const chunk of answer.body ?? []) {
    size += chunk.byteLength
    if (size > mostAnswerBytes) throw new TypeError(`the answer of ${URL.parse(url)?.origin} is too long`)
    chunks.push(chunk as Uint8Array<ArrayBuffer>)
  }
  const { status, statusText, headers } = answer
  return new Response(chunks.length ? new Blob(chunks) : null, { status, statusText, headers })
}

/** For servers that refuse with status 200, as GitHub does. */
const frankFetch: CustomFetch = async (url, options) => {
  const answer = await carefulFetch(url, options)
  if (answer.status !== 200 || options.method !== 'POST') return answer
  const text = await answer.text()
  const isRefusal = /^\s*\{\s*"error"/.test(text)
  return new Response(text, { status: isRefusal ? 400 : 200, headers: answer.headers })
}

/** Codes of openid-client that say that what was answered is no answer at all. The others say that it does not hold. */
const garbage = [
  'OAUTH_RESPONSE_IS_NOT_CONFORM',
  'OAUTH_RESPONSE_IS_NOT_JSON',
  'OAUTH_PARSE_ERROR',
  'OAUTH_HTTP_REQUEST_FORBIDDEN',
]
const notReached = ['OAUTH_TIMEOUT', 'OAUTH_ABORT', undefined]

/** Why nobody came back from a provider, or could not be sent there. */
export function providerProblem(error: unknown, label: string): ProblemError {
  if (error instanceof ProblemError) return error
  if (error instanceof AuthorizationResponseError) return ofLoginPage(error, label)
  if (error instanceof ResponseBodyError) return ofRequest(error, label)
  const code = error instanceof ClientError ? error.code : undefined
  if (!(error instanceof ClientError) || notReached.includes(code)) {
    return new ProblemError('AUTH_UNREACHABLE', {
      what: `${label} could not be asked who you are`,
      why: code === 'OAUTH_TIMEOUT' ? `it did not answer within ${timeoutSeconds} seconds` : reasonOf(error),
      fix: `Try again in a while. An administrator sees more with: sudo journalctl -u tljh-hub -g AUTH_`,
      cause: error,
    })
  }
  if (garbage.includes(code ?? '')) {
    return new ProblemError('AUTH_PROVIDER', {
      what: `${label} could not be asked who you are`,
      why: `it gave an answer that cannot be used (${reasonOf(error)})`,
      fix: 'Try again in a while. If it stays so, an administrator checks the provider’s address in the section auth of the configuration',
      cause: error,
    })
  }
  return new ProblemError('AUTH_NOT_TRUSTED', {
    what: `What ${label} said of you was not believed`,
    why: `its answer is not one to this login, or not its own (${reasonOf(error)})`,
    fix: 'Log in again. If it happens again, tell an administrator',
    cause: error,
  })
}

/** A provider that describes itself wrongly could not be used, whatever is wrong. */
export function descriptionProblem(error: unknown, label: string): ProblemError {
  const problem = providerProblem(error, label)
  if (problem.code !== 'AUTH_NOT_TRUSTED') return problem
  return new ProblemError('AUTH_PROVIDER', {
    what: `${label} could not be asked who you are`,
    why: `it does not describe itself as the provider that the configuration names (${reasonOf(error)})`,
    fix: 'An administrator checks the provider’s address in the section auth of the configuration',
    cause: error,
  })
}

function ofLoginPage({ error, error_description: description = '', cause }: AuthorizationResponseError, label: string) {
  if (error === 'server_error' || error === 'temporarily_unavailable') {
    return new ProblemError('AUTH_UNREACHABLE', {
      what: `${label} did not log you in`,
      why: `it has trouble of its own (${shortened(description || error)})`,
      fix: 'Try again in a while',
      cause,
    })
  }
  const isRefusal = error === 'access_denied'
  return new ProblemError('AUTH_DENIED', {
    what: `${label} did not log you in`,
    why: isRefusal
      ? `you, or ${label}, did not agree that the hub learns who you are`
      : shortened(description || error),
    fix: isRefusal ? 'Log in again, and agree' : 'Try again. If it happens again, tell an administrator',
    cause,
  })
}

function ofRequest(
  { error, error_description: description = '', cause }: ResponseBodyError,
  label: string,
): ProblemError {
  if (error === 'invalid_grant' || error === 'bad_verification_code') {
    return new ProblemError('AUTH_CODE', {
      what: 'You are not logged in',
      why: `${label} takes each answer of its login page once, and for a short time`,
      fix: 'Log in again from the login page',
      cause,
    })
  }
  return new ProblemError('AUTH_PROVIDER', {
    what: `${label} could not be asked who you are`,
    why: `it refused the hub itself: ${shortened(description || error)}`,
    fix: 'An administrator compares client_id, client_secret and oauth_callback_url with what is registered there',
    cause,
  })
}

/** What openid-client or the network says, without what was sent. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'for a reason that is not known'
  const { cause } = error
  const inner = cause instanceof Error && cause.message !== error.message ? `: ${cause.message}` : ''
  return shortened(`${error.message}${inner}`)
}

function shortened(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}…`
}
