/**
 * What this hub answers when somebody checks whether a domain is its own: an ACME server (RFC 8555 section 8.3, RFC 8737), and the hub
 * itself beforehand (hub/tls/preflight.ts). All of it is in memory, and only for as long as a check lasts.
 */
import { createSecureContext, type SecureContext } from 'node:tls'
import { contextOptions } from './certificate.ts'
import type { KeyAndChain } from './self-signed.ts'

export interface Challenges {
  /** Answers on port 80, below /.well-known/acme-challenge/. */
  answerTo(token: string): string | undefined
  /** Answers on port 443, to whoever offers the protocol `acme-tls/1`. */
  contextFor(domain: string): SecureContext | undefined
  /** Both are withdrawn by disposing of what is returned. */
  offerToken(token: string, answer: string): Disposable
  offerContext(domain: string, pair: KeyAndChain): Disposable
}

export const challengePath = '/.well-known/acme-challenge/'
export const challengeProtocol = 'acme-tls/1'

export function createChallenges(): Challenges {
  const tokens = new Map<string, string>()
  const contexts = new Map<string, SecureContext>()
  return {
    answerTo: token => tokens.get(token),
    contextFor: domain => contexts.get(domain.toLowerCase()),
    offerToken: (token, answer) => offer(tokens, token, answer),
    offerContext: (domain, pair) => offer(contexts, domain.toLowerCase(), createSecureContext(contextOptions(pair))),
  }
}

function offer<Answer>(all: Map<string, Answer>, name: string, answer: Answer): Disposable {
  all.set(name, answer)
  return {
    [Symbol.dispose]() {
      // A later offer of the same name stays.
      if (all.get(name) === answer) all.delete(name)
    },
  }
}
