/**
 * What lets a browser reach a server on an origin other than the hub's, where the hub's session cookie must never be.
 *
 *   grant   an administrator has read the note and goes on: this session may visit that owner for an hour
 *   code    carries 'this session may go there' from the hub to the other origin: once, within a minute, and only in the browser
 *           that was sent for it (whose nonce it was made for), so that nobody is let in as somebody else
 *   pass    the cookie that a code is exchanged for: good for one owner and one kind of origin, and as long as the session
 *
 * A pass is signed and kept nowhere, so a restart of the hub interrupts no work. Grants and codes live in memory. Whether the session
 * still counts, and may still go there, is asked anew at each request (hub/access/access.ts); a pass alone opens nothing.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import type { UserName } from '../../config/users/names.ts'
import { labelOf } from './origins.ts'
import type { Session } from './sessions.ts'

/** The origin that a code or a pass is for. */
export type PassPlace = 'server' | 'visits'

export interface Crossing {
  session: Session
  owner: UserName
  place: PassPlace
  /** `digestOf` the nonce that the browser holds there. */
  nonceDigest: string
  /** Where to go then: a path and query. */
  next: string
}

export interface Passes {
  /** Ends the session's other visits where `isAlone`: they would share an origin. */
  grant(session: Session, owner: UserName, isAlone: boolean): void
  isGranted(session: Session, owner: UserName): boolean
  end(session: Session, owner: UserName): void
  issueCode(crossing: Crossing): string
  /** Uses the code up, and answers what it was for; undefined for one that is not right for this owner, place and browser. */
  redeem(
    code: string,
    to: Pick<Crossing, 'owner' | 'place'>,
    holds: (nonceDigest: string) => boolean,
  ): Crossing | undefined
  passFor(session: Session, owner: UserName, place: PassPlace): string
  /** The session that a pass was made for, whatever has become of it since. */
  sessionIn(pass: string, owner: UserName, place: PassPlace): Session | undefined
}

/** Holds a nonce, on the origin that one comes from. Pages that are opened at once have one each. */
export function nonceCookie(nonceDigest: string): string {
  return `tljh-enter-${nonceDigest.slice(0, 8)}`
}

export const visitMinutes = 60
const codeLifeMs = 60_000
const mostCodes = 10_000

/** As many as a browser opens at once that has all its tabs back. Anyone who asks for more pushes out only their own. */
const mostOfSession = 50

/** Cookies know no ports, so that of a visit is told from all others by its name. */
export function passCookie(owner: UserName): string {
  return `tljh-visit-${labelOf(owner)}`
}

export function newNonce(): string {
  return randomBytes(32).toString('base64url')
}

/** What has the shape of one, and so is worth to be kept. */
export function isNonce(text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text)
}

/** Of a nonce: what may stand in an address. It has a nonce's shape. */
export function digestOf(nonce: string): string {
  return createHash('sha256').update(nonce).digest('base64url')
}

/**
 * @param key signs the passes
 * @param now milliseconds of a clock that nobody sets
 */
export function createPasses(key: Buffer, now: () => number = () => performance.now()): Passes {
  /** By session and owner, when they end. */
  const grants = new Map<string, Map<UserName, number>>()
  const codes = new Map<string, Crossing & { expires: number }>()
  const signatureOf = (content: string) => createHmac('sha256', key).update(`pass ${content}`).digest()

  return {
    grant({ id }, owner, isAlone) {
      for (const [known, owners] of grants) if ([...owners.values()].every(ends => ends <= now())) grants.delete(known)
      const owners = (isAlone ? undefined : grants.get(id)) ?? new Map<UserName, number>()
      grants.set(id, owners.set(owner, now() + visitMinutes * 60_000))
    },
    isGranted: ({ id }, owner) => (grants.get(id)?.get(owner) ?? 0) > now(),
    end: ({ id }, owner) => void grants.get(id)?.delete(owner),

    issueCode(crossing) {
      const own: string[] = []
      for (const [known, { expires, session }] of codes) {
        if (expires <= now() || codes.size >= mostCodes) codes.delete(known)
        else if (session.id === crossing.session.id) own.push(known)
      }
      const [oldest] = own
      if (oldest !== undefined && own.length >= mostOfSession) codes.delete(oldest)
      const code = randomBytes(32).toString('base64url')
      codes.set(code, { ...crossing, expires: now() + codeLifeMs })
      return code
    },
    redeem(code, { owner, place }, holds) {
      const crossing = codes.get(code)
      codes.delete(code)
      if (!crossing || crossing.expires <= now() || crossing.owner !== owner || crossing.place !== place)
        return undefined
      return holds(crossing.nonceDigest) ? crossing : undefined
    },

    passFor({ id, user, way, started }, owner, place) {
      const content = Buffer.from(JSON.stringify([id, user, way, started, owner, place])).toString('base64url')
      return `${content}.${signatureOf(content).toString('base64url')}`
    },
    sessionIn(pass, owner, place) {
      const [content = '', signature = ''] = pass.split('.')
      const given = Buffer.from(signature, 'base64url')
      const right = signatureOf(content)
      if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined
      // We wrote it.
      const [id, user, way, started, forOwner, forPlace] = JSON.parse(Buffer.from(content, 'base64url').toString()) as [
        string,
        UserName,
        AuthenticatorKind,
        number,
        UserName,
        PassPlace,
      ]
      return forOwner === owner && forPlace === place ? { id, user, way, started } : undefined
    },
  }
}

/** On a server's origin, where the code is handed in. Jupyter has no such page. */
export const passPath = '/tljh-enter'
