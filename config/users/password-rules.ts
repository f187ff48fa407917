/**
 * Which new passwords are refused: too short, made of names that anyone knows, or among those that guessers try first.
 *
 * Length is what counts (NIST SP 800-63B, 5.1.1.2): nothing is asked of capitals, digits or signs.
 */
import { createRequire } from 'node:module'
import { ProblemError } from '../../problem.ts'

export interface PasswordRules {
  leastLength: number
  /** What anyone knows of the owner and the place: the user name, the hub's title. */
  names: readonly string[]
}

/** An administrator's password opens the whole machine. */
export const leastAdminLength = 10
const mostLength = 1024
/** A password of fewer different characters is one key held down, or two. */
const leastDifferent = 4
/** Shorter pieces of a name are in many words. */
const shortestPart = 3

/** Throws `PASSWORD_SHORT`, `PASSWORD_LONG`, `PASSWORD_NAME`, `PASSWORD_COMMON`. */
export function mustBeUsable(password: string, { leastLength, names }: PasswordRules): void {
  if (password.length < leastLength) {
    throw refused('SHORT', `it has ${password.length} characters, and you need at least ${leastLength}`)
  }
  if (password.length > mostLength) throw refused('LONG', `it has more than ${mostLength} characters`)
  if (isMadeOf(password, names)) throw refused('NAME', 'it is made of a name that anyone here knows')
  if (isCommon(password)) throw refused('COMMON', 'very many people have it, so it is tried first')
}

/** Whether nothing is left of it without those names, forwards or backwards, but digits and signs. */
export function isMadeOf(password: string, names: readonly string[]): boolean {
  const words = [...new Set(names.flatMap(partsOf))].toSorted((one, other) => other.length - one.length)
  const typed = compact(password)
  return [typed, reversed(typed)].some(text => {
    const rest = words.reduce((left, word) => left.replaceAll(word, ''), text)
    return rest !== text && !/\p{L}/u.test(rest)
  })
}

/** Among the tens of thousands that were found most often, or next to nothing. */
export function isCommon(password: string): boolean {
  const typed = password.toLowerCase()
  return new Set(typed).size < leastDifferent || commonPasswords().includes(typed)
}

/** Loaded when somebody chooses a password: a hub at rest has no use for it. */
function commonPasswords(): readonly string[] {
  const { dictionary } = createRequire(import.meta.url)(
    '@zxcvbn-ts/language-common',
  ) as typeof import('@zxcvbn-ts/language-common')
  return dictionary['passwords-common']
}

/** The whole, and each word of it. */
function partsOf(name: string): string[] {
  const parts = name.split(/[^\p{L}\p{N}]/u).map(compact)
  return [compact(name), ...parts.filter(part => part.length >= shortestPart)].filter(Boolean)
}

/** Letters and digits alone, small. */
function compact(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '')
}

function reversed(text: string): string {
  return [...text].toReversed().join('')
}

function refused(kind: 'SHORT' | 'LONG' | 'NAME' | 'COMMON', why: string): ProblemError {
  return new ProblemError(`PASSWORD_${kind}`, {
    what: 'That password can’t be used',
    why,
    fix:
      kind === 'LONG' ? 'Choose a shorter one' : 'Choose another one. Three words that don’t belong together are good',
  })
}
