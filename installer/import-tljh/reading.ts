/**
 * What a machine with TLJH knows of its users, read without a change: `passwords.dbm` of FirstUseAuthenticator, and the tables `users` and
 * `users_info` (NativeAuthenticator) of JupyterHub's database.
 *
 * The first is a dbm file, of which Python has several kinds, so Python reads it: TLJH's own, which has written it, else the machine's.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { runCommand } from '../../commands.ts'
import { contentOf, type Plain, valueAt } from '../../config/document.ts'
import { ProblemError } from '../../problem.ts'

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

const dbmProgram = `
import base64, dbm, json, sys
text = lambda data: base64.b64encode(data).decode()
with dbm.open(sys.argv[1], 'r') as store:
    print(json.dumps([[text(key), text(store[key])] for key in store.keys()]))
`
const readTimeoutMs = 120_000
/** Of the kinds of dbm: one file, or several with endings. */
const dbmEndings = ['', '.db', '.dat', '.dir', '.pag']

/** Whether TLJH lies in that folder. */
export function isTljh(from: string): boolean {
  const has = (path: string) => existsSync(join(from, path))
  return (has('hub/pyvenv.cfg') || has('hub/bin/python3')) && (has('config') || has('state'))
}

/** Throws `IMPORT_UNREADABLE`. */
export async function readOldHub(from: string): Promise<OldHub> {
  const configText = textOf(join(from, 'config/config.yaml'))
  const oddities: string[] = []
  const users = new Map<string, OldUser>()
  const user = (name: string): OldUser => {
    const known = users.get(name) ?? { name, isInDatabase: false, isAdmin: false, hash: undefined }
    users.set(name, known)
    return known
  }
  readDatabase(join(from, 'state/jupyterhub.sqlite'), user, oddities)
  for (const [name, hash] of await readPasswords(from, configText, oddities)) user(name).hash ??= hash
  const customFiles = ['jupyterhub_config.d', 'traefik_config.d'].flatMap(folder =>
    filesIn(join(from, 'config', folder)),
  )
  return { configText, users: [...users.values()], oddities, customFiles, packages: await packagesOf(from) }
}

function readDatabase(file: string, user: (name: string) => OldUser, oddities: string[]): void {
  if (!existsSync(file)) {
    oddities.push(`there is no ${file}: who was in TLJH's database is not known`)
    return
  }
  try {
    using db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 })
    const has = (table: string) =>
      db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(table) !== undefined
    for (const { name, admin } of has('users') ? db.prepare('SELECT name, admin FROM users').all() : []) {
      Object.assign(user(String(name)), { isInDatabase: true, isAdmin: Number(admin) === 1 })
    }
    const signUps = has('users_info')
      ? db.prepare('SELECT username, password, is_authorized FROM users_info').all()
      : []
    for (const { username, password, is_authorized } of signUps) {
      if (Number(is_authorized) !== 1) oddities.push(`${shown(String(username))} has signed up and was not approved`)
      else user(String(username)).hash = password instanceof Uint8Array ? asText(password) : String(password)
    }
  } catch (cause) {
    throw unreadable(file, cause)
  }
}

async function readPasswords(from: string, configText: string, oddities: string[]): Promise<[string, string][]> {
  const named = optionOf(configText, 'dbm_path') ?? 'passwords.dbm'
  const file = isAbsolute(named) ? named : join(from, 'state', named)
  if (!dbmEndings.some(ending => existsSync(`${file}${ending}`))) return []
  const pythons = [join(from, 'hub/bin/python3'), '/usr/bin/python3'].filter(existsSync)
  let why = 'there is no Python on this machine'
  for (const python of pythons) {
    const { code, stdout, stderr } = await runCommand(python, ['-I', '-c', dbmProgram, file], {
      timeoutMs: readTimeoutMs,
    })
    if (code !== 0) {
      why = stderr.split('\n').at(-1) ?? `${python} ended with code ${code}`
      continue
    }
    const pairs = (JSON.parse(stdout) as [string, string][]).map(pair => pair.map(text => Buffer.from(text, 'base64')))
    return pairs.flatMap(([key = Buffer.alloc(0), value = Buffer.alloc(0)]) => {
      const name = utf8(key)
      if (name !== undefined) return [[name, asText(value)] as [string, string]]
      oddities.push(`an entry of ${file} has a name that is no text (${key.toString('hex').slice(0, 40)})`)
      return []
    })
  }
  throw unreadable(file, why)
}

/** Conda's packages are among them, by the names that pip knows. */
async function packagesOf(from: string): Promise<string> {
  const python = join(from, 'user/bin/python')
  if (!existsSync(python)) return ''
  const list = ['-I', '-m', 'pip', 'list', '--format=freeze', '--disable-pip-version-check']
  const { code, stdout } = await runCommand(python, list, { timeoutMs: readTimeoutMs })
  return code === 0 ? stdout : ''
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

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).map(name => join(folder, name)) : []
}

function textOf(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** Hashes are ASCII; anything else is shown as none. */
function asText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

/** Names are whatever somebody has typed once. */
export function shown(text: string): string {
  return JSON.stringify(text.length <= 64 ? text : `${text.slice(0, 64)}…`)
}

function unreadable(file: string, cause: unknown): ProblemError {
  return new ProblemError('IMPORT_UNREADABLE', {
    what: `${file} of TLJH could not be read`,
    why: cause instanceof Error ? cause.message : String(cause),
    fix: 'If it is a kind of file that this machine’s Python cannot read: sudo apt install python3-gdbm. Nothing was changed',
    cause,
  })
}
