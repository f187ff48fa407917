/**
 * The manifest of a backup: what it is, whose accounts and homes are in it.
 *
 * A backup may come from anybody, and root makes accounts and moves homes by what it says. So nothing of it is used before it was checked
 * here: each account is one that the hub could have made itself, with an ordinary number; each home is of one of these accounts, and is kept
 * under the one name that it can have. Which groups somebody gets is not decided here (restore-accounts.ts).
 */
import { basename } from 'node:path'
import { isUserName, unixName } from '../../config/users/names.ts'

/** To be raised when an older version could not make a hub of it any more. */
export const backupFormat = 1

export interface Manifest {
  format: number
  /** Of this very backup, and nothing else. */
  id: string
  /** Of tljh-ts. */
  version: string
  /** When it was begun, in milliseconds since 1970. */
  time: number
  host: string
  /** Of the class environment: `3.11.2`; empty where there was none. */
  python: string
  members: Member[]
  accounts: BackedUpAccount[]
  /** Undefined where homes were not asked for. */
  homes?: BackedUpHome[]
}

export interface Member {
  name: string
  /** In bytes. */
  size: number
  /** In hexadecimal digits. */
  sha256: string
}

/** An account that the hub made. */
export interface BackedUpAccount {
  /** On the machine: `jupyter-ann`. */
  name: string
  user: string
  uid: number
  gid: number
  groups: string[]
}

export interface BackedUpHome {
  /** Whose it is: the account's name. */
  account: string
  /** Undefined where the home could not be kept, for the reason in `problem`. */
  member?: string
  /** The backups that this one only adds to, the first (which has the whole home) first. They lie in the same folder. */
  parents: Parent[]
  /** What tar(1) wrote, in bytes: about what the files take that are in it. */
  bytes: number
  problem?: string
  /** What could not be read, as tar(1) says it; the first lines of it. */
  leftOut: string[]
}

export interface Parent {
  file: string
  id: string
  member: string
}

/** Of configuration, keys and lists, in bytes: anything that is not a home or the database. */
export const mostSmall = 64 * 1024 ** 2
export const databaseMember = 'state/hub.sqlite'
/** Below are the system's own accounts, see login.defs(5). */
export const firstUid = 1000
export const accountPrefix = 'jupyter-'

/** A signed number of 32 bits; what is above means something else to some programs. */
const lastUid = 2 ** 31 - 1
const longestAccount = 32
/** The last moment that a Date can be, in milliseconds. */
const lastTime = 8.64e15
const memberName = /^[A-Za-z0-9._/-]{1,99}$/

/** Whether a file can have that name in a backup: short, and leading nowhere else. */
export function isMemberName(name: unknown): name is string {
  if (typeof name !== 'string' || !memberName.test(name)) return false
  return name.split('/').every(part => part !== '' && part !== '.' && part !== '..')
}

/** The name under which a home is kept. */
export function homeMember(account: string): string {
  return `homes/${account}.tar.zst`
}

/** Whether the hub makes such accounts; older names that were not made by it (TLJH's, which it took over) count where they are like its own. */
export function isHubAccount({ name, user, uid, gid }: Omit<BackedUpAccount, 'groups'>): boolean {
  if (typeof name !== 'string' || typeof user !== 'string' || !isUserName(user)) return false
  const isItsName = name === unixName(user) || (name === `${accountPrefix}${user}` && name.length <= longestAccount)
  return isItsName && [uid, gid].every(id => Number.isInteger(id) && id >= firstUid && id <= lastUid)
}

/** Whether it is a manifest that can be worked with. Of a newer format than ours, only what tells that it is one is looked at. */
export function isManifest(value: unknown): value is Manifest {
  const manifest = value as Manifest
  if (typeof manifest !== 'object' || manifest === null || !Number.isInteger(manifest.format)) return false
  const { format, id, version, time, host, members, accounts, homes } = manifest
  const isWhole = [id, version, host].every(isText) && Number.isInteger(time) && time >= 0 && time <= lastTime
  if (!isWhole || !areMembers(members)) return false
  if (format > backupFormat) return true
  return areAccounts(accounts) && (homes === undefined || areHomes(homes, manifest))
}

function areMembers(members: unknown): boolean {
  if (!Array.isArray(members)) return false
  const isMember = ({ name, size, sha256 }: Member) =>
    isMemberName(name) && Number.isSafeInteger(size) && size >= 0 && isText(sha256) && isOfItsSize(name, size)
  return members.every(isMember) && areUnlike(members.map(({ name }: Member) => name))
}

/** So that no short file unpacks to more than there is room for. The database and homes are compared with the free space. */
function isOfItsSize(name: string, size: number): boolean {
  return size <= mostSmall || name === databaseMember || name.startsWith('homes/')
}

function areAccounts(accounts: unknown): boolean {
  if (!Array.isArray(accounts)) return false
  const isOne = (account: BackedUpAccount) => isHubAccount(account) && areTexts(account.groups)
  return accounts.every(isOne) && areUnlike(accounts.map(({ name }: BackedUpAccount) => name))
}

function areHomes(homes: unknown, { accounts, members }: Manifest): boolean {
  if (!Array.isArray(homes)) return false
  const known = new Set(accounts.map(({ name }) => name))
  const kept = new Set(members.map(({ name }) => name))
  const isOne = ({ account, member, parents, problem, leftOut }: BackedUpHome) => {
    const isItsMember = (name: unknown) => name === homeMember(account)
    const isKept = member === undefined ? isText(problem) : isItsMember(member) && kept.has(member)
    const areParents =
      Array.isArray(parents) && parents.every(one => isFileName(one.file) && isText(one.id) && isItsMember(one.member))
    return known.has(account) && isKept && areParents && areTexts(leftOut)
  }
  return homes.every(isOne) && areUnlike(homes.map(({ account }: BackedUpHome) => account))
}

function isFileName(name: unknown): boolean {
  return isText(name) && name === basename(name) && !['', '.', '..'].includes(name) && !name.includes('\0')
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function areTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(isText)
}

function areUnlike(names: readonly string[]): boolean {
  return new Set(names).size === names.length
}
