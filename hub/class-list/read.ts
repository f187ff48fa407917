/**
 * Reading a class list: a table as spreadsheets, learning platforms and registrars' offices write it, in whatever encoding, with whatever
 * separator, with a line of headings or without. Pure: bytes in, people out.
 *
 * What a column is, is told by its heading in English, German, French or Spanish; without headings, by what is in it. Nothing is guessed about a line that
 * is not like the others: it is named, with its number in the file, and nothing of the list is used.
 *
 * A list is a stranger's file, and the hub reads it in its only thread. So it has bounds before anything looks at it, and all work on it grows
 * with its length alone.
 */
import { CsvError, parse } from 'csv-parse/sync'
import { isUserName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'

export interface Person {
  /** Of the file, counted from 1. */
  line: number
  /** As in the list; empty where it does not say. */
  login: string
  email: string
  first: string
  last: string
  /** Both in one. */
  full: string
  /** The number of the matriculation, or another that the school gives. */
  number: string
}

export interface Roster {
  people: Person[]
  /** What was found in which column, for the reader of the table. */
  columns: string[]
  encoding: string
  delimiter: string
}

type Field = Exclude<keyof Person, 'line'>

const headings: Record<Field, readonly string[]> = {
  login:
    'username,user,login,loginname,userid,account,uid,benutzername,benutzer,benutzerkennung,kennung,anmeldename,nutzername,identifiant,usuario'.split(
      ',',
    ),
  email: 'email,mail,emailaddress,emailadresse,courriel,correo,adressemail'.split(','),
  first: 'firstname,first,givenname,givennames,forename,vorname,vornamen,rufname,prenom,nombre'.split(','),
  last: 'lastname,last,surname,familyname,nachname,familienname,zuname,nom,apellido,apellidos'.split(','),
  full: 'name,fullname,displayname,student,studentname,participant,teilnehmer,teilnehmerin,anzeigename,vollername'.split(
    ',',
  ),
  number:
    'matrikel,matrikelnummer,matrikelnr,matriculationnumber,matrnr,studentid,studentnumber,idnumber,idnummer,id,nr,number,nummer'.split(
      ',',
    ),
}

const fieldOf = new Map(
  Object.entries(headings).flatMap(([field, words]) => words.map(word => [word, field as Field] as const)),
)

const delimiters = [';', ',', '\t', '|'] as const
/** Many times the largest class that is tested (200). */
const most = { bytes: 1024 ** 2, lines: 5_000, columns: 64, lineCharacters: 16_384, cellCharacters: 1_024 } as const

const lineFeed = 0x0a
const carriageReturn = 0x0d

interface Row {
  line: number
  cells: string[]
}

/** Throws `ROSTER_…`, naming the line. */
export function readRoster(bytes: Uint8Array, wanted?: string): Roster {
  if (bytes.length > most.bytes) throw tooMuch('it has more than 1 MB')
  const { text, encoding } = decode(bytes)
  mustBeBounded(text)
  const body = text.replace(/^sep=(.)\r?\n/i, '\n')
  const delimiter = wanted ?? /^sep=(.)/i.exec(text)?.[1] ?? delimiterOf(body)
  const rows = rowsOf(body, delimiter)
  const [head] = rows
  if (!head) throw unusable('nobody is in it', 'Look into the file; each line is a person')
  const named = fieldsNamed(head)
  const people = named ? rows.slice(1) : rows
  const fields = named ?? fieldsSeen(people)
  mustFit(rows, head.cells.length)
  if (!fields.some(Boolean)) {
    throw unusable(
      'no column with user names, e-mail addresses or names was found',
      'Write a first line with the headings username, email, first, last',
    )
  }
  return {
    people: people.map(({ line, cells }) => personOf(line, cells, fields)),
    columns: fields.map(field => field ?? '-'),
    encoding,
    delimiter,
  }
}

/** Before anything else looks at the text. */
function mustBeBounded(text: string): void {
  let [lines, begin] = [1, 0]
  for (let at = 0; at < text.length; at++) {
    if (at - begin > most.lineCharacters) throw tooMuch(`line ${lines} has more than ${most.lineCharacters} characters`)
    const code = text.charCodeAt(at)
    if (code !== lineFeed && !(code === carriageReturn && text.charCodeAt(at + 1) !== lineFeed)) continue
    begin = at + 1
    if (++lines > most.lines) throw tooMuch(`line ${lines} is one too many: it may have ${most.lines}`)
  }
}

function decode(bytes: Uint8Array): { text: string; encoding: string } {
  for (const encoding of ['utf-16le', 'utf-16be'].filter(one => isUtf16(bytes, one))) {
    return { text: new TextDecoder(encoding).decode(bytes), encoding }
  }
  try {
    // It takes a byte order mark away by itself.
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), encoding: 'utf-8' }
  } catch {
    return { text: new TextDecoder('windows-1252').decode(bytes), encoding: 'windows-1252' }
  }
}

