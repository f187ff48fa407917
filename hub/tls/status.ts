/**
 * What there is to know of the certificate that is served, in words and numbers: for administrators' pages, for `tljh-ts status` by a file,
 * and for the log. Pure.
 */
import type { ProblemError, ProblemText } from '../../problem.ts'
import type { Certificate } from './certificate.ts'
import { warningTime } from './schedule.ts'

/** `self-signed`: browsers warn of it. */
export type Source = 'files' | 'letsencrypt' | 'self-signed'

export interface CertificateState {
  source: Source
  names: readonly string[]
  issuer: string
  /** ISO 8601, all of them. */
  from: string
  until: string
  nextAttempt?: string
  /** Why no other is served. */
  problem?: Pick<ProblemText, 'what' | 'why' | 'fix'>
  /** What is wrong with this one itself: a sentence. */
  warning?: string
}

export interface Known {
  certificate: Certificate
  source: Source
  problem: ProblemError | undefined
  /** Milliseconds since 1970, both. */
  nextAttempt: number | undefined
  nowMs: number
}

const dayMs = 24 * 3600_000

export function certificateState({ certificate, source, problem, nextAttempt, nowMs }: Known): CertificateState {
  const { names, issuer, from, until } = certificate
  const warning = warningOf(certificate, source, nowMs)
  return {
    ...{ source, names, issuer, from: iso(from), until: iso(until) },
    ...(nextAttempt === undefined ? {} : { nextAttempt: iso(Math.max(nextAttempt, nowMs)) }),
    ...(problem ? { problem: { what: problem.what, why: problem.why, fix: problem.fix } } : {}),
    ...(warning ? { warning } : {}),
  }
}

function warningOf(certificate: Certificate, source: Source, nowMs: number): string | undefined {
  const { from, until, names } = certificate
  const whose = `The certificate for ${names.join(', ') || 'no name'}`
  if (source === 'self-signed') {
    return 'The hub serves a certificate that it has signed itself, until there is another: browsers warn of it'
  }
  if (nowMs < from) {
    return `${whose} is not valid before ${iso(from)}, and this machine’s clock says ${iso(nowMs)}: set the clock, with sudo timedatectl set-ntp true`
  }
  if (nowMs >= until) return `${whose} was valid until ${iso(until)}: browsers refuse it. ${remedy[source]}`
  if (nowMs < warningTime(certificate)) return undefined
  const days = Math.floor((until - nowMs) / dayMs)
  return `${whose} ends ${days === 0 ? 'within a day' : `in ${days} ${days === 1 ? 'day' : 'days'}`} (${iso(until)}). ${remedy[source]}`
}

const remedy: Readonly<Record<Exclude<Source, 'self-signed'>, string>> = {
  files: 'Renew it, and put the new one in its place: it is taken up by itself',
  letsencrypt: 'Its renewal has failed so far; the last problem says why',
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+/, '')
}
