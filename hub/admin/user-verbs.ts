/**
 * What the verbs of `tljh-ts user` do with what was typed, and what they print: the sentence that says what was done, and what to do next.
 * Each answers the exit code. What is done with people is in hub/admin/users.ts, and class lists are in hub/admin/user-import.ts.
 */
import type { DatabaseSync } from 'node:sqlite'
import { dayOf } from '../../cli/day.ts'
import { tableText } from '../../cli/table.ts'
import type { Terminal } from '../../cli/terminal.ts'
import type { Config } from '../../config/meaning/config.ts'
import { hubAddress, welcomeLink } from '../../config/meaning/hub-address.ts'
import { parseUserName, type UserName } from '../../config/users/names.ts'
import { isBcrypt } from '../../config/users/password-hash-formats.ts'
import { ProblemError } from '../../problem.ts'
import type { Server } from '../../spawner/client/protocol.ts'
import { credentialText } from '../class-list/sheet.ts'
import { allUsers, type KnownUser } from '../credentials/all-users.ts'
import type { Credential } from '../credentials/credential.ts'
import { createOneTimeCodes } from '../credentials/one-time-codes.ts'
import { createPasswords } from '../credentials/passwords.ts'
import { type CredentialOptions, type People, type Removal, type UserPlacement, unknown } from './users.ts'

export interface UserDesk {
  people: People
  config: () => Config
  withState<Result>(work: (db: DatabaseSync) => Result | Promise<Result>): Promise<Result>
  servers(): Promise<Server[]>
  terminal: Terminal
  isJson: boolean
}

export async function list(desk: UserDesk): Promise<number> {
  const people = await everybody(desk)
  if (desk.isJson) desk.terminal.print(JSON.stringify(people.map(forJson), null, 2))
  else
    desk.terminal.print(people.length ? usersText(people) : 'Nobody yet. Let somebody in: sudo tljh-ts user add NAME')
  return 0
}

export async function add(
  desk: UserDesk,
  names: string[],
  place: UserPlacement,
  options: CredentialOptions,
): Promise<number> {
  const users = usersNamed(names)
  const how = `user add ${users.join(' ')}${place.isAdmin ? ' --admin' : ''}${place.group === undefined ? '' : ` --group ${place.group}`}`
  const credentials = await desk.people.add(users, place, how, options)
  return printCredentials(desk, credentials)
}

export async function invite(
  desk: UserDesk,
  names: string[],
  options: { lifeMs: number; ifUnset: boolean },
): Promise<number> {
  return printCredentials(desk, await desk.people.invite(usersNamed(names), options))
}

export async function passwd(desk: UserDesk, name: string, options: { ifUnset: boolean }): Promise<number> {
  const user = parseUserName(name)
  if (desk.terminal.isInteractive) desk.terminal.complain(`New password for ${user}, then Enter and Ctrl-D:`)
  const [password = ''] = (await desk.terminal.read()).toString('utf8').split(/\r?\n/)
  const isSet = await desk.people.setPassword(user, password, options)
  desk.terminal.print(`The password of ${user}: ${isSet ? 'set' : 'unchanged'}`)
  return 0
}

/** What cannot be a hash or a name is passed over; import-tljh has said so before. */
export async function importHashes(desk: UserDesk): Promise<number> {
  const given = JSON.parse((await desk.terminal.read()).toString('utf8')) as { user: string; hash: string }[]
  const usable = given
    .filter(({ hash }) => isBcrypt(hash))
    .map(({ user, hash }) => ({ user: parseUserName(user), hash }))
  const count = await desk.withState(db => {
    const passwords = createPasswords(db, desk.config)
    const codes = createOneTimeCodes(db)
    return usable.filter(({ user, hash }) => {
      const isNew = passwords.addFirst(user, hash)
      if (isNew) codes.forget(user)
      return isNew
    }).length
  })
  desk.terminal.print(`${count} passwords were taken over.`)
  return 0
}

export async function rename(desk: UserDesk, from: string, to: string): Promise<number> {
  const [old, user] = [parseUserName(from), parseUserName(to)]
  await desk.people.rename(old, user)
  desk.terminal.print(
    `${old} is ${user} now, with the same password and the same files. Tell them to log in as ${user}.`,
  )
  return 0
}