/** By its mark, or because every other byte of a list with Latin letters or digits is zero. */
function isUtf16(bytes: Uint8Array, encoding: string): boolean {
  const [first, second] = encoding === 'utf-16le' ? [0xff, 0xfe] : [0xfe, 0xff]
  if (bytes[0] === first && bytes[1] === second) return true
  const part = bytes.subarray(0, 1000)
  const zeros = part.filter((byte, index) => byte === 0 && index % 2 === (encoding === 'utf-16le' ? 1 : 0)).length
  return zeros > part.length / 4
}

/** The one that is in the most lines, as often in each; where none is, any will do. */
function delimiterOf(text: string): string {
  const lines = text
    .split(/\r\n|\r|\n/)
    .filter(line => line.trim())
    .slice(0, 50)
  // A heading that stands alone is that of the only column, and what separates a name's parts is no separator.
  const isAlone = !delimiters.some(one => lines[0]?.includes(one))
  if (isAlone && fieldOf.has(wordOf(lines[0] ?? ''))) return delimiters.find(one => !text.includes(one)) ?? ';'
  const score = (delimiter: string) => {
    const counts = lines.map(line => line.replace(/"(?:[^"]|"")*"/g, '').split(delimiter).length - 1)
    const usual = counts.toSorted((a, b) => a - b)[Math.floor(counts.length / 2)] ?? 0
    return usual === 0 ? 0 : counts.filter(count => count === usual).length
  }
  return delimiters.reduce((best, one) => (score(one) > score(best) ? one : best), ';')
}

function rowsOf(text: string, delimiter: string): Row[] {
  try {
    const found = parse(text, {
      delimiter,
      trim: true,
      relax_column_count: true,
      skip_empty_lines: true,
      record_delimiter: ['\r\n', '\n', '\r'],
      info: true,
      max_record_size: most.lineCharacters,
    }) as unknown as { record: string[]; info: { lines: number } }[]
    return found
      .map(({ record, info }) => ({ line: info.lines, cells: cellsIn(record, info.lines) }))
      .filter(({ cells }) => cells.some(cell => cell !== ''))
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    if (error.code === 'CSV_MAX_RECORD_SIZE')
      throw tooMuch(`line ${String(error.lines ?? '?')}: a row has more than ${most.lineCharacters} characters`)
    throw unusable(
      `line ${String(error.lines ?? '?')}, column ${Number(error.column ?? 0) + 1}: ${whyOf(error.code)}`,
      'Mend that line in the file; a cell that has quotes in it is written "so ""quoted"" here"',
    )
  }
}

function cellsIn(record: readonly string[], line: number): string[] {
  if (record.length > most.columns) throw tooMuch(`line ${line}: it has more than ${most.columns} columns`)
  const long = record.findIndex(cell => cell.length > most.cellCharacters)
  if (long === -1) return record.map(plain)
  throw tooMuch(`line ${line}, column ${long + 1}: the cell has more than ${most.cellCharacters} characters`)
}

function whyOf(code: string): string {
  if (code === 'CSV_QUOTE_NOT_CLOSED') return 'a quote that was opened is not closed before the end of the file'
  if (code === 'CSV_INVALID_CLOSING_QUOTE' || code === 'CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE')
    return 'there is something behind the closing quote of a cell'
  return 'a quote stands where none can be'
}

/** Nothing from a list may colour a terminal, or begin a line of its own. */
function plain(cell: string): string {
  return cell
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .trim()
    .normalize('NFC')
}

