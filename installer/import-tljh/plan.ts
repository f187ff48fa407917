/**
 * What becomes of a TLJH here: who may enter, whose password is kept, what of its configuration counts. Pure but for a look at the homes.
 */
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, readConfig } from '../../config/meaning/config.ts'
import { addItem, contentOf, type Plain, removeItem, unsetKey, valueAt } from '../../config/text/edit.ts'
import type { Finding } from '../../config/text/findings.ts'
import { isUserName, type UserName, unixName } from '../../config/users/names.ts'
import { isBcrypt } from '../../config/users/password-hash-formats.ts'
import { ProblemError } from '../../problem.ts'
import { type OldHub, type OldUser, shown } from './reading.ts'

export interface ImportPlan {
  /** What config.yaml will be. */
  configText: string
  admins: UserName[]
  /** Whose accounts are theirs alone; absent in what an older version has noted. */
  owners?: UserName[]
  hashes: { user: UserName; hash: string }[]
  packages: string
  /** What is shown before anybody is asked. */
  lines: string[]
}

interface Row {
  user: UserName
  isAdmin: boolean
  isAllowed: boolean
  isBanned: boolean
  hash: string | undefined
  home: string
}

/** @param extraAdmins are named on the command line. Throws `IMPORT_CONFIG`, `IMPORT_ADMIN`. */
export function planImport(old: OldHub, extraAdmins: readonly UserName[]): ImportPlan {
  const oddities = [...old.oddities]
  const { text: cleaned, notes } = cleanConfig(old.configText)
  const before = meaningOf(cleaned)
  const users = merged(old.users, oddities)
  const isOpenToKnown = before.auth.kinds.includes('first-use') && before.users.allowed.size === 0
  const isBanned = (user: UserName) => before.users.banned.has(user)
  const admins = [
    ...new Set([
      ...before.users.admin,
      ...users.filter(({ isAdmin }) => isAdmin).map(({ name }) => name),
      ...extraAdmins,
    ]),
  ].filter(user => !isBanned(user))
  if (!admins.length) throw nobody()
  const known = users.filter(({ isInDatabase }) => isInDatabase).map(({ name }) => name)
  const allowed = isOpenToKnown ? known.filter(user => !admins.includes(user) && !isBanned(user)) : []
  let configText = cleaned
  for (const user of admins) configText = addItem(configText, ['users', 'admin'], user)
  for (const user of allowed) configText = addItem(configText, ['users', 'allowed'], user)
  const config = meaningOf(configText)
  const names = [
    ...new Set([...users.map(({ name }) => name), ...config.users.allowed, ...config.users.banned, ...admins]),
  ]
  const rows = names.toSorted().map(user =>
    rowOf(
      user,
      config,
      users.find(({ name }) => name === user),
    ),
  )
  const hashes = rows.flatMap(({ user, hash }) => {
    if (hash === undefined) return []
    if (isBcrypt(hash)) return [{ user, hash }]
    oddities.push(`the password of ${user} is not kept as a bcrypt hash; ${user} needs a one-time code`)
    return []
  })
  const owners = ownersAmong(names, oddities)
  const hasPassword = new Set(hashes.map(({ user }) => user))
  const lines = [
    ...tableOf(rows, hasPassword),
    ...(allowed.length
      ? ['', 'users.allowed was empty, which lets everybody in whom TLJH knows: these are named in it now.']
      : []),
    ...sectionOf('The configuration, key by key:', [...keyLines(configText, config, notes)]),
    ...sectionOf('Not taken over:', [
      ...oddities,
      ...old.customFiles.map(file => `${file} (it configures JupyterHub or traefik)`),
    ]),
  ]
  return { configText, admins, owners, hashes, packages: old.packages, lines }
}

/** Without what this version does not take, and what that was. Of how people log in, nothing may be left out. */
function cleanConfig(source: string): { text: string; notes: Map<string, string> } {
  const notes = new Map<string, string>()
  let text = source.trim() === '' ? '{}\n' : source
  for (let round = 0; round < 1000; round++) {
    const worst = readConfig(text).findings.find(({ severity }) => severity === 'error')
    if (!worst) return { text, notes }
    const changed = without(text, worst)
    if (!changed) throw wrong(worst)
    notes.set(worst.key, changed.note)
    text = changed.text
  }
  throw new Error('the configuration has no end of errors')
}

function without(text: string, { key, what, why }: Finding): { text: string; note: string } | undefined {
  const path = key.split('.')
  const note = `left out: ${what}; ${why}`
  if (key === '' || path[0] === 'auth') return undefined
  const section = path.slice(0, -1)
  const list = valueAt(contentOf(text), section)
  if (!Array.isArray(list)) {
    return valueAt(contentOf(text), path) === undefined ? undefined : { text: unsetKey(text, path), note }
  }
  const item: Plain = list[Number(path.at(-1))] ?? null
  const rest = removeItem(text, section, item)
  // JupyterHub reads names without regard to capitals.
  const small = String(item).trim().toLowerCase()
  if (!isUserName(small)) return { text: rest, note }
  return { text: addItem(rest, section, small), note: `${shown(String(item))} is written ${small} now` }
}

