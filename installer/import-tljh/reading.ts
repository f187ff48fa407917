/**
 * What a folder of TLJH's knows of its users, read without a change: `passwords.dbm` of FirstUseAuthenticator, and the tables `users` and
 * `users_info` (NativeAuthenticator) of JupyterHub's database. Somebody else may have made the folder: see untrusted.ts and stores.ts.
 */
import { existsSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { contentOf, type Plain, valueAt } from '../../config/text/edit.ts'
import { readStores } from './stores.ts'
import { namesBelow, packagesBelow, readBelow, readUntrusted, unreadable } from './untrusted.ts'

export interface OldUser {
  /** As it was written. */
  name: string
  isInDatabase: boolean
  /** By TLJH's database. */
  isAdmin: boolean
  /** Undefined where there is none. Perhaps of no kind that can be read. */
  hash: string | undefined
}

export interface OldHub {
  /** The text of config.yaml. */
  configText: string
  users: OldUser[]
  /** What was found and cannot be used, in words. */
  oddities: string[]
  /** Files in which somebody has written Python or TOML. */
  customFiles: string[]
  /** `name==version`, a line each; empty where they are not known. */
  packages: string
}

/** Many times what a large hub has. */
const mostBytes = { config: 1024 ** 2, dbm: 16 * 1024 ** 2, database: 32 * 1024 ** 2 } as const
const mostFiles = 200
/** Of the kinds of dbm: one file, or several with endings. */
const dbmEndings = ['', '.db', '.dat', '.dir', '.pag']

/** Whether TLJH lies in that folder. */
export function isTljh(from: string): boolean {
  const has = (path: string) => existsSync(join(from, path))
  return (has('hub/pyvenv.cfg') || has('hub/bin/python3')) && (has('config') || has('state'))
}

/** Throws `IMPORT_UNREADABLE`. */
export async function readOldHub(from: string): Promise<OldHub> {
  const configText = readBelow(from, 'config/config.yaml', mostBytes.config)?.toString('utf8') ?? ''
  const oddities: string[] = []
  const users = new Map<string, OldUser>()
  const user = (name: string): OldUser => {
    const known = users.get(name) ?? { name, isInDatabase: false, isAdmin: false, hash: undefined }
    users.set(name, known)
    return known
  }
  const store = optionOf(configText, 'dbm_path') ?? 'passwords.dbm'
  await readUsers(from, store, user, oddities)
  const customFiles = ['jupyterhub_config.d', 'traefik_config.d'].flatMap(folder =>
    namesBelow(from, join('config', folder), mostFiles).map(name => join(from, 'config', folder, name)),
  )
  return { configText, users: [...users.values()], oddities, customFiles, packages: packagesBelow(from, 'user') }
}

async function readUsers(
  from: string,
  store: string,
  user: (name: string) => OldUser,
  oddities: string[],
): Promise<void> {
  const databaseFile = join(from, 'state/jupyterhub.sqlite')
  const storeFile = isAbsolute(store) ? store : join(from, 'state', store)
  const { passwords, database } = await readStores(filesOf(from, store)).catch(cause => {
    throw unreadable(databaseFile, cause)
  })
  if (!database) oddities.push(`there is no ${databaseFile}: who was in TLJH's database is not known`)
  else if ('problem' in database) throw unreadable(databaseFile, database.problem)
  else {
    for (const [name, isAdmin] of database.found.users)
      Object.assign(user(asName(name)), { isInDatabase: true, isAdmin })
    for (const [name, value, isAuthorized] of database.found.signUps) {
      if (isAuthorized) user(asName(name)).hash = asHash(value)
      else oddities.push(`${shown(asName(name))} has signed up and was not approved`)
    }
  }
  if (!passwords) return
  if ('problem' in passwords) throw unreadable(storeFile, passwords.problem)
  for (const [key, value] of passwords.found) {
    const name = utf8(Buffer.from(key, 'base64'))
    if (name !== undefined) user(name).hash ??= asHash(value)
    else {
      const hex = Buffer.from(key, 'base64').toString('hex').slice(0, 40)
      oddities.push(`an entry of ${storeFile} has a name that is no text (${hex})`)
    }
  }
}

/** What there is of the two stores, by what stores.py calls each file. */
function filesOf(from: string, store: string): Map<string, Buffer> {
  const read = (ending: string) =>
    isAbsolute(store)
      ? readUntrusted(`${store}${ending}`, mostBytes.dbm)
      : readBelow(from, join('state', `${store}${ending}`), mostBytes.dbm)
  const files = [
    ...dbmEndings.map(ending => [`passwords${ending}`, read(ending)] as const),
    ...['', '-wal'].map(
      ending => [`database${ending}`, readBelow(from, `state/jupyterhub.sqlite${ending}`, mostBytes.database)] as const,
    ),
  ]
  return new Map(files.flatMap(([name, bytes]) => (bytes ? [[name, bytes]] : [])))
}

function optionOf(configText: string, option: string): string | undefined {
  try {
    const value: Plain | undefined = valueAt(contentOf(configText), ['auth', 'FirstUseAuthenticator', option])
    return typeof value === 'string' ? value : undefined
  } catch {
    // It is not YAML, which is said where the configuration is looked at.
    return undefined
  }
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** Hashes are ASCII; anything else is shown as none. */
function asHash(base64: string): string {
  return Buffer.from(base64, 'base64').toString('latin1')
}

function asName(base64: string): string {
  return Buffer.from(base64, 'base64').toString('utf8')
}

/** Names are whatever somebody has typed once. */
export function shown(text: string): string {
  return JSON.stringify(text.length <= 64 ? text : `${text.slice(0, 64)}…`)
}
