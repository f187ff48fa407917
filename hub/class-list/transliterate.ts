/**
 * User names made of people's names, in whatever script: `Jürgen Groß` is `juergen.gross`, `Иван Петров` is `ivan.petrov`.
 *
 * Letters with marks lose them, as Unicode takes them apart (NFKD), after those that a language writes out (ä is ae). Scripts
 * that are written letter by letter have a table. What is left over (Chinese, Arabic, …) cannot be told without a dictionary: then there is no name,
 * rather than a wrong one. The same text always gives the same name.
 */
import { isUserName, type UserName } from '../../config/users/names.ts'

/** Longer ones would be cut for the machine, and are hard to type. */
const longestMade = 40

const latin: Record<string, string> = {
  ...{ ä: 'ae', ö: 'oe', ü: 'ue', ß: 'ss', æ: 'ae', œ: 'oe', ø: 'oe', å: 'aa', þ: 'th', ð: 'd', đ: 'd', ł: 'l' },
  ...{
    ħ: 'h',
    ı: 'i',
    ŋ: 'ng',
    ĸ: 'k',
    ŧ: 't',
    ə: 'e',
    ĳ: 'ij',
    ŀ: 'l',
    ƒ: 'f',
    ɓ: 'b',
    ɗ: 'd',
    ƙ: 'k',
    ơ: 'o',
    ư: 'u',
  },
}

const cyrillic: Record<string, string> = {
  ...{ а: 'a', б: 'b', в: 'v', г: 'g', ґ: 'g', д: 'd', ђ: 'dj', е: 'e', ё: 'yo', є: 'ye', ж: 'zh', з: 'z', ѕ: 'dz' },
  ...{ и: 'i', і: 'i', ї: 'yi', й: 'y', ј: 'j', к: 'k', л: 'l', љ: 'lj', м: 'm', н: 'n', њ: 'nj', о: 'o', п: 'p' },
  ...{ р: 'r', с: 's', т: 't', ћ: 'c', у: 'u', ў: 'u', ф: 'f', х: 'kh', ц: 'ts', ч: 'ch', џ: 'dz', ш: 'sh' },
  ...{ щ: 'shch', ъ: '', ы: 'y', ь: '', э: 'e', ю: 'yu', я: 'ya', ѓ: 'g', ќ: 'k' },
}

const greek: Record<string, string> = {
  ...{
    α: 'a',
    β: 'v',
    γ: 'g',
    δ: 'd',
    ε: 'e',
    ζ: 'z',
    η: 'i',
    θ: 'th',
    ι: 'i',
    κ: 'k',
    λ: 'l',
    μ: 'm',
    ν: 'n',
    ξ: 'x',
  },
  ...{ ο: 'o', π: 'p', ρ: 'r', σ: 's', ς: 's', τ: 't', υ: 'y', φ: 'f', χ: 'ch', ψ: 'ps', ω: 'o' },
}

const letters = new Map(Object.entries({ ...latin, ...cyrillic, ...greek }))

/** Hangul, by the parts of a syllable as Unicode takes it apart: first consonants, vowels, last consonants. */
const hangul: readonly (readonly [number, readonly string[]])[] = [
  [0x1100, 'g kk n d tt r m b pp s ss  j jj ch k t p h'.split(' ')],
  [0x1161, 'a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i'.split(' ')],
  [0x11a8, 'k k k n n n t l k m l l l p l m p p t t ng t t k t p t'.split(' ')],
]

export interface Made {
  user: UserName
  /** Whether the name says something else than the text did, but for capitals, spaces and the usual spellings. */
  isMangled: boolean
}

/** A user name that sounds like a text; undefined where too little of it can be written in a to z. */
export function userNameFrom(text: string): Made | undefined {
  const spelled = spell(text.normalize('NFC').toLowerCase())
  const name = tidy(spelled.text, longestMade)
  if (!isUserName(name) || spelled.lost > spelled.kept / 2) return undefined
  return { user: name, isMangled: spelled.lost > 0 || name !== tidy(spelled.text, Number.POSITIVE_INFINITY) }
}

/** What was meant as a user name: as it is where it can be one. */
export function userNameLike(text: string): Made | undefined {
  const name = text.trim().toLowerCase()
  if (isUserName(name)) return { user: name, isMangled: false }
  const made = userNameFrom(text)
  return made && { ...made, isMangled: true }
}

function spell(text: string): { text: string; kept: number; lost: number } {
  let spelled = ''
  let kept = 0
  let lost = 0
  for (const letter of text) {
    const sound = soundOf(letter)
    if (sound === undefined) lost++
    else if (/\p{L}|\p{N}/u.test(letter)) kept++
    spelled += sound ?? ''
  }
  return { text: spelled, kept, lost }
}

/** Undefined for a letter that nothing is known of. */
function soundOf(letter: string): string | undefined {
  const known = letters.get(letter)
  if (known !== undefined) return known
  let sound = ''
  for (const part of letter.normalize('NFKD')) {
    const spelled = letters.get(part) ?? jamo(part)
    if (spelled !== undefined) sound += spelled
    else if (/[a-z0-9._@-]/.test(part)) sound += part
    else if (/\p{L}|\p{N}/u.test(part)) return undefined
    // An apostrophe is no gap: O'Neill.
    else if (!/\p{M}|['’ʼ`´]/u.test(part)) sound += '.'
  }
  return sound
}

function jamo(part: string): string | undefined {
  const code = part.codePointAt(0) ?? 0
  for (const [first, sounds] of hangul) if (code >= first && code < first + sounds.length) return sounds[code - first]
  return undefined
}

function tidy(text: string, longest: number): string {
  const joined = text
    .replace(/@/g, '.')
    .replace(/[.-]+/g, gap => (gap.includes('-') ? '-' : '.'))
    .replace(/^[._-]+/, '')
    .slice(0, longest)
  // No regular expression: one that ends with $ tries each of many signs in a row.
  let end = joined.length
  while (end > 0 && '._-'.includes(joined[end - 1] ?? '')) end--
  return joined.slice(0, end)
}
