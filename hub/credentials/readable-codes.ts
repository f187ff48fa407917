/** Codes, passwords and names that people read from paper and type. */
import { randomInt } from 'node:crypto'

/** Small letters and digits without those that look alike: 31, so a little under 5 bits each. */
const legible = 'abcdefghjkmnpqrstuvwxyz23456789'

/** So many random ones. */
export function legibleLetters(length: number): string {
  return Array.from({ length }, () => legible[randomInt(legible.length)]).join('')
}

/** Random groups of four, with dashes between them. */
export function legibleGroups(count: number): string {
  return Array.from({ length: count }, () => legibleLetters(4)).join('-')
}
