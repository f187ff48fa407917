/**
 * A provider of OpenID Connect that does as it is told, honest or not, and beside it GitHub's API as its documentation has it. It
 * asks nobody for a password: whoever comes is the account that was set last.
 *
 *   await using provider = await startIdentityProvider()
 *   provider.behave({ claims: { sub: '7', preferred_username: 'ann' }, defect: 'expired' })
 *
 * What an honest provider must check, it checks: the client's secret, the key of the login (PKCE, S256), the address to lead back to,
 * and that a code comes once. As a program of its own it takes each behaviour as a line of JSON, and answers with a line.
 */
import { createHash, createSign, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'

export const clientId = 'the-hub'
export const clientSecret = 'known to hub and provider'

export type Defect =
  | 'alg-none'
  | 'hmac'
  | 'wrong-signature'
  | 'wrong-audience'
  | 'wrong-issuer'
  | 'wrong-nonce'
  | 'no-nonce'
  | 'expired'
  | 'no-token'
  | 'garbage'
  | 'endless'
  | 'silent'
  | 'redirects'
  | 'describes-another'
  | 'plain-login-page'
  | 'denies'

export interface Behaviour {
  /** In the ID token. */
  claims?: Record<string, unknown>
  /** What is said only when it is asked for. */
  userinfo?: Record<string, unknown>
  defect?: Defect
  github?: { id: unknown; login: unknown; organizations?: string[]; teams?: string[]; status?: number }
}

export interface IdentityProvider extends AsyncDisposable {
  issuer: string
  /** The paths that were asked for, the first first. */
  asked: string[]
  /** From now on; what is left out is as an honest provider has it. */
  behave(behaviour: Behaviour): void
}

interface Grant {
  challenge: string
  redirect: string
  nonce: string
}

export async function startIdentityProvider({ address = '127.0.0.1', port = 0 } = {}): Promise<IdentityProvider> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const asked: string[] = []
  const grants = new Map<string, Grant>()
  let now: Behaviour = {}
  let issuer = ''

  const routes: Record<string, (request: IncomingMessage, url: URL) => unknown> = {
    '/.well-known/openid-configuration': () => ({
      issuer: now.defect === 'describes-another' ? 'https://login.example.org' : issuer,
      authorization_endpoint: now.defect === 'plain-login-page' ? 'http://login.example.org/' : `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      userinfo_endpoint: `${issuer}/userinfo`,
      jwks_uri: `${issuer}/keys`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256', 'HS256', 'none'],
      token_endpoint_auth_methods_supported: ['client_secret_post'],
    }),
    '/keys': () => ({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'RS256', use: 'sig' }] }),
    '/authorize': (_request, url) => authorize(url),
    '/login/oauth/authorize': (_request, url) => authorize(url),
    '/token': async request => ({ ...(await exchange(request)), scope: 'openid' }),
    '/login/oauth/access_token': request => exchange(request),
    '/userinfo': () => ({ sub: now.claims?.sub, ...now.userinfo }),
    '/api/v3/user': () => ({ id: now.github?.id, login: now.github?.login }),
    '/api/v3/user/orgs': (_request, url) =>
      pageOf(
        url,
        (now.github?.organizations ?? []).map(login => ({ login })),
      ),
    '/api/v3/user/teams': (_request, url) =>
      pageOf(
        url,
        (now.github?.teams ?? []).map(team => {
          const [login, slug] = team.split(':')
          return { slug, organization: { login } }
        }),
      ),
  }

  function authorize({ searchParams: query }: URL) {
    const back = new URL(query.get('redirect_uri') ?? '')
    if (now.defect === 'denies') back.searchParams.set('error', 'access_denied')
    else {
      const code = randomBytes(16).toString('hex')
      const challenge = query.get('code_challenge_method') === 'S256' ? (query.get('code_challenge') ?? '') : ''
      grants.set(code, { challenge, redirect: back.href, nonce: query.get('nonce') ?? '' })
      back.searchParams.set('code', code)
    }
    back.searchParams.set('state', query.get('state') ?? '')
    return back
  }

  async function exchange(request: IncomingMessage) {
    const form = new URLSearchParams(await text(request))
    if (form.get('client_id') !== clientId || form.get('client_secret') !== clientSecret)
      return { error: 'invalid_client' }
    const grant = grants.get(form.get('code') ?? '')
    grants.delete(form.get('code') ?? '')
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url')
    const isGitHub = request.url?.startsWith('/login/oauth')
    if (!grant && isGitHub) return { error: 'bad_verification_code' }
    if (!grant || grant.challenge !== challenge || grant.redirect !== form.get('redirect_uri'))
      return { error: 'invalid_grant' }
    const token = { access_token: randomBytes(16).toString('hex'), token_type: 'bearer' }
    if (isGitHub || now.defect === 'no-token') return token
    return { ...token, id_token: idToken(grant) }
  }

  function idToken({ nonce }: Grant): string {
    const seconds = Math.floor(Date.now() / 1000) - (now.defect === 'expired' ? 7200 : 0)
    const claims = {
      iss: now.defect === 'wrong-issuer' ? 'https://login.example.org' : issuer,
      aud: now.defect === 'wrong-audience' ? 'another-hub' : clientId,
      ...(now.defect === 'no-nonce' ? {} : { nonce: now.defect === 'wrong-nonce' ? 'of another login' : nonce }),
      iat: seconds,
      exp: seconds + 3600,
      ...now.claims,
    }
    const alg = now.defect === 'alg-none' ? 'none' : now.defect === 'hmac' ? 'HS256' : 'RS256'
    return signed({ alg, kid: 'one' }, claims, now.defect === 'wrong-signature' ? stranger : privateKey)
  }

  async function answer(request: IncomingMessage, response: ServerResponse) {
    const url = new URL(request.url ?? '/', issuer)
    asked.push(url.pathname)
    if (now.defect === 'silent') return
    if (now.defect === 'endless') return pour(response)
    if (now.defect === 'redirects') return response.writeHead(302, { location: `${issuer}/elsewhere` }).end()
    if (now.defect === 'garbage')
      return response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Under maintenance')
    const found = await routes[url.pathname]?.(request, url)
    if (found instanceof URL) return response.writeHead(302, { location: found.href }).end()
    const isRefusal = typeof found === 'object' && found !== null && 'error' in found
    // GitHub says what is wrong with status 200.
    const status =
      found === undefined
        ? 404
        : isRefusal && url.pathname === '/token'
          ? 400
          : (isApi(url) && now.github?.status) || 200
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(found ?? {}))
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined))
  })
  // A connection that is closed for being idle could meet the next request.
  server.keepAliveTimeout = 10 * 60_000
  server.listen(port, address)
  await once(server, 'listening')
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    issuer,
    asked,
    behave(behaviour) {
      now = behaviour
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      if (server.listening) await new Promise(resolve => server.close(resolve))
    },
  }
}

function signed(header: { alg: string; kid: string }, claims: object, key: KeyObject): string {
  const head = [header, claims].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  if (header.alg === 'none') return `${head}.`
  if (header.alg === 'HS256') return `${head}.${createHash('sha256').update(head).digest('base64url')}`
  return `${head}.${createSign('sha256').update(head).sign(key).toString('base64url')}`
}

function isApi({ pathname }: URL): boolean {
  return pathname.startsWith('/api/')
}

function pageOf({ searchParams: query }: URL, items: object[]): object[] {
  const [size, page] = [Number(query.get('per_page') ?? 30), Number(query.get('page') ?? 1)]
  return items.slice((page - 1) * size, page * size)
}

/** As JSON that never ends. */
function pour(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  const chunk = ' '.repeat(64 * 1024)
  const more = () => {
    while (!response.destroyed && response.write(chunk));
  }
  response.on('drain', more)
  more()
}

if (import.meta.main) {
  const provider = await startIdentityProvider({ address: '0.0.0.0', port: Number(process.argv[2]) })
  process.stdout.write('ready\n')
  for await (const line of createInterface({ input: process.stdin })) {
    provider.behave(JSON.parse(line) as Behaviour)
    process.stdout.write('done\n')
  }
}
