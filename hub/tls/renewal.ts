/**
 * Keeps one certificate of an ACME server: has it made, renews it at two thirds of its life, and asks again after a failure, ever more
 * seldom (hub/tls/waits.ts). What it is waiting for is in a file, so that a hub that is restarted over and over asks no more often.
 *
 * What always holds: one attempt at a time; nothing is asked of the server before each domain was seen to lead here
 * (hub/tls/preflight.ts), but once a day, because some networks do not lead back to themselves.
 */
import { ProblemError } from '../../problem.ts'
import { issue, newAccountKey } from './acme.ts'
import { AcmeError, type AcmeSettings } from './authority.ts'
import { type Certificate, readCertificate } from './certificate.ts'
import type { Challenges } from './challenges.ts'
import { type ChallengeKind, PreflightError, preflight } from './preflight.ts'
import type { Attempts, Store } from './store.ts'
import { type FailureKind, renewalTime, waitAfter } from './waits.ts'

export interface RenewalOptions {
  settings: AcmeSettings
  store: Store
  challenges: Challenges
  onCertificate(certificate: Certificate): void
  /** Undefined: there is none any more. */
  onProblem(problem: ProblemError | undefined): void
  log: (line: string) => void
}

export interface Renewal {
  /** To be called when this hub can be asked for its answers to challenges. */
  begin(): void
  /** Milliseconds since 1970. */
  nextAttempt(): number
  close(): void
}

/** A timer knows nothing of a machine that sleeps, or of a clock that is set. */
const longestTimerMs = 15 * 60_000
const dayMs = 24 * 3600_000

/** Hands over what is there already at once. */
export function keepRenewed({ settings, store, challenges, onCertificate, onProblem, log }: RenewalOptions): Renewal {
  const { directoryUrl, domains } = settings
  const about = JSON.stringify([directoryUrl, domains])
  let timer: NodeJS.Timeout | undefined
  let isClosed = false
  let current = store.certificate(directoryUrl)
  if (current && domains.some(current.covers)) onCertificate(current)
  const left = failures()
  if (left) onProblem(new ProblemError('CERTIFICATE_NOT_ISSUED', left.problem))

  function failures(): Attempts | undefined {
    const attempts = store.attempts()
    return attempts?.about === about ? attempts : undefined
  }

  function dueAt(): number {
    const isWhole = current !== undefined && domains.every(current.covers)
    const wanted = isWhole && current ? renewalTime(current) : 0
    return Math.max(wanted, failures()?.nextAttempt ?? 0)
  }

  function schedule(): void {
    if (isClosed) return
    const wait = Math.max(0, Math.min(dueAt() - Date.now(), longestTimerMs))
    timer = setTimeout(() => {
      if (dueAt() > Date.now()) return schedule()
      void attempt().then(schedule)
    }, wait)
    timer.unref()
  }

  async function attempt(): Promise<void> {
    try {
      const kindsOf = await openWays()
      const accountKey = store.accountKey(directoryUrl) ?? (await newAccountKey())
      store.keepAccountKey(directoryUrl, accountKey)
      log(`asking ${directoryUrl} for a certificate for ${domains.join(', ')}`)
      const pair = await issue({ settings, accountKey, challenges, kindsOf })
      const certificate = readCertificate(pair)
      store.keepCertificate(directoryUrl, pair)
      store.keepAttempts(undefined)
      current = certificate
      if (isClosed) return
      onCertificate(certificate)
      onProblem(undefined)
      log(`a certificate for ${certificate.names.join(', ')} has come from ${certificate.issuer}`)
    } catch (error) {
      fail(error)
    }
  }

  /** Throws `PreflightError` of the first domain that does not pass. */
  async function openWays(): Promise<ReadonlyMap<string, readonly ChallengeKind[]>> {
    const results = await Promise.allSettled(domains.map(domain => preflight(domain, challenges)))
    const problems = results.flatMap(result => (result.status === 'rejected' ? [result.reason] : []))
    const mayBeOpen = problems.every(problem => problem instanceof PreflightError && problem.mayBeOpen)
    const askedBlindly = failures()?.askedBlindly ?? 0
    const isAskedBlindly =
      problems.length > 0 && mayBeOpen && Date.now() - askedBlindly > dayMs && failures() !== undefined
    if (problems.length && !isAskedBlindly) throw problems[0]
    if (isAskedBlindly) keepFailure('preflight', problems[0], 0, Date.now())
    const all: ChallengeKind[] = ['http-01', 'tls-alpn-01']
    return new Map(
      domains.map((domain, index) => {
        const result = results[index]
        return [domain, result?.status === 'fulfilled' ? result.value : all]
      }),
    )
  }

  function fail(error: unknown): void {
    const isCounted = error instanceof AcmeError && error.kind === 'refused'
    const kind = error instanceof PreflightError ? 'preflight' : isCounted ? 'refused' : 'unreachable'
    const problem = error instanceof ProblemError ? error : unforeseen(error)
    const retryAfterMs = error instanceof AcmeError ? error.retryAfterMs : 0
    keepFailure(kind, problem, retryAfterMs)
    if (isClosed) return
    log(`${problem.message} (next attempt: ${new Date(dueAt()).toISOString()})`)
    onProblem(problem)
  }

  function keepFailure(
    kind: FailureKind,
    { what, why, fix }: ProblemError,
    retryAfterMs: number,
    blindly?: number,
  ): void {
    const before = failures()
    const count = before?.kind === kind ? before.failures + 1 : 1
    store.keepAttempts({
      ...{ about, kind, failures: count, problem: { what, why, fix } },
      nextAttempt: Date.now() + waitAfter(kind, count, retryAfterMs),
      askedBlindly: blindly ?? before?.askedBlindly ?? 0,
    })
  }

  return {
    begin: schedule,
    nextAttempt: dueAt,
    close() {
      isClosed = true
      clearTimeout(timer)
    },
  }
}

function unforeseen(cause: unknown): ProblemError {
  return new ProblemError('CERTIFICATE_NOT_ISSUED', {
    what: 'No certificate was asked for',
    why: cause instanceof Error ? cause.message : String(cause),
    fix: 'It is tried again by itself. If it goes on, see: sudo journalctl -u tljh-hub',
    cause,
  })
}