/** One for each name, in the spelling that counts; where two differ in capitals alone, JupyterHub took the one in small letters. */
function merged(users: readonly OldUser[], oddities: string[]): (OldUser & { name: UserName })[] {
  const found = new Map<UserName, OldUser & { name: UserName }>()
  for (const user of users.toSorted((a, b) => Number(isUserName(b.name)) - Number(isUserName(a.name)))) {
    const name = user.name.trim().toLowerCase()
    if (!isUserName(name)) {
      oddities.push(`${shown(user.name)} cannot be a user name here; the home stays`)
      continue
    }
    const known = found.get(name)
    if (!known) found.set(name, { ...user, name })
    else {
      if (user.hash !== undefined && known.hash !== undefined)
        oddities.push(`a second password for ${name}, under ${shown(user.name)}`)
      known.hash ??= user.hash
      known.isAdmin ||= user.isAdmin
      known.isInDatabase ||= user.isInDatabase
    }
  }
  return [...found.values()]
}

/** TLJH cuts long names to an account, as we do, and lets all names into it that are cut to the same. */
function ownersAmong(names: readonly UserName[], oddities: string[]): UserName[] {
  const byAccount = Map.groupBy(names, unixName)
  return [...byAccount].flatMap(([account, users]) => {
    if (users.length === 1) return users
    oddities.push(
      `the account ${account} and its home: ${users.join(' and ')} shared it, and nobody can tell whose it is`,
    )
    return []
  })
}

function rowOf(user: UserName, { users }: Config, old: OldUser | undefined): Row {
  const home = join('/home', unixName(user))
  const isAdmin = users.admin.has(user)
  return {
    ...{ user, isAdmin, isAllowed: isAdmin || users.allowed.has(user), isBanned: users.banned.has(user) },
    ...{ hash: old?.hash, home: lstatSync(home, { throwIfNoEntry: false })?.isDirectory() ? home : '' },
  }
}

function tableOf(rows: readonly Row[], hasPassword: ReadonlySet<UserName>): string[] {
  const cells = rows.map(({ user, isAdmin, isAllowed, isBanned, home }) => [
    user,
    isBanned ? 'banned' : isAdmin ? 'administrator' : isAllowed ? 'may enter' : 'may not enter',
    hasPassword.has(user) ? 'keeps the password' : 'no password',
    home || 'no home yet',
  ])
  const widths = [0, 1, 2].map(column => cells.reduce((widest, row) => Math.max(widest, row[column]?.length ?? 0), 0))
  return cells.map(row => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
}

function* keyLines(text: string, config: Config, notes: ReadonlyMap<string, string>): Iterable<string> {
  const { findings } = readConfig(text)
  for (const key of leavesOf(contentOf(text))) {
    const found = findings.find(one => one.key !== '' && (one.key === key || key.startsWith(`${one.key}.`)))
    yield `${key}: ${found ? `${found.what}; ${found.why}` : 'as it is'}`
  }
  for (const [key, note] of notes) yield `${key}: ${note}`
  if (notes.has('https') || notes.has('https.enabled')) {
    yield `!! TLJH served https; this hub serves http, on port ${config.http.port}. Passwords cross the network unprotected until another web server stands before it`
  }
}

function leavesOf(content: Plain, path: readonly string[] = []): string[] {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) return [path.join('.')]
  return Object.entries(content).flatMap(([name, value]) => leavesOf(value, [...path, name]))
}

function sectionOf(title: string, lines: readonly string[]): string[] {
  return lines.length ? ['', title, ...lines.map(line => `  ${line}`)] : []
}

function meaningOf(text: string): Config {
  const { config, findings } = readConfig(text)
  if (config) return config
  const [worst] = findings
  throw worst ? wrong(worst) : new Error('the configuration is not valid')
}

function wrong({ what, line, why, fix }: Finding): ProblemError {
  return new ProblemError('IMPORT_CONFIG', {
    what: `TLJH’s config.yaml cannot be taken over: ${what} (line ${line})`,
    why: `${why}; who may come in depends on it, so it is not simply left out`,
    fix: `${fix}. Change it in TLJH’s file, and give the same command again. Nothing was changed`,
  })
}

function nobody(): ProblemError {
  return new ProblemError('IMPORT_ADMIN', {
    what: 'Nothing was taken over',
    why: 'neither TLJH’s configuration nor its database names an administrator',
    fix: 'Name one: sudo tljh-ts import-tljh --admin NAME',
  })
}
