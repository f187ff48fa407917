/**
 * `tljh-ts user passwd NAME`: a new password for a user. Whoever was logged in with the old one is logged out.
 */
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { openConfigFile } from '../config/file.ts'
import { parseUserName } from '../config/names.ts'
import type { Layout } from '../config/paths.ts'
import { createPasswords } from './passwords.ts'
import { createSessions } from './sessions.ts'
import { openState } from './state.ts'

/**
 * Reads the password from the first line of `input`. Must run as the owner of the state folder. Answers what was done.
 * With `ifUnset` a password that is there stays. Throws `USER_NAME`, `PASSWORD_…`, `STATE_UNUSABLE`.
 */
export async function setPassword(
  layout: Layout,
  name: string,
  input: Readable,
  { ifUnset }: { ifUnset: boolean },
): Promise<string> {
  const user = parseUserName(name)
  const [password = ''] = (await text(input)).split('\n')
  const db = openState(join(layout.state, 'hub.sqlite'))
  try {
    const config = openConfigFile(layout.configFile, () => undefined)
    const passwords = createPasswords(db, () => config.current().leastPasswordLength)
    if (ifUnset) return (await passwords.setFirst(user, password)) ? 'set' : 'unchanged'
    await passwords.set(user, password)
    createSessions(db).endAllOf(user)
    return 'set'
  } finally {
    db.close()
  }
}