export async function disable(desk: UserDesk, names: string[]): Promise<number> {
  for (const user of usersNamed(names)) {
    await desk.people.disable(user)
    desk.terminal.print(
      `${user} is shut out; files and password are kept. To let them in again: sudo tljh-ts user enable ${user}`,
    )
  }
  return 0
}

export async function enable(desk: UserDesk, names: string[]): Promise<number> {
  for (const user of usersNamed(names)) {
    await desk.people.enable(user)
    desk.terminal.print(`${user} may enter again, with the password as it was.`)
  }
  return 0
}

export async function unlink(desk: UserDesk, name: string): Promise<number> {
  const user = parseUserName(name)
  const done = await desk.people.unlink(user)
  desk.terminal.print(
    done
      ? `${user} is not bound to an identity elsewhere any more.`
      : `Nothing to do: ${user} is not bound to an identity elsewhere.`,
  )
  return 0
}

export async function secondFactorOff(desk: UserDesk, name: string): Promise<number> {
  const user = parseUserName(name)
  const done = await desk.people.switchSecondFactorOff(user)
  desk.terminal.print(
    done
      ? `The second factor of ${user} is off. They can switch it on again on their account page.`
      : `Nothing to do: ${user} has no second factor.`,
  )
  return 0
}

export interface Selection {
  names: string[]
  group?: string | undefined
  idleDays?: number | undefined
  isAll?: boolean
}

export interface DepartVerb {
  verb: 'delete' | 'archive'
  hasArchive: boolean
  isDryRun: boolean
  isSure: boolean
}

export async function depart(desk: UserDesk, selection: Selection, options: DepartVerb): Promise<number> {
  const { terminal, people } = desk
  const known = await everybody(desk)
  const users = await selected(desk, known, selection)
  if (users.length === 0) {
    terminal.print('Nothing to do: nobody is meant by that.')
    return 0
  }
  terminal.print(departureText(users, known, options.hasArchive))
  if (options.isDryRun) return nothingChanged(desk)
  const question = `\nDelete ${users.length === 1 ? 'this account' : `these ${users.length} accounts`}${options.hasArchive ? '' : ' and all their files'}?`
  if (!(await agreed(desk, question, options.isSure))) return nothingChanged(desk)
  const how = `user ${options.verb} ${users.join(' ')}`
  const onLeft = (leaving: Removal) => printLeaving(desk, leaving, options)
  const leavings = await people.remove(users, { how, hasArchive: options.hasArchive, onLeft })
  const failed = leavings.filter(({ problem }) => problem)
  if (failed.length) {
    terminal.complain(
      `${failed.length} of ${leavings.length} accounts are still there; none of them may enter. When what stands above is mended, give the same command with their names:\n  sudo tljh-ts user ${options.verb} ${failed.map(({ user }) => user).join(' ')}${options.hasArchive ? '' : ' --remove-home'}`,
    )
  }
  return failed.length ? 1 : 0
}

async function selected(desk: UserDesk, known: readonly KnownUser[], selection: Selection): Promise<UserName[]> {
  const { names, group, idleDays, isAll = false } = selection
  const ways = [names.length > 0, group !== undefined, idleDays !== undefined, isAll].filter(Boolean).length
  if (ways !== 1)
    throw misused('it is not clear who is meant', 'Name people, or one of --group GROUP, --idle DAYS, --all')
  if (names.length) {
    const users = usersNamed(names)
    const strangers = await desk.people.strangers(users)
    if (strangers.length) throw unknown(strangers)
    return users
  }
  if (group !== undefined && !desk.config().groups.has(group)) {
    throw misused(`the configuration has no group ${group}`, 'See which there are: sudo tljh-ts config get groups')
  }
  const before = Date.now() - (idleDays ?? 0) * 24 * 3600_000
  return known
    .filter(({ isAdmin }) => !isAdmin)
    .filter(person => {
      if (group !== undefined) return person.groups.includes(group)
      if (idleDays === undefined) return true
      return person.lastSeen !== null && person.lastSeen < before && person.server === 'stopped'
    })
    .map(({ user }) => user)
}

