/**
 * Keeps one certificate of an ACME server: has it made, renews it at two thirds of its life, and asks again after a failure, ever more
 * seldom (hub/tls/schedule.ts). What it is waiting for is in a file, so that a hub that is restarted over and over asks no more often.
 *
 * What always holds: one attempt at a time; before an order, it is on the disk when the next one may be made, so that neither a full disk nor
 * a hub that is killed makes certificates by the dozen (Let's Encrypt: five of the same names a week); nothing is asked of the server before each domain was seen to lead here
 * (hub/tls/preflight.ts), but once a day, because some networks do not lead back to themselves.
 */
import { ProblemError, type ProblemText } from '../../problem.ts'
import { issue, newAccountKey } from './acme.ts'
import { AcmeError, type AcmeSettings } from './authority.ts'
import { type Certificate, readCertificate } from './certificate.ts'
import type { Challenges } from './challenges.ts'
import { type ChallengeKind, PreflightError, preflight } from './preflight.ts'
import { type FailureKind, renewalTime, waitAfter } from './schedule.ts'
import type { Attempts, Store } from './store.ts'

/** Does one thing after the other, also those of several callers. What it is given must not throw. */
export type InTurn = (work: () => Promise<void>) => Promise<void>

export interface RenewalOptions {
  settings: AcmeSettings
  store: Store
  challenges: Challenges
  /** For attempts: one that was begun for other settings goes on to its end. */
  inTurn: InTurn
  onCertificate(certificate: Certificate): void
  /** Undefined: there is none any more. */
  onProblem(problem: ProblemError | undefined): void
  log: (line: string) => void
  /** How a certificate is made, and what is looked at before. */
  issue?: typeof issue
  preflight?: typeof preflight
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
export function keepRenewed(options: RenewalOptions): Renewal {
  const { settings, store, challenges, inTurn, onCertificate, onProblem, log } = options
  const { issue: order = issue, preflight: look = preflight } = options
  const { directoryUrl, domains } = settings
  const about = JSON.stringify([directoryUrl, domains])
  let timer: NodeJS.Timeout | undefined
  let isClosed = false
  let current: Certificate | undefined
  takeStored()

  function takeStored(): void {
    const stored = store.certificate(directoryUrl)
    const left = failures()
    if (stored && stored.fingerprint !== current?.fingerprint) {
      current = stored
      if (domains.some(stored.covers)) onCertificate(stored)
    }
    onProblem(left && new ProblemError('CERTIFICATE_NOT_ISSUED', left.problem))
  }

  function failures(): Attempts | undefined {
    const attempts = store.attempts()
    return attempts?.about === about ? attempts : undefined
  }

  /** When there should be another certificate, as far as the present one has a say in it. */
  function wantedAt(): number {
    return current && domains.every(current.covers) ? renewalTime(current) : 0
  }

  function dueAt(): number {
    return Math.max(wantedAt(), failures()?.nextAttempt ?? 0)
  }

  function schedule(): void {
    if (isClosed) return
    const wait = Math.max(0, Math.min(dueAt() - Date.now(), longestTimerMs))
    timer = setTimeout(() => {
      if (dueAt() <= Date.now()) return void inTurn(attempt).then(schedule)
      settle()
      schedule()
    }, wait)
    timer.unref()
  }

  /** Where all is well, and what has failed is over: a certificate that could not be stored is stored now. */
  function settle(): void {
    if (wantedAt() <= Date.now() || !failures() || !store.isKept() || !store.keepAttempts(undefined)) return
    onProblem(undefined)
  }

  async function attempt(): Promise<void> {
    if (isClosed) return
    const before = failures()
    let hasOrdered = false
    const beforeOrder = () => {
      if (isClosed) throw new AcmeError('unreachable', withdrawn)
      if (!keepFailure('refused', interrupted(), 0, { before })) throw new AcmeError('unreachable', unwritable)
      hasOrdered = true
    }
    try {
      const kindsOf = await openWays()
      const accountKey = store.accountKey(directoryUrl) ?? (await newAccountKey())
      if (!store.keepAccountKey(directoryUrl, accountKey)) throw new AcmeError('unreachable', unwritable)
      log(`asking ${directoryUrl} for a certificate for ${domains.join(', ')}`)
      const pair = await order({ settings, accountKey, challenges, kindsOf, beforeOrder })
      take(readCertificate(pair), store.keepCertificate(directoryUrl, pair))
    } catch (error) {
      fail(error, hasOrdered, before)
    }
  }

  /** Serves it, whether or not it could be stored: it was counted. Throws where it could not be. */
  function take(certificate: Certificate, isStored: boolean): void {
    current = certificate
    if (!isClosed) onCertificate(certificate)
    log(`a certificate for ${certificate.names.join(', ')} has come from ${certificate.issuer}`)
    if (!isStored) throw new AcmeError('refused', unstored)
    store.keepAttempts(undefined)
    if (!isClosed) onProblem(undefined)
  }

  /** Throws `PreflightError` of the first domain that does not pass. */
  async function openWays(): Promise<ReadonlyMap<string, readonly ChallengeKind[]>> {
    const results = await Promise.allSettled(domains.map(domain => look(domain, challenges)))
    const problems = results.flatMap(result => (result.status === 'rejected' ? [result.reason] : []))
    const mayBeOpen = problems.every(problem => problem instanceof PreflightError && problem.mayBeOpen)
    const askedBlindly = failures()?.askedBlindly ?? 0
    const isAskedBlindly =
      problems.length > 0 && mayBeOpen && Math.abs(Date.now() - askedBlindly) > dayMs && failures() !== undefined
    if (problems.length && !isAskedBlindly) throw problems[0]
    if (isAskedBlindly) keepFailure('preflight', problems[0], 0, { before: failures(), blindly: Date.now() })
    const all: ChallengeKind[] = ['http-01', 'tls-alpn-01']
    return new Map(
      domains.map((domain, index) => {
        const result = results[index]
        return [domain, result?.status === 'fulfilled' ? result.value : all]
      }),
    )
  }

  /** Whatever fails after an order was counted. Nobody asks any more what else has failed for settings that are gone. */
  function fail(error: unknown, hasOrdered: boolean, before: Attempts | undefined): void {
    const isCounted = hasOrdered || (error instanceof AcmeError && error.kind === 'refused')
    if (isClosed && !isCounted) return
    const kind = isCounted ? 'refused' : error instanceof PreflightError ? 'preflight' : 'unreachable'
    const problem = error instanceof ProblemError ? error : unforeseen(error)
    const retryAfterMs = error instanceof AcmeError ? error.retryAfterMs : 0
    keepFailure(kind, problem, retryAfterMs, { before })
    if (isClosed) return
    log(`${problem.message} (next attempt: ${new Date(dueAt()).toISOString()})`)
    onProblem(problem)
  }

  /** Answers whether it is on the disk. `before`: what has failed until this attempt. */
  function keepFailure(
    kind: FailureKind,
    { what, why, fix }: ProblemText,
    retryAfterMs: number,
    { before, blindly }: { before: Attempts | undefined; blindly?: number },
  ): boolean {
    const count = before?.kind === kind ? before.failures + 1 : 1
    return store.keepAttempts({
      ...{ about, kind, failures: count, problem: { what, why, fix } },
      nextAttempt: Date.now() + waitAfter(kind, count, retryAfterMs),
      askedBlindly: blindly ?? failures()?.askedBlindly ?? 0,
    })
  }

  return {
    begin() {
      // What an attempt for the settings before may still bring can be what is wanted now.
      const takeOver = async () => {
        if (!isClosed) takeStored()
      }
      void inTurn(takeOver).then(schedule)
    },
    nextAttempt: dueAt,
    close() {
      isClosed = true
      clearTimeout(timer)
    },
  }
}

const unwritable = {
  what: 'No certificate was asked for',
  why: 'the hub can write nothing to its folder for certificates, and could not keep the one that came',
  fix: 'Make room, if the disk is full (df -h /opt/tljh/state). It is tried again by itself',
}

const unstored = {
  what: 'The certificate that has come is served, but could not be stored',
  why: 'the hub can write nothing to its folder for certificates, so a restart would lose it',
  fix: 'Make room, if the disk is full (df -h /opt/tljh/state), before the hub is restarted. It is then stored by itself',
}

const withdrawn = {
  what: 'No certificate was asked for',
  why: 'the configuration has changed meanwhile',
  fix: 'Nothing: what is configured now is asked for',
}

/** Of an attempt that is under way: somebody else reads it only where it came to no end. */
function interrupted(): ProblemText {
  return {
    what: 'The last attempt to get a certificate was cut short',
    why: `the hub was stopped after it had begun, on ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
    fix: 'It is tried again by itself, but not at once, because the authority may have counted it',
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
