/**
 * A certificate with its key, read and checked: only what belongs together gets as far as a listener.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { ProblemError } from '../../problem.ts'
import type { KeyAndChain } from './self-signed.ts'

export interface Certificate extends KeyAndChain {
  /** Domains and addresses, as they are written in it. */
  names: string[]
  /** Who has signed it, in words. */
  issuer: string
  /** Milliseconds since 1970, both. */
  from: number
  until: number
  /** SHA-256 of the certificate itself, in hexadecimal digits. */
  fingerprint: string
  /** Whether it is for that name: by the rules for wildcards, or as an address. */
  covers(name: string): boolean
}

/** What `openssl ciphers` lists as ECDHE with authenticated encryption; TLS 1.3 has its own three. */
const ciphers = [
  ...['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'],
  ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
  ...['ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
].join(':')

/** Throws `CERTIFICATE`, which says what is wrong with it. */
export function readCertificate({ key, chain }: KeyAndChain): Certificate {
  const first = parsed(
    () => new X509Certificate(chain),
    'the certificate is none',
    'Use a PEM file that begins with -----BEGIN CERTIFICATE',
  )
  const privateKey = parsed<KeyObject>(
    () => createPrivateKey(key),
    'the private key is none without a passphrase',
    'Use a PEM file that begins with -----BEGIN PRIVATE KEY',
  )
  if (!first.checkPrivateKey(privateKey)) {
    throw wrong('the key does not belong to the certificate', 'Use the key that the certificate was made with')
  }
  parsed(
    () => createSecureContext(contextOptions({ key, chain })),
    'it cannot be used for TLS',
    'Use a key of RSA with 2048 bits or more, or of P-256',
  )
  return {
    key,
    chain,
    names: namesIn(first),
    issuer: issuerOf(first),
    from: Date.parse(first.validFrom),
    until: Date.parse(first.validTo),
    fingerprint: first.fingerprint256.replaceAll(':', '').toLowerCase(),
    covers: name => (isIP(name) ? first.checkIP(name) : first.checkHost(name, { subject: 'never' })) !== undefined,
  }
}

export function contextOptions({ key, chain }: KeyAndChain): SecureContextOptions {
  return { key, cert: chain, ciphers, minVersion: 'TLSv1.2' }
}

function namesIn({ subjectAltName = '' }: X509Certificate): string[] {
  return [...subjectAltName.matchAll(/(?:DNS|IP Address):([^\s,"]+)/g)].map(([, name = '']) => name)
}

function issuerOf({ issuer, subject }: X509Certificate): string {
  if (issuer === subject) return 'itself'
  const parts = new Map(issuer.split('\n').map(line => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]))
  return [parts.get('O'), parts.get('CN')].filter(Boolean).join(', ') || issuer.replaceAll('\n', ', ')
}

function parsed<Result>(read: () => Result, why: string, fix: string): Result {
  try {
    return read()
  } catch (cause) {
    throw wrong(why, fix, cause)
  }
}

function wrong(why: string, fix: string, cause?: unknown): ProblemError {
  return new ProblemError('CERTIFICATE', { what: 'The certificate cannot be used', why, fix, cause })
}
