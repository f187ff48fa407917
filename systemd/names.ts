/**
 * The names of units, and the paths of their objects on the bus. The rules are those of systemd.unit(5) and of
 * systemd-escape(1): what is made here is byte for byte what the program makes.
 */
import { ProblemError } from '../problem.ts'

/** A whole unit name with its type, such as `tljh-user-ann.service`, that systemd accepts. */
export type UnitName = string & { readonly __name: 'unit' }

/** From UNIT_NAME_MAX in systemd's unit-name.h, less the byte that ends it. */
const LONGEST = 255
const TYPES = 'service|socket|slice|mount|automount|swap|target|path|timer|device|scope'
const UNIT = new RegExp(`^(?!@)[A-Za-z0-9:_.\\\\@-]+\\.(?:${TYPES})$`)

/**
 * Checks a unit name.
 * @throws ProblemError SYSTEMD_UNIT_NAME
 */
export function unitName(text: string): UnitName {
  if (text.length > LONGEST || !UNIT.test(text))
    throw new ProblemError('SYSTEMD_UNIT_NAME', {
      what: `${JSON.stringify(text.slice(0, LONGEST))} is no name of a unit`,
      why: `a name has at most ${LONGEST} letters, digits and :_.\\@-, and ends in its type`,
      fix: 'write it like tljh-hub.service',
    })
  return text as UnitName
}

/**
 * Escapes any text for use within a unit name, as systemd-escape(1) does: `/` becomes `-`, and every other byte that is
 * not a letter, a digit or one of `:_.` (or is a `.` in front) becomes `\xHH`.
 */
export function escapeUnitName(text: string): string {
  let escaped = ''
  for (const [index, byte] of Buffer.from(text).entries()) {
    const character = String.fromCharCode(byte)
    if (character === '/') escaped += '-'
    else if (/[A-Za-z0-9:_.]/.test(character) && !(character === '.' && index === 0)) escaped += character
    else escaped += `\\x${hex(byte)}`
  }
  return escaped
}

const UNIT_PATH = '/org/freedesktop/systemd1/unit/'

/** The path of the unit's object on the bus. */
export function unitPath(name: UnitName): string {
  return UNIT_PATH + name.replace(/[^A-Za-z0-9]|^[0-9]/g, character => `_${hex(character.charCodeAt(0))}`)
}

/** The unit whose object has this path; undefined for other objects. */
export function unitOfPath(path: string): UnitName | undefined {
  if (!path.startsWith(UNIT_PATH)) return undefined
  const name = path
    .slice(UNIT_PATH.length)
    .replace(/_([0-9a-f]{2})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 16)))
  return UNIT.test(name) ? (name as UnitName) : undefined
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}