async function everybody({ config, withState, servers }: UserDesk): Promise<KnownUser[]> {
  const running = await servers()
  return withState(db => allUsers({ config: config(), db }, running))
}

/** For a terminal. */
function usersText(people: readonly KnownUser[]): string {
  const rows = people.map(person => [
    person.user,
    standing(person),
    person.password === 'code'
      ? `code until ${dayOf(person.codeExpires ?? 0)}`
      : person.password === 'set'
        ? 'password'
        : '-',
    person.hasSecondFactor ? 'yes' : '-',
    person.lastLogin === null ? 'never' : dayOf(person.lastLogin),
    person.server,
    person.account ?? '-',
  ])
  return tableText([['NAME', 'MAY ENTER', 'LOGS IN WITH', 'SECOND FACTOR', 'LAST LOGIN', 'SERVER', 'ACCOUNT'], ...rows])
}

function standing({ mayEnter, isAdmin, isBanned, groups, signedUp }: KnownUser): string {
  if (isBanned) return 'no: banned'
  if (signedUp !== null && !mayEnter) return `no: signed up ${dayOf(signedUp)}`
  if (!mayEnter) return 'no'
  return [isAdmin ? 'administrator' : 'yes', ...groups].join(', ')
}

async function printCredentials(desk: UserDesk, credentials: readonly Credential[]): Promise<number> {
  const address = await hubAddress(desk.config())
  if (desk.isJson) {
    const shown = credentials.map(credential => {
      if (credential.kind !== 'code') return credential
      return {
        ...credential,
        expires: iso(credential.expires),
        link: welcomeLink(address, credential.user, credential.code),
      }
    })
    desk.terminal.print(JSON.stringify(shown, null, 2))
    return 0
  }
  for (const credential of credentials) desk.terminal.print(credentialText(credential, address))
  if (credentials.some(({ kind }) => kind === 'code')) {
    desk.terminal.print('\nGive each their code or link. It opens, once, the page on which they choose a password.')
  }
  return 0
}

function departureText(users: readonly UserName[], known: readonly KnownUser[], hasArchive: boolean): string {
  const rows = users.map(user => {
    const person = known.find(one => one.user === user)
    const seen = person?.lastSeen ? dayOf(person.lastSeen) : 'unknown'
    const home = person?.account ? (hasArchive ? 'archived' : 'DELETED') : 'none'
    return [user, person?.account ?? '-', seen, person?.server ?? 'stopped', home]
  })
  return tableText([['NAME', 'ACCOUNT', 'LAST SEEN', 'SERVER', 'HOME'], ...rows])
}

function printLeaving({ terminal }: UserDesk, { user, departure, problem }: Removal, { hasArchive }: DepartVerb): void {
  if (problem) terminal.complain(`${problem.what}\n  why: ${problem.why}\n  what to do: ${problem.fix}`)
  else if (departure?.archive) terminal.print(`${user} is deleted; the home is ${departure.archive}`)
  else if (departure?.wasThere) {
    terminal.print(`${user} is deleted${hasArchive ? '; there was no home' : ', with all files'}.`)
  } else terminal.print(`${user} is out of all lists; the hub had made no account of the machine.`)
}

/** Whoever is no person at a terminal must say it in the command. */
export async function agreed({ terminal }: UserDesk, question: string, isSure: boolean): Promise<boolean> {
  if (isSure) return true
  if (terminal.isInteractive) return (await terminal.ask(question, ['yes', 'no'])) === 'y'
  throw misused('nobody is there to be asked', 'If the table above is right, give the same command with --yes')
}

export function nothingChanged({ terminal }: UserDesk): number {
  terminal.print('\nNothing was changed.')
  return 0
}

function usersNamed(names: readonly string[]): UserName[] {
  return [...new Set(names.map(parseUserName))]
}

function forJson(person: KnownUser) {
  const { codeExpires, lastLogin, lastSeen, signedUp } = person
  return {
    ...person,
    codeExpires: iso(codeExpires),
    lastLogin: iso(lastLogin),
    lastSeen: iso(lastSeen),
    signedUp: iso(signedUp),
  }
}

function iso(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}

function misused(why: string, fix: string): ProblemError {
  return new ProblemError('USAGE', { what: 'Nothing was changed', why, fix })
}
