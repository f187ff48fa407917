/**
 * Accounts of an LDAP server: a password is right where the server lets its owner log in with it (a bind). Options and their meaning are
 * ldapauthenticator's, see config/schema/auth-directory.ts.
 *
 * What always holds: whatever was typed stands for itself in names and filters (it is escaped); an entry is found once or not at all;
 * and a person whom the file does not name enters only by `allow_all` or by being in one of `allowed_groups`.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config/meaning/config.ts'
import { isNamed } from '../../config/meaning/who-may-enter.ts'
import {
  bindTemplates,
  directorySections,
  type LdapOptions,
  usernamePattern,
} from '../../config/schema/auth-directory.ts'
import { isUserName, type UserName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import type { PasswordAuthenticator } from './authenticator.ts'
import type { Directory } from './ldap-connection.ts'

export interface LdapAuthenticatorOptions {
  config: () => Config
  /** Told what is wrong with the configuration or the directory, for administrators. */
  log?: (line: string) => void
}

/** Somebody as the server knows them. */
interface Person {
  dn: string
  /** What stands for {username} and {uid}. */
  name: string
}

/** No refusal comes sooner: whether an entry was found, and its password looked at, takes a few milliseconds more or less. */
const leastRefusalMs = 250
/** RFC 4512 knows no such attribute: 'none', see RFC 4511, 4.5.1.8. */
const noAttributes = ['1.1']
const defaults = directorySections.LDAPAuthenticator.properties

export function ldap({ config, log = () => undefined }: LdapAuthenticatorOptions): PasswordAuthenticator {
  return {
    kind: 'ldap',
    async authenticate({ username, password }) {
      const soonest = delay(leastRefusalMs)
      const options = config().auth.options.LDAPAuthenticator ?? {}
      const name = nameToAsk(username, options)
      const user =
        name !== undefined && password.trim() ? await identify(options, name, password, config(), log) : undefined
      if (!user) await soonest
      return user
    },
  }
}

/** As it is stored, unless only what was typed looks like a name there. */
function nameToAsk(typed: string, options: LdapOptions): string | undefined {
  const name = typed.trim()
  const pattern = usernamePattern(options)
  return [name.toLowerCase(), name].find(candidate => candidate && pattern?.test(candidate))
}

async function identify(
  options: LdapOptions,
  typed: string,
  password: string,
  config: Config,
  log: (line: string) => void,
): Promise<UserName | undefined> {
  const { openDirectory } = await import('./ldap-connection.ts')
  using directory = await openDirectory(options)
  const found = options.lookup_dn ? await lookUp(directory, options, typed, log) : { dn: '', name: typed }
  const person = await bindAs(directory, options, found, password)
  if (!person) return undefined
  if (!(await matchesFilter(directory, options, person, log))) return undefined
  const user = (options.use_lookup_dn_username ? person.name : typed).toLowerCase()
  if (!isUserName(user)) {
    log(`ldap: ${JSON.stringify(user)} logged in there, and cannot be a user name here`)
    return undefined
  }
  return isNamed(config, user) || options.allow_all || (await isInGroup(directory, options, person)) ? user : undefined
}

/** The entry of whoever typed that; undefined where there is none, or more than one. Throws `AUTH_UNREACHABLE`. */
async function lookUp(
  directory: Directory,
  options: LdapOptions,
  login: string,
  log: (line: string) => void,
): Promise<Person | undefined> {
  const { lookup_dn_search_user: searcher, lookup_dn_search_password: secret, user_attribute: attribute } = options
  if (searcher && !(await directory.bind(searcher, secret ?? ''))) throw searcherRefused(options)
  const nameAttribute = options.lookup_dn_user_dn_attribute
  const template = options.lookup_dn_search_filter ?? defaults.lookup_dn_search_filter.default
  const filter = filled(template, { login_attr: attribute ?? '', login: escaped(login) })
  const wanted = nameAttribute ? [nameAttribute] : noAttributes
  const entries = await directory.search(options.user_search_base ?? '', filter, 'sub', wanted)
  const [entry] = entries
  if (!entry) return undefined
  if (entries.length > 1) {
    log(`ldap: lookup_dn found more than one entry for ${JSON.stringify(login)}, so nobody can log in by that name`)
    return undefined
  }
  if (!nameAttribute) return { dn: entry.dn, name: login }
  const [name, ...others] = [entry[nameAttribute] ?? []].flat().map(String)
  if (name && !others.length) return { dn: entry.dn, name }
  log(`ldap: ${entry.dn} has ${name ? 'more than one' : 'no'} ${nameAttribute}, so its owner cannot log in`)
  return undefined
}

/** Who logs in there with that password. Where nobody was found, somebody who does not exist is tried, for the time that it takes. */
async function bindAs(
  directory: Directory,
  options: LdapOptions,
  found: Person | undefined,
  password: string,
): Promise<Person | undefined> {
  const templates = bindTemplates(options)
  if (!found) {
    await directory.bind(`cn=nobody,${options.user_search_base}`, password)
    return undefined
  }
  const names = templates.length ? templates.map(dn => filled(dn, { username: escaped(found.name) })) : [found.dn]
  for (const dn of names) if (await directory.bind(dn, password)) return { dn, name: found.name }
  return undefined
}

async function matchesFilter(
  directory: Directory,
  options: LdapOptions,
  { name }: Person,
  log: (line: string) => void,
): Promise<boolean> {
  if (!options.search_filter) return true
  const values = { userattr: options.user_attribute ?? '', username: escaped(name) }
  const filter = filled(options.search_filter, values)
  const entries = await directory.search(options.user_search_base ?? '', filter, 'sub', noAttributes)
  if (entries.length > 1) log(`ldap: search_filter matches more than one entry for ${JSON.stringify(name)}`)
  return entries.length === 1
}

async function isInGroup(directory: Directory, options: LdapOptions, { dn, name }: Person): Promise<boolean> {
  const template = options.group_search_filter ?? defaults.group_search_filter.default
  const filter = filled(template, { userdn: escaped(dn), uid: escaped(name) })
  for (const group of options.allowed_groups ?? []) {
    if ((await directory.search(group, filter, 'base', noAttributes)).length) return true
  }
  return false
}

/** Puts values in the places that have their names, each once: a value is never looked into. */
export function filled(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (place, name: string) =>
    Object.hasOwn(values, name) ? (values[name] ?? place) : place,
  )
}

/**
 * For a value in a filter or in a distinguished name: everything of ASCII but letters, digits and a few marks as a backslash and the
 * number of the byte, which both understand, see RFC 4515, 3, and RFC 4514, 2.4. What is beyond ASCII means nothing there.
 */
export function escaped(value: string): string {
  return value.replace(
    /[^A-Za-z0-9@._\x80-\uffff-]/g,
    character => `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}

function searcherRefused({ server_address: host }: LdapOptions): ProblemError {
  return new ProblemError('AUTH_UNREACHABLE', {
    what: `The LDAP server (${host}) cannot be asked who you are`,
    why: 'it refuses the hub’s own search account',
    fix: 'An administrator checks auth.LDAPAuthenticator.lookup_dn_search_user and lookup_dn_search_password',
  })
}
