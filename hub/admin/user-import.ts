/**
 * `tljh-ts user import`: a class list, from the file to the sheet with everybody's code. The table of what will happen comes before anything happens.
 */
import { closeSync, fchownSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tableText } from '../../cli/table.ts'
import { hubAddress } from '../../config/meaning/hub-address.ts'
import { namedIn } from '../../config/meaning/who-may-enter.ts'
import { visible } from '../../config/text/findings.ts'
import { ProblemError } from '../../problem.ts'
import { readRoster } from '../class-list/read.ts'
import { credentialText, type Slip, sheetPage, sheetText } from '../class-list/sheet.ts'
import { displayName, type Enrolment, enrol } from '../class-list/user-names.ts'
import { agreed, nothingChanged, type UserDesk } from './user-verbs.ts'
import type { CredentialOptions } from './users.ts'

export interface ImportOptions {
  group: string | undefined
  isDryRun: boolean
  /** Nobody is asked. */
  isSure: boolean
  sheet: string | undefined
  delimiter: string | undefined
  credential: CredentialOptions
}

export async function importRoster(desk: UserDesk, file: string, options: ImportOptions): Promise<number> {
  const { terminal } = desk
  const roster = readRoster(file === '-' ? await terminal.read() : readFileOf(file), options.delimiter)
  const inForce = desk.config()
  const named = namedIn(inForce)
  const enrolments = enrol(roster.people, {
    isThere: user => named.has(user),
    isBanned: user => inForce.users.banned.has(user),
  })
  terminal.print(`${enrolments.length} rows (${roster.encoding}; columns: ${roster.columns.join(', ')})\n`)
  terminal.print(enrolmentText(enrolments))
  const wanted = enrolments.filter(({ kind }) => kind === 'new' || kind === 'there')
  if (options.isDryRun || wanted.length === 0) return nothingChanged(desk)
  const count = wanted.filter(({ kind }) => kind === 'new').length
  if (!(await agreed(desk, `\nLet ${count} people in?`, options.isSure))) return nothingChanged(desk)
  using sheet = options.sheet === undefined ? undefined : openSheet(options.sheet)
  const place = { isAdmin: false, group: options.group }
  const credentials = await desk.people.add(
    wanted.map(({ user }) => user),
    place,
    `user import ${file}`,
    options.credential,
  )
  const slips = credentials.map((credential, index): Slip => {
    const person = wanted[index]?.person
    return { name: person ? displayName(person) : '', credential }
  })
  const about = { address: await hubAddress(desk.config()), title: desk.config().branding.title || 'Notebook hub' }
  const without = slips.filter(({ credential }) => credential.kind === 'none')
  terminal.print(
    [sheetText(slips, about), ...without.map(({ credential }) => credentialText(credential, about.address))].join('\n'),
  )
  // The codes are shown above in any case: there may be no room for the sheet.
  sheet?.write(sheetPage(slips, about))
  if (sheet) terminal.print(`\nThe sheet is in ${options.sheet}: print it, and delete it afterwards.`)
  return 0
}

function enrolmentText(enrolments: readonly Enrolment[]): string {
  const what = { new: 'is let in', there: 'is there already', banned: 'stays shut out', twice: 'left out' }
  const rows = enrolments.map(({ person, user, kind, note }) => {
    return [String(person.line), visible(displayName(person)), user, what[kind], visible(note)]
  })
  return tableText([['LINE', 'WHO', 'USER NAME', 'WHAT HAPPENS', 'NOTE'], ...rows])
}

/** It holds codes: for its owner alone, and in nobody's place. What was begun and not finished is taken away. */
function openSheet(path: string): Disposable & { write(text: string): void } {
  let isWritten = false
  const handle = open(path)
  const owner = [process.env.SUDO_UID, process.env.SUDO_GID].map(Number)
  if (process.getuid?.() === 0 && owner.every(Number.isInteger)) fchownSync(handle, owner[0] ?? 0, owner[1] ?? 0)
  return {
    write(text) {
      // Not writeSync, which on a disk that is nearly full writes a part, and says so only by its result.
      writeFileSync(handle, text)
      isWritten = true
    },
    [Symbol.dispose]() {
      closeSync(handle)
      if (!isWritten) rmSync(path, { force: true })
    },
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'wx', 0o600)
  } catch (cause) {
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST'
    throw new ProblemError('SHEET', {
      what: 'Nothing was changed',
      why: isThere
        ? `${path} is there already, and may hold codes that somebody needs`
        : `${path} cannot be written: ${String(cause)}`,
      fix: 'Name another file for the sheet',
      cause,
    })
  }
}

function readFileOf(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw new ProblemError('ROSTER', {
      what: 'Nothing was changed',
      why: `${path} could not be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      fix: 'Check its name',
      cause,
    })
  }
}
