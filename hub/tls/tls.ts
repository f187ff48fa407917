/**
 * TLS for the hub: which certificate is served, where it comes from, and what is to be said of it.
 *
 * There is always one. A certificate that fails to load, to come or to be renewed leaves the one before in force; until there was any,
 * it is one that the hub has signed itself.
 */
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import type { TLSSocket } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../../config/meaning/config.ts'
import type { ProblemError } from '../../problem.ts'
import { type Certificate, readCertificate } from './certificate.ts'
import { watchFiles } from './certificate-files.ts'
import { type Challenges, createChallenges } from './challenges.ts'
import { type InTurn, keepRenewed, type Renewal } from './renewal.ts'
import { selfSigned } from './self-signed.ts'
import { type CertificateState, certificateState, type Source } from './status.ts'
import { openStore } from './store.ts'
import { createTlsEnd, type TlsEnd } from './tls-listener.ts'

export interface Tls {
  challenges: Challenges
  /** Hands each connection on to `onConnection`, when it has come so far. To be called once. */
  open(onConnection: (socket: TLSSocket) => void): TlsEnd
  /** To be called when both ports are open: certificates are asked for from now on. */
  begin(): void
  /** To be called when the configuration has changed. */
  refresh(): void
  /** Whether people are meant to find the hub under that name. */
  isOurs(name: string): boolean
  /** The name to send those to who came by another. Empty: none is known. */
  mainName(): string
  state(): CertificateState
  close(): void
}

export interface TlsOptions {
  config: () => Config
  /** For keys and certificates. */
  folder: string
  log: (line: string) => void
}

const remindEveryMs = 24 * 3600_000
const statusEveryMs = 3600_000

export function createTls({ config, folder, log }: TlsOptions): Tls {
  const store = openStore(folder, log)
  const challenges = createChallenges()
  const listening = config().http
  let settings = config().https
  let served = readCertificate(selfSigned(namesIn(config())))
  let source: Source = 'self-signed'
  let problem: ProblemError | undefined
  let end: TlsEnd | undefined
  let renewal: Renewal | undefined
  let hasBegun = false
  let stopSource: () => void = () => undefined
  let reminded = 0
  let lastTurn: Promise<void> = Promise.resolve()
  const inTurn: InTurn = work => {
    lastTurn = lastTurn.then(work).catch(error => log(`a certificate could not be seen to: ${String(error)}`))
    return lastTurn
  }

  function serve(certificate: Certificate, from: Source): void {
    if (certificate.fingerprint !== served.fingerprint) {
      const until = new Date(certificate.until).toISOString().slice(0, 10)
      log(
        `serving the certificate for ${certificate.names.join(', ')} from ${certificate.issuer}, valid until ${until}`,
      )
    }
    served = certificate
    source = from
    end?.use(certificate)
    tell()
  }

  function report(now: ProblemError | undefined): void {
    problem = now
    tell()
  }

  function startSource(): void {
    const { files, letsencrypt } = settings
    if (files) {
      stopSource = watchFiles(files, {
        onCertificate(certificate) {
          problem = undefined
          serve(certificate, 'files')
        },
        onProblem(found) {
          log(`${found.message}. The certificate before stays in force`)
          report(found)
        },
      })
    } else if (letsencrypt) {
      const onCertificate = (certificate: Certificate) => serve(certificate, 'letsencrypt')
      const events = { onCertificate, onProblem: report, log }
      renewal = keepRenewed({ settings: letsencrypt, store, challenges, inTurn, ...events })
      if (hasBegun) renewal.begin()
      stopSource = () => renewal?.close()
    }
  }

  function state(): CertificateState {
    return certificateState({
      certificate: served,
      source,
      problem,
      nextAttempt: renewal?.nextAttempt(),
      nowMs: Date.now(),
    })
  }

  function tell(): void {
    const now = state()
    store.keepStatus({ certificates: [now] })
    if (now.warning === undefined || source === 'self-signed' || Math.abs(Date.now() - reminded) < remindEveryMs) return
    reminded = Date.now()
    log(now.warning)
  }

  startSource()
  const timer = setInterval(tell, statusEveryMs).unref()

  return {
    challenges,
    open(onConnection) {
      end = createTlsEnd(served, challenges, onConnection)
      return end
    },
    begin() {
      hasBegun = true
      renewal?.begin()
      tell()
    },
    refresh() {
      // A hub that listens elsewhere by the file is about to be restarted, and what it began now would be cut off.
      const isMoving = !isDeepStrictEqual(listening, config().http)
      if (isMoving || isDeepStrictEqual(settings, config().https)) return
      settings = config().https
      stopSource()
      stopSource = () => undefined
      renewal = undefined
      problem = undefined
      startSource()
      tell()
    },
    isOurs(name) {
      const { userDomains } = config()
      const isOfUsers = userDomains !== '' && (name === userDomains || name.endsWith(`.${userDomains}`))
      const isCovered = source !== 'self-signed' && served.covers(name.replace(/^\[|\]$/g, ''))
      return isOfUsers || namesIn(config()).includes(name) || isCovered
    },
    mainName: () => mainName(config(), source === 'self-signed' ? [] : served.names),
    state,
    close() {
      stopSource()
      clearInterval(timer)
    },
  }
}

/** What the hub is to be called by, as far as the configuration has it. */
function namesIn({ userDomains, https }: Config): string[] {
  const names = [...(userDomains ? [userDomains, `*.${userDomains}`] : []), ...(https.letsencrypt?.domains ?? [])]
  return names.length ? names : [hostname()]
}

/** No address: whoever came by another would be led from one machine to the number of another. */
function mainName({ userDomains, https }: Config, certified: readonly string[]): string {
  const known = [userDomains, ...(https.letsencrypt?.domains ?? []), ...certified]
  return known.find(name => name !== '' && !name.startsWith('*') && isIP(name) === 0) ?? ''
}
