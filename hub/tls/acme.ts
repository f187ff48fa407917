/**
 * One certificate from an ACME server (RFC 8555), by the package acme-client, which is loaded only where it is needed: it is big.
 *
 * Nothing is repeated in here but what the protocol wants repeated. When to ask again is decided in one place, by how it failed
 * (hub/tls/schedule.ts).
 */
import type { Agent } from 'node:https'
import type { Authorization, Client, Order } from 'acme-client'
import { AcmeError, type AcmeSettings, agentFor, askDirectory, hostOf, messageOf, millisecondsIn } from './authority.ts'
import type { Challenges } from './challenges.ts'
import type { ChallengeKind } from './preflight.ts'
import type { KeyAndChain } from './self-signed.ts'

type Library = typeof import('acme-client')

export interface Issuance {
  settings: AcmeSettings
  /** PEM. */
  accountKey: string
  challenges: Challenges
  /** The ways that are open, the best first. */
  kindsOf: ReadonlyMap<string, readonly ChallengeKind[]>
  /** Called before anything that the server counts. What it throws ends the attempt. */
  beforeOrder(): void
}

const requestTimeoutMs = 30_000
/** For the answer to a challenge, and for the certificate. */
const polling = { backoffAttempts: 15, backoffMin: 1_000, backoffMax: 10_000 }

export async function newAccountKey(): Promise<string> {
  const { crypto } = await import('acme-client')
  return String(await crypto.createPrivateEcdsaKey())
}

/** Throws `AcmeError`. */
export async function issue({
  settings,
  accountKey,
  challenges,
  kindsOf,
  beforeOrder,
}: Issuance): Promise<KeyAndChain> {
  const { directoryUrl, email, domains } = settings
  const agent = agentFor(settings)
  await askDirectory(settings, agent)
  const library = await import('acme-client')
  const seen = prepare(library, agent)
  const client = new library.Client({ directoryUrl, accountKey, ...polling })
  try {
    await client.createAccount({ termsOfServiceAgreed: true, ...(email ? { contact: [`mailto:${email}`] } : {}) })
    const order = await authorized(library, client, { domains, challenges, kindsOf, beforeOrder })
    const ownKey = await library.crypto.createPrivateEcdsaKey()
    const [key, csr] = await library.crypto.createCsr({ altNames: [...domains] }, ownKey)
    const chain = await client.getCertificate(await client.finalizeOrder(order, csr))
    return { key: String(key), chain }
  } catch (error) {
    throw error instanceof AcmeError ? error : failed(directoryUrl, error, seen.retryAfterMs)
  } finally {
    seen.close()
  }
}

/** The library's own repetitions are switched off, and what it does not hand on of an answer is kept. */
function prepare({ axios }: Library, agent: Agent | undefined): { retryAfterMs: number; close(): void } {
  const { defaults, interceptors } = axios
  Object.assign(defaults, { timeout: requestTimeoutMs, httpsAgent: agent, acmeSettings: { retryMaxAttempts: 0 } })
  const seen = { retryAfterMs: 0, close: () => interceptors.response.eject(number) }
  const number = interceptors.response.use(answer => {
    if (answer.status >= 400) seen.retryAfterMs = millisecondsIn(answer.headers['retry-after'])
    return answer
  })
  return seen
}

interface Proving extends Pick<Issuance, 'challenges' | 'kindsOf' | 'beforeOrder'> {
  domains: readonly string[]
}

/** An order whose names are all proven. One in which a way has failed is void as a whole: the next way takes a new one. */
async function authorized(library: Library, client: Client, proving: Proving): Promise<Order> {
  const { domains, kindsOf } = proving
  const ways = Math.max(...domains.map(domain => kindsOf.get(domain)?.length ?? 0))
  for (let way = 0; ; way++) {
    proving.beforeOrder()
    const order = await client.createOrder({ identifiers: domains.map(value => ({ type: 'dns', value })) })
    try {
      for (const one of await client.getAuthorizations(order)) await prove(library, client, one, way, proving)
      return order
    } catch (error) {
      const isRefused = error instanceof AcmeError && error.kind === 'refused'
      if (!isRefused || way + 1 >= ways) throw error
    }
  }
}

async function prove(
  { crypto }: Library,
  client: Client,
  authorization: Authorization,
  way: number,
  { challenges, kindsOf }: Proving,
): Promise<void> {
  if (authorization.status === 'valid') return
  const domain = authorization.identifier.value
  const kinds = kindsOf.get(domain) ?? []
  const kind = kinds[Math.min(way, kinds.length - 1)]
  const challenge = authorization.challenges.find(({ type }) => type === kind)
  if (!challenge) throw refused(domain, `it does not offer ${kind}, the way that is open here`)
  const answer = await client.getChallengeKeyAuthorization(challenge)
  using _offer =
    kind === 'http-01'
      ? challenges.offerToken(challenge.token, answer)
      : challenges.offerContext(domain, await challengeCertificate(crypto, authorization, answer))
  await client.completeChallenge(challenge)
  try {
    await client.waitForValidStatus(challenge)
  } catch (error) {
    throw refused(domain, `over ${kind} it said: ${messageOf(error)}`, error)
  }
}

async function challengeCertificate(
  crypto: Library['crypto'],
  authorization: Authorization,
  answer: string,
): Promise<KeyAndChain> {
  const ownKey = await crypto.createPrivateEcdsaKey()
  const [key, chain] = await crypto.createAlpnCertificate(authorization, answer, ownKey)
  return { key: String(key), chain: String(chain) }
}

function refused(domain: string, why: string, cause?: unknown): AcmeError {
  return new AcmeError('refused', {
    what: `The certificate authority did not find this hub under ${domain}`,
    why,
    fix: `Check that ${domain} leads to this machine alone (also by its IPv6 address), and that port 80 or 443 is open from everywhere. It is tried again by itself`,
    cause,
  })
}

/** Whatever went wrong after the directory: an order may have been counted, so it is taken for one. */
function failed(directoryUrl: string, cause: unknown, retryAfterMs: number): AcmeError {
  const text = {
    what: `The certificate authority ${hostOf(directoryUrl)} gave no certificate`,
    // The library trips over a connection that breaks.
    why: cause instanceof TypeError ? 'the connection to it broke' : messageOf(cause),
    fix: retryAfterMs > 0 ? 'It is tried again when the authority allows it' : 'It is tried again by itself',
    cause,
  }
  return new AcmeError('refused', text, retryAfterMs)
}
