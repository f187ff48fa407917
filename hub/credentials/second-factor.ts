/**
 * The second factor: a code that a device makes from a shared secret and the clock (TOTP, RFC 6238: SHA-1, 6 digits, 30 seconds, as
 * every app has it), and ten recovery codes for the day on which the device is lost. Each code counts once.
 */
import { createHash } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { Secret, TOTP } from 'otpauth'
import type { UserName } from '../../config/users/names.ts'
import { legibleLetters } from './readable-codes.ts'

export interface SecondFactors {
  isOn(user: UserName): boolean
  /** A secret to put into a device, which counts for nothing yet; the one that is given, where somebody tries again. */
  propose(user: UserName, secret?: string): NewFactor
  /** Switches it on where `code` is right for that secret. Answers the recovery codes, to be shown once; undefined where it is wrong. */
  switchOn(user: UserName, secret: string, code: string): string[] | undefined
  switchOff(user: UserName): void
  /** Whether that is the device's code of this moment, or a recovery code; uses it up. */
  take(user: UserName, code: string): boolean
}

export interface NewFactor {
  /** Base32, as people type it into an app. */
  secret: string
  /** An otpauth: address, for a QR code. */
  address: string
}

const period = 30
/** Steps before and after this one that count as well: clocks differ. */
const tolerance = 1
const recoveryCodes = 10

/** `issuer` is what the app shows beside the name; `now` is in milliseconds since 1970. */
export function createSecondFactors(
  db: DatabaseSync,
  issuer: () => string,
  now: () => number = Date.now,
): SecondFactors {
  const find = db.prepare('SELECT secret, last_step, recovery FROM second_factors WHERE user = ?')
  const replace = db.prepare(
    'INSERT OR REPLACE INTO second_factors (user, secret, last_step, recovery) VALUES (?, ?, ?, ?)',
  )
  const takeStep = db.prepare('UPDATE second_factors SET last_step = ? WHERE user = ? AND last_step < ?')
  const takeRecovery = db.prepare('UPDATE second_factors SET recovery = ? WHERE user = ? AND recovery = ?')
  const remove = db.prepare('DELETE FROM second_factors WHERE user = ?')

  /** The step of the clock that a code belongs to. */
  function stepOf(secret: Secret, code: string): number | undefined {
    if (!/^\d{6}$/.test(code)) return undefined
    const step = Math.floor(now() / 1000 / period)
    const delta = new TOTP({ secret, period }).validate({ token: code, window: tolerance, timestamp: now() })
    return delta === null ? undefined : step + delta
  }

  return {
    isOn: user => find.get(user) !== undefined,
    propose(user, known = '') {
      const secret = known ? Secret.fromBase32(known) : new Secret({ size: 20 })
      const totp = new TOTP({ issuer: issuer(), label: user, secret, period })
      return { secret: totp.secret.base32, address: totp.toString() }
    },
    switchOn(user, secretText, code) {
      if (!secretText) return undefined
      const secret = Secret.fromBase32(secretText)
      const step = stepOf(secret, code.replace(/\s/g, ''))
      if (step === undefined) return undefined
      const codes = Array.from({ length: recoveryCodes }, newRecoveryCode)
      replace.run(user, secret.bytes, step, JSON.stringify(codes.map(hashOf)))
      return codes
    },
    switchOff: user => void remove.run(user),
    take(user, typed) {
      const row = find.get(user)
      if (!row) return false
      const code = typed.replace(/[\s-]/g, '').toLowerCase()
      const step = stepOf(new Secret({ buffer: (row.secret as Uint8Array<ArrayBuffer>).slice().buffer }), code)
      if (step !== undefined) return Number(takeStep.run(step, user, step).changes) === 1
      const left = JSON.parse(String(row.recovery)) as string[]
      const rest = left.filter(hash => hash !== hashOf(code))
      if (rest.length === left.length) return false
      return Number(takeRecovery.run(JSON.stringify(rest), user, String(row.recovery)).changes) === 1
    },
  }
}

/** 49 bits. */
function newRecoveryCode(): string {
  return `${legibleLetters(5)}-${legibleLetters(5)}`
}

function hashOf(code: string): string {
  return createHash('sha256').update(code.replaceAll('-', '')).digest('hex')
}
