/**
 * Who may enter, and by which authenticator: the one place that says so.
 *
 *   isAdmin          is an administrator (pages of administrators, sudo in the own server)
 *   isNamed          stands in the file as somebody who may enter
 *   mayEnter         may log in and have a server, by whatever authenticator (spawner, `tljh-ts user`)
 *   mayEnterBy       may log in by that authenticator (each login)
 *   mayComeBy        the account behind the name is one for that authenticator: accounts of the machine belong to PAM
 *   mayKeepSession   whoever came by that authenticator is still in (each request, and each change of the file)
 *   admitsStranger   that authenticator lets in a name which the file does not have
 *   namedIn          every name that the file has, for whatever reason
 */
import { readFileSync } from 'node:fs'
import { type AuthenticatorKind, storingKinds } from '../schema/auth.ts'
import { type OrdinaryAccount, ordinaryAccount, passwdFile } from '../users/machine-accounts.ts'
import { isTemporaryName, type UserName } from '../users/names.ts'
import { letsStrangersIn } from './auth.ts'
import type { Config } from './config.ts'

export function isAdmin(config: Config, user: UserName): boolean {
  return config.users.admin.has(user) && !config.users.banned.has(user)
}

/** Whether the file names them as somebody who may enter. */
export function isNamed({ users: { allowed, admin } }: Config, user: UserName): boolean {
  return allowed.has(user) || admin.has(user)
}

/** Whether `user` may log in and have a server: `banned` is stronger than every other list. */
export function mayEnter(config: Config, user: UserName): boolean {
  if (config.users.banned.has(user)) return false
  return isNamed(config, user) || config.auth.kinds.some(kind => admitsStranger(config, user, kind))
}

/** Whether `user` may enter by that way: a way that is open to strangers opens no other way to them. */
export function mayEnterBy(config: Config, user: UserName, way: AuthenticatorKind): boolean {
  if (!mayEnter(config, user) || !config.auth.kinds.includes(way)) return false
  return isNamed(config, user) ? way !== 'temporary' : admitsStranger(config, user, way)
}

/** Whether a way lets in that name although the file has it nowhere. The name of a temporary visitor is nobody else's. */
function admitsStranger({ auth }: Config, user: UserName, way: AuthenticatorKind): boolean {
  return (way === 'temporary') === isTemporaryName(user) && letsStrangersIn(way, auth.options)
}

/** The account of the machine that a user works in; undefined where it is one of the hub's own making. */
export function ownAccount(config: Config, user: UserName): OrdinaryAccount | undefined {
  return config.auth.kinds.includes('pam') ? ordinaryAccount(readFileSync(passwdFile, 'utf8'), user) : undefined
}

/** Whether `user` can come by that way: who has an account of the machine comes by PAM, and nobody else does. */
export function mayComeBy(config: Config, user: UserName, way: AuthenticatorKind): boolean {
  return (way === 'pam') === (ownAccount(config, user) !== undefined)
}

/** Whether somebody who came in by that way may still be in: the name may enter, and the way is still one. */
export function mayKeepSession(config: Config, user: UserName, way: AuthenticatorKind): boolean {
  return mayEnterBy(config, user, way) && mayComeBy(config, user, way)
}

/** Everybody whom the file names, and where. */
export function namedIn({ users, groups, unixGroups, userLimits }: Config): Set<UserName> {
  const inGroups = [...groups.values(), ...unixGroups.values()].flatMap(members => [...members])
  return new Set([...users.allowed, ...users.admin, ...users.banned, ...inGroups, ...userLimits.keys()])
}

/** Whether codes and passwords of ours open anything. */
export function keepsPasswords({ auth }: Config): boolean {
  return auth.kinds.some(kind => storingKinds.includes(kind))
}

/** Whether the login page offers it. */
export function signUpIsOpen({ auth: { kinds, options } }: Config): boolean {
  return kinds.includes('native') && (options.NativeAuthenticator?.enable_signup ?? true)
}
