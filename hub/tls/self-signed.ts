/**
 * A certificate that nobody but this hub has signed: what is served until a real one is there, and what a self-check of port 443
 * is recognised by. Browsers warn of it, and the person may go on; a server without any certificate would be a blank error.
 *
 * It is written in DER by hand (X.509 is in RFC 5280, DER in X.690), because Node.js makes keys and signatures, but no certificates.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP, isIPv4 } from 'node:net'

/** Both as PEM. */
export interface KeyAndChain {
  key: string
  chain: string
}

const dayMs = 24 * 3600_000
/** Clocks of browsers are not all right. */
const backdatedMs = dayMs
const lifeMs = 90 * dayMs
/** The longest that a subject's name may be. */
const longestName = 64

/** @param names domains and IPv4 addresses; what is neither is left out */
export function selfSigned(names: readonly string[], nowMs: number = Date.now()): KeyAndChain {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const subject = nameOf(names.find(name => name.length <= longestName) ?? 'tljh-ts')
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    // Positive, and at most 20 octets.
    integer(Buffer.concat([Buffer.from([0x40]), randomBytes(15)])),
    ecdsaWithSha256,
    subject,
    sequence(time(nowMs - backdatedMs), time(nowMs + lifeMs)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...alternativeNames(names))),
  )
  const certificate = sequence(body, ecdsaWithSha256, bits(signatureOf(body, privateKey)))
  return { key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })), chain: pem(certificate) }
}

function signatureOf(body: Buffer, key: KeyObject): Buffer {
  return sign('sha256', body, key)
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

function nameOf(commonName: string): Buffer {
  return sequence(tagged(0x31, sequence(objectId('550403'), tagged(0x0c, Buffer.from(commonName)))))
}

function alternativeNames(names: readonly string[]): Buffer[] {
  const written = names.flatMap(name => {
    if (isIPv4(name)) return [tagged(0x87, Buffer.from(name.split('.').map(Number)))]
    return isIP(name) === 0 && /^[\x21-\x7e]+$/.test(name) ? [tagged(0x82, Buffer.from(name))] : []
  })
  return written.length ? [sequence(objectId('551d11'), tagged(0x04, sequence(...written)))] : []
}

/** UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5). */
function time(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '')}`
  return Number(text.slice(0, 4)) < 2050 ? tagged(0x17, Buffer.from(text.slice(2))) : tagged(0x18, Buffer.from(text))
}

const ecdsaWithSha256 = sequence(objectId('2a8648ce3d040302'))

function sequence(...parts: Buffer[]): Buffer {
  return tagged(0x30, ...parts)
}

function explicit(number: number, content: Buffer): Buffer {
  return tagged(0xa0 + number, content)
}

function integer(value: Buffer): Buffer {
  return tagged(0x02, value)
}

function bits(value: Buffer): Buffer {
  return tagged(0x03, Buffer.from([0]), value)
}

function objectId(hex: string): Buffer {
  return tagged(0x06, Buffer.from(hex, 'hex'))
}

function tagged(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content])
  const size = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