/** The headings, if that is what the line has. */
function fieldsNamed({ cells }: Row): (Field | undefined)[] | undefined {
  if (cells.some(cell => cell.includes('@'))) return undefined
  const fields = cells.map(cell => fieldOf.get(wordOf(cell)))
  const known = fields.filter(Boolean).length
  // In a list without headings, somebody may be called Nom or Student.
  if (known === 0 || known < Math.min(2, cells.length)) {
    const isOne =
      cells.length > 1 &&
      known === 1 &&
      fields.some(field => field === 'login' || field === 'email' || field === 'number')
    if (!isOne) return undefined
  }
  return fields.map((field, index) => (fields.indexOf(field) === index ? field : undefined))
}

/** E-Mail-Adresse and `e mail adresse` are one word; what stands in brackets does not count. */
function wordOf(cell: string): string {
  return withoutBrackets(cell.toLowerCase())
    .normalize('NFKD')
    .replace(/[^\p{L}]/gu, '')
    .replace(/\p{M}/gu, '')
}

function withoutBrackets(text: string): string {
  const parts = text.split(')')
  // What follows the last closing bracket is in none.
  return parts
    .map((part, index) => {
      const open = index < parts.length - 1 ? part.indexOf('(') : -1
      return open === -1 ? part : part.slice(0, open)
    })
    .join('')
}

function fieldsSeen(rows: readonly Row[]): (Field | undefined)[] {
  const width = rows.reduce((widest, { cells }) => Math.max(widest, cells.length), 0)
  const fields: (Field | undefined)[] = Array.from({ length: width }, (_, index) => {
    const cells = rows.map(row => row.cells[index] ?? '').filter(Boolean)
    const isMost = (test: (cell: string) => boolean) => cells.filter(test).length > cells.length / 2
    if (cells.length === 0) return undefined
    if (isMost(isLikeEmail)) return 'email'
    if (width > 1 && isMost(cell => /^\d{4,}$/.test(cell))) return 'number'
    if (cells.every(cell => isUserName(cell) && !/\p{Lu}/u.test(cell))) return 'login'
    return isMost(cell => /\p{L}/u.test(cell)) ? 'full' : undefined
  })
  const texts = [...fields.keys()].filter(index => fields[index] === 'full')
  // Two columns of text are a name in two parts; what is beyond is of no use.
  if (texts.length > 1)
    for (const [place, index] of texts.entries()) fields[index] = (['first', 'last'] as const)[place]
  return fields.map((field, index) => (fields.indexOf(field) === index ? field : undefined))
}

function isLikeEmail(cell: string): boolean {
  const at = cell.indexOf('@', 1)
  return at !== -1 && at < cell.length - 1 && !/\s/.test(cell)
}

/** Empty cells at the end are left out by some programs, and written by others. */
function mustFit(rows: readonly Row[], width: number): void {
  for (const { line, cells } of rows) {
    const extra = cells.findIndex((cell, index) => index >= width && cell !== '')
    if (extra === -1) continue
    throw unusable(
      `line ${line}, column ${extra + 1}: it has ${cells.length} columns, and the first line has ${width}`,
      'Mend that line; a cell with the separator in it is written in quotes. Another separator is named with --delimiter',
    )
  }
}

function personOf(line: number, cells: readonly string[], fields: readonly (Field | undefined)[]): Person {
  const cell = (field: Field) => cells[fields.indexOf(field)] ?? ''
  const person = { line, login: cell('login'), email: cell('email'), number: cell('number') }
  return { ...person, first: cell('first'), last: cell('last'), full: turned(cell('full')) }
}

/** `Müller, Anna` is Anna Müller. */
function turned(name: string): string {
  const [last = '', first = '', ...more] = name.split(',').map(part => part.trim())
  return first && more.length === 0 ? `${first} ${last}` : name
}

function tooMuch(why: string): ProblemError {
  return unusable(why, 'Check that it is a list of people, saved as CSV. A longer list goes in parts')
}

function unusable(why: string, fix: string): ProblemError {
  return new ProblemError('ROSTER', { what: 'The list was not used, and nothing was changed', why, fix })
}
