/**
 * One password for a workshop, under any name that is let in. JupyterHub's shared password and dummy.
 *
 * It never makes anybody an administrator: those have a password of their own kind (`admin_password`), or the passwords that the hub keeps.
 */
import type { Config } from '../../config/meaning/config.ts'
import { isAdmin } from '../../config/meaning/who-may-enter.ts'
import type { Passwords } from '../credentials/passwords.ts'
import { isSameSecret } from '../web/constant-time.ts'
import type { PasswordAuthenticator } from './authenticator.ts'

export function sharedPassword(
  kind: 'shared-password' | 'dummy',
  { config, passwords }: { config: () => Config; passwords: Passwords },
): PasswordAuthenticator {
  return {
    kind,
    async authenticate({ password }, user) {
      const { SharedPasswordAuthenticator: shared, DummyAuthenticator: dummy } = config().auth.options
      const ofAll = kind === 'dummy' ? dummy?.password : shared?.user_password
      const ofAdmins = kind === 'dummy' ? undefined : shared?.admin_password
      const own = await passwords.check(user, password)
      const isUsers = isSameSecret(password, ofAll)
      const isAdmins = isSameSecret(password, ofAdmins)
      if (!user) return undefined
      if (isAdmin(config(), user)) return isAdmins || own === 'right' ? user : undefined
      return isUsers ? user : undefined
    },
  }
}
