/**
 * Looks, before an ACME server is asked for anything, whether it would find this hub under a domain: what it would try is tried from
 * here, with an answer that only this hub can give. A failure costs nothing, while an ACME server counts each (Let's Encrypt: five an
 * hour for a name).
 */
import { randomBytes } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { connect } from 'node:tls'
import { ProblemError } from '../../problem.ts'
import { readCertificate } from './certificate.ts'
import { type Challenges, challengePath, challengeProtocol } from './challenges.ts'
import { selfSigned } from './self-signed.ts'

/** The ways in which an ACME server can be shown that a domain is ours. */
export type ChallengeKind = 'http-01' | 'tls-alpn-01'

/** What came of asking one port of one address. */
type Answer = 'ours' | 'closed' | 'another'

/** Nobody can have them elsewhere: the protocol has these numbers in it. */
const httpPort = 80
const tlsPort = 443
const patienceMs = 5_000

/** A domain that has not passed. */
export class PreflightError extends ProblemError {
  /** Whether nothing but the port was in the way: a network that does not lead back to itself looks the same from inside. */
  readonly mayBeOpen: boolean

  constructor(mayBeOpen: boolean, text: { what: string; why: string; fix: string }) {
    super('CERTIFICATE_PREFLIGHT', text)
    this.mayBeOpen = mayBeOpen
  }
}

/** Answers the ways that work for that domain, the best first: never none. Throws `PreflightError`. */
export async function preflight(domain: string, challenges: Challenges): Promise<ChallengeKind[]> {
  const addresses = await addressesOf(domain)
  const [byHttp, byTls] = await Promise.all([
    overHttp(domain, addresses, challenges),
    overTls(domain, addresses, challenges),
  ])
  const kinds: ChallengeKind[] = []
  if (byHttp.every(answer => answer === 'ours')) kinds.push('http-01')
  if (byTls.every(answer => answer === 'ours')) kinds.push('tls-alpn-01')
  if (kinds.length) return kinds
  throw await failure(domain, addresses, byHttp)
}

async function addressesOf(domain: string): Promise<string[]> {
  try {
    const found = await lookup(domain, { all: true })
    return [...new Set(found.map(({ address }) => address))]
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    const isUnknown = code === 'ENOTFOUND' || code === 'ENODATA'
    throw new PreflightError(false, {
      what: `No certificate for ${domain} was asked for`,
      why: isUnknown
        ? `there is no address of ${domain} in the domain name system`
        : `its address could not be looked up (${code})`,
      fix: isUnknown
        ? `Check its spelling in https.letsencrypt.domains, and have whoever runs the domain enter this machine’s address`
        : 'See whether this machine has a name server: resolvectl status. It is tried again',
    })
  }
}

async function failure(
  domain: string,
  addresses: readonly string[],
  answers: readonly Answer[],
): Promise<PreflightError> {
  const what = `No certificate for ${domain} was asked for`
  const bad = answers.findIndex(answer => answer !== 'ours')
  const address = addresses[bad] ?? ''
  if (answers[bad] === 'another') {
    return new PreflightError(false, {
      what,
      why: `${domain} leads to ${address}, where another web server answers on port ${httpPort}`,
      fix: `Have ${domain} lead to this machine alone in the domain name system, or whatever stands in front of it pass port ${httpPort} on as it comes`,
    })
  }
  const isHere = await isOwn(address)
  return new PreflightError(!isHere, {
    what,
    why: isHere
      ? `${domain} leads to this machine (${address}), but the hub does not listen on port ${httpPort} there`
      : `${domain} leads to ${address}, and nothing answers there on port ${httpPort}, nor on port ${tlsPort}`,
    fix: isHere
      ? `Let http.port be ${httpPort} or https.port ${tlsPort}, and http.address be empty`
      : `Open port ${httpPort} in the firewall (and with a cloud provider, in the group that the machine is in), and check that ${address} is this machine’s address`,
  })
}

async function overHttp(domain: string, addresses: readonly string[], challenges: Challenges): Promise<Answer[]> {
  const token = `self-check-${randomBytes(24).toString('base64url')}`
  const secret = randomBytes(24).toString('base64url')
  using _offer = challenges.offerToken(token, secret)
  return await Promise.all(addresses.map(address => askHttp(domain, address, `${challengePath}${token}`, secret)))
}

function askHttp(domain: string, address: string, path: string, secret: string): Promise<Answer> {
  return new Promise(resolve => {
    const options = {
      host: address,
      port: httpPort,
      path,
      headers: { host: domain },
      agent: false,
      timeout: patienceMs,
    }
    const asked = request(options, answer => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (piece: string) => {
        text += piece
        if (text.length > 1000) answer.destroy()
      })
      answer.on('close', () => resolve(text === secret ? 'ours' : 'another'))
    })
    asked.on('timeout', () => asked.destroy())
    asked.on('error', () => resolve('closed'))
    asked.end()
  })
}

async function overTls(domain: string, addresses: readonly string[], challenges: Challenges): Promise<Answer[]> {
  const pair = selfSigned([domain])
  const { fingerprint } = readCertificate(pair)
  using _offer = challenges.offerContext(domain, pair)
  return await Promise.all(addresses.map(address => askTls(domain, address, fingerprint)))
}

function askTls(domain: string, address: string, fingerprint: string): Promise<Answer> {
  return new Promise(resolve => {
    const socket = connect({
      ...{ host: address, port: tlsPort, servername: domain, ALPNProtocols: [challengeProtocol] },
      ...{ timeout: patienceMs, rejectUnauthorized: false },
    })
    const end = (answer: Answer) => {
      resolve(answer)
      socket.destroy()
    }
    socket.on('secureConnect', () => {
      const seen = socket.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase()
      end(seen === fingerprint ? 'ours' : 'another')
    })
    socket.on('timeout', () => end('closed'))
    socket.on('error', () => end('closed'))
  })
}

/** Whether this machine has that address. The list of its interfaces takes a kind of socket that the hub may not have; an attempt to listen does not. */
function isOwn(address: string): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
    server.on('error', () => resolve(false))
    server.listen({ host: address, port: 0 }, () => server.close(() => resolve(true)))
  })
}
