/**
 * Who of a class list gets which user name, and what happens to each row: worked out before anything happens. Pure.
 *
 * A name is taken from the column of user names, else from the e-mail address, else made of the name, else of the number; and where none of
 * these can be written in a to z, it is `student-` and the number of the row. It depends on the list alone, so the same list gives the
 * same names. Two people who would get one name are told apart by a number. What cannot be told (one user name for two people) is an error of the list.
 */
import { isTemporaryName, type UserName, unixName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import type { Person } from './read.ts'
import { type Made, userNameFrom, userNameLike } from './transliterate.ts'

export interface Enrolment {
  person: Person
  user: UserName
  /** What will happen. `twice` is a row that says what one before has said. */
  kind: 'new' | 'there' | 'banned' | 'twice'
  /** What the reader should know of the name; empty where nothing. */
  note: string
}

export interface Known {
  /** Whether the lists of the configuration have the name already. */
  isThere(user: UserName): boolean
  isBanned(user: UserName): boolean
}

/** Throws `ROSTER` where two people have one user name. */
export function enrol(people: readonly Person[], known: Known): Enrolment[] {
  const taken = new Map<UserName, Person>()
  const accounts = new Map<string, UserName>()
  return people.map((person, index) => {
    const { made, source } = nameOf(person, index)
    const first = taken.get(made.user)
    if (first && isSame(first, person)) return { person, user: made.user, kind: 'twice', note: `as line ${first.line}` }
    if (first && source === 'login') throw clash(person, first, made.user)
    const user = first ? numbered(made.user, taken, person) : made.user
    const same = taken.get(user)
    if (same) return { person, user, kind: 'twice', note: `as line ${same.line}` }
    const account = unixName(user)
    const other = accounts.get(account)
    if (other) throw sameAccount(person, user, other)
    taken.set(user, person)
    accounts.set(account, user)
    const note = [noteOf(person, made, source), first ? `${made.user} is line ${first.line}` : '']
      .filter(Boolean)
      .join('; ')
    if (known.isBanned(user)) return { person, user, kind: 'banned', note: note || 'users.banned has the name' }
    return { person, user, kind: known.isThere(user) ? 'there' : 'new', note }
  })
}

/** What the person is called, for people. */
export function displayName({ first, last, full, email, login }: Person): string {
  return [first, last].filter(Boolean).join(' ') || full || email || login
}

type Source = 'login' | 'email' | 'name' | 'number' | 'row'

function nameOf(person: Person, index: number): { made: Made; source: Source } {
  const { login, email, first, last, full, number } = person
  const name = [first, last].filter(Boolean).join(' ') || full
  const sources: [Source, string, (text: string) => Made | undefined][] = [
    ['login', login, userNameLike],
    ['email', email.split('@')[0] ?? '', userNameLike],
    ['name', name, userNameFrom],
    ['number', number, userNameFrom],
  ]
  for (const [source, text, make] of sources) {
    const made = text ? make(text) : undefined
    // Names of temporary visitors belong to them.
    if (made && !isTemporaryName(made.user)) return { made, source }
  }
  const user = `student-${String(index + 1).padStart(3, '0')}` as UserName
  return { made: { user, isMangled: true }, source: 'row' }
}

function noteOf(person: Person, { isMangled }: Made, source: Source): string {
  if (source === 'row') return 'no user name can be made of it'
  if (source === 'login' && isMangled) return `${JSON.stringify(person.login)} cannot be a user name`
  if (source === 'number') return 'of the number'
  return isMangled ? 'not all of it can be written in a to z' : ''
}

/** The same person, as far as the list tells. */
function isSame(one: Person, other: Person): boolean {
  const keys = ['login', 'email', 'number'] as const
  const both = keys.filter(key => one[key] && other[key])
  if (both.some(key => one[key].toLowerCase() !== other[key].toLowerCase())) return false
  const isNamedAlike = displayName(one).toLowerCase() === displayName(other).toLowerCase()
  return isNamedAlike || both.includes('email') || both.includes('number')
}

/** So many people of one name are a mistake of the list, and each has to be told from all the others. */
const mostOfOneName = 50

/** The name with the next number; or the name of the same person in a row before, which had to get one. */
function numbered(user: UserName, taken: ReadonlyMap<UserName, Person>, person: Person): UserName {
  for (let count = 2; ; count++) {
    if (count > mostOfOneName) throw tooMany(person, user)
    const candidate = `${user}${count}` as UserName
    const owner = taken.get(candidate)
    if (!owner || isSame(owner, person)) return candidate
  }
}

function clash(person: Person, first: Person, user: UserName): ProblemError {
  return new ProblemError('ROSTER', {
    what: 'The list was not used, and nothing was changed',
    why: `line ${person.line}: the user name ${user} is in line ${first.line} too, of somebody else (${displayName(first)}, ${displayName(person)})`,
    fix: 'Give one of the two another user name',
  })
}

function tooMany(person: Person, user: UserName): ProblemError {
  return new ProblemError('ROSTER', {
    what: 'The list was not used, and nothing was changed',
    why: `line ${person.line}: more than ${mostOfOneName} different people would get the user name ${user}`,
    fix: 'Add a column with a user name for each',
  })
}

function sameAccount(person: Person, user: UserName, other: UserName): ProblemError {
  return new ProblemError('ROSTER', {
    what: 'The list was not used, and nothing was changed',
    why: `line ${person.line}: the account of ${user} on the machine would be that of ${other}`,
    fix: 'Give one of the two a shorter user name',
  })
}
