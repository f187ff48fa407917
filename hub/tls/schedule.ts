/**
 * When a certificate is renewed, and how long to wait after a failure: pure, so that years can be tried in a test.
 *
 * Let's Encrypt counts failed validations: five an hour for an account and a name. An attempt of ours makes at most two (HTTP-01, then
 * TLS-ALPN-01), and half an hour is the least between two that were counted. What is only tried from here costs nobody anything.
 */
import type { Certificate } from './certificate.ts'

/** `preflight` and `unreachable`: nothing was counted. `refused`: an authority has counted it. */
export type FailureKind = 'preflight' | 'unreachable' | 'refused'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs

const waits: Readonly<Record<FailureKind, { first: number; most: number }>> = {
  preflight: { first: 10_000, most: hourMs },
  unreachable: { first: 10_000, most: hourMs },
  refused: { first: 30 * minuteMs, most: 12 * hourMs },
}
/** Whatever a server says: Let's Encrypt's own limits count by the week at most. */
export const longestWaitMs = 7 * dayMs
/** Of a wait: many hubs that failed together do not come back together. */
const jitter = 0.1
/** Of a certificate's life. */
const renewalShare = 2 / 3
const renewalJitter = 0.05
/** Before its end, of those that live for months; a quarter of the life of shorter ones. */
const warningMs = 14 * dayMs

/** @param failures of that kind one after the other, this one included */
export function waitAfter(
  kind: FailureKind,
  failures: number,
  retryAfterMs = 0,
  random: number = Math.random(),
): number {
  const { first, most } = waits[kind]
  const wait = Math.min(most, first * 2 ** Math.min(failures - 1, 20))
  return Math.max(Math.min(retryAfterMs, longestWaitMs), Math.round(wait * (1 + jitter * random)))
}

type Life = Pick<Certificate, 'from' | 'until' | 'fingerprint'>

/** Two thirds of the life, and a little more that the certificate itself decides: a restart changes nothing of it. */
export function renewalTime({ from, until, fingerprint }: Life): number {
  const share = Number.parseInt(fingerprint.slice(0, 8), 16) / 2 ** 32
  return from + (until - from) * (renewalShare + renewalJitter * share)
}

/** From when on it is said that the end is near. */
export function warningTime({ from, until }: Life): number {
  return until - Math.min(warningMs, (until - from) / 4)
}
