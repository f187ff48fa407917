/**
 * The ACME server itself: where it is, whom it is trusted by, and whether it can be asked at all. Its directory is asked for before
 * anything else, because that costs nothing and tells the most: whether there is a way out, whether its certificate is trusted, and
 * what time it is there.
 */
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { rootCertificates } from 'node:tls'
import { ProblemError } from '../../problem.ts'

export interface AcmeSettings {
  directoryUrl: string
  /** Whom the server may write to. Empty: nobody. */
  email: string
  domains: readonly string[]
  /** File with the certificates that the server's own are signed by. Empty: the usual ones. */
  ca: string
}

/** How an attempt ended without a certificate. */
export class AcmeError extends ProblemError {
  /** `unreachable`: nothing was counted. `refused`: the server may have counted it. */
  readonly kind: 'unreachable' | 'refused'
  /** How long the server wants not to be asked. */
  readonly retryAfterMs: number

  constructor(kind: AcmeError['kind'], text: AcmeErrorText, retryAfterMs = 0) {
    super('CERTIFICATE_NOT_ISSUED', text)
    this.kind = kind
    this.retryAfterMs = retryAfterMs
  }
}

interface AcmeErrorText {
  what: string
  why: string
  fix: string
  cause?: unknown
}

const requestTimeoutMs = 30_000
/** A clock that is further off makes certificates look expired, or not valid yet. */
const mostSkewMs = 5 * 60_000

/** Trusts what `ca` says beside what everybody trusts; undefined where that is not wanted. Throws `AcmeError`. */
export function agentFor({ ca }: Pick<AcmeSettings, 'ca'>): Agent | undefined {
  if (ca === '') return undefined
  try {
    return new Agent({ ca: [...rootCertificates, readFileSync(ca, 'utf8')] })
  } catch (cause) {
    throw new AcmeError('unreachable', {
      what: 'No certificate was asked for',
      why: `the hub cannot read ${ca} (https.letsencrypt.ca)`,
      fix: 'Put the file where the group tljh-hub may read it',
      cause,
    })
  }
}

/** Throws `AcmeError`, where it makes no sense to ask for a certificate now. */
export async function askDirectory({ directoryUrl }: AcmeSettings, agent: Agent | undefined): Promise<void> {
  let answer: IncomingMessage
  try {
    answer = await get(directoryUrl, agent)
  } catch (error) {
    throw unreachable(directoryUrl, error)
  }
  const { statusCode = 0, headers } = answer
  const skewMs = Date.parse(headers.date ?? '') - Date.now()
  if (Math.abs(skewMs) > mostSkewMs) throw wrongClock(directoryUrl, skewMs)
  if (statusCode === 200) return
  throw new AcmeError(
    'unreachable',
    {
      what: `The certificate authority ${hostOf(directoryUrl)} is not to be asked now`,
      why: `it answers with status ${statusCode}`,
      fix: 'It is tried again by itself. If it goes on, check https.letsencrypt.directory_url',
    },
    millisecondsIn(headers['retry-after']),
  )
}

/** Of a header Retry-After: seconds, or a date (RFC 9110 section 10.2.3). 0: none. */
export function millisecondsIn(retryAfter: unknown, nowMs: number = Date.now()): number {
  if (typeof retryAfter !== 'string') return 0
  const ms = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - nowMs
  return Number.isFinite(ms) ? Math.max(ms, 0) : 0
}

export function hostOf(directoryUrl: string): string {
  return URL.parse(directoryUrl)?.host ?? directoryUrl
}

function get(url: string, agent: Agent | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { timeout: requestTimeoutMs, agent: agent ?? false }, answer => {
      answer.resume()
      resolve(answer)
    })
    asked.on('timeout', () => asked.destroy(new Error(`it said nothing for ${requestTimeoutMs / 1000} seconds`)))
    asked.on('error', reject)
    asked.end()
  })
}

function unreachable(directoryUrl: string, error: unknown): AcmeError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  // Without an answer, its certificate is the only thing that says what time it is.
  if (code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED') return wrongClock(directoryUrl, undefined, code)
  const isUntrusted = /^(?:SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|ERR_TLS)/.test(code)
  return new AcmeError('unreachable', {
    what: `The certificate authority ${hostOf(directoryUrl)} could not be asked`,
    why: isUntrusted ? `its own certificate is not trusted (${code})` : messageOf(error),
    fix: isUntrusted
      ? 'Name the file with the certificates that its own is signed by: https.letsencrypt.ca'
      : `See whether this machine has a way out: curl ${directoryUrl}. It is tried again by itself`,
    cause: error,
  })
}

function wrongClock(directoryUrl: string, skewMs: number | undefined, code = ''): AcmeError {
  const now = `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`
  const why =
    skewMs === undefined
      ? `by this machine’s clock (${now}), the certificate of ${hostOf(directoryUrl)} is ${code === 'CERT_HAS_EXPIRED' ? 'out of date' : 'not valid yet'}: probably the clock is wrong`
      : `this machine’s clock says ${now}, and that of ${hostOf(directoryUrl)} is ${Math.round(Math.abs(skewMs) / 60_000)} minutes ${skewMs > 0 ? 'ahead' : 'behind'}`
  return new AcmeError('unreachable', {
    what: 'No certificate was asked for',
    why,
    fix: 'Set the clock: sudo timedatectl set-ntp true. It is tried again by itself',
  })
}

/** Errors of a connection to several addresses have their words one level deeper. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length) return messageOf(error.errors[0])
  if (!(error instanceof Error)) return String(error)
  return error.message || ('code' in error ? String(error.code) : error.name)
}
