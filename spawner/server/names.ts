/** What the units of users’ servers are called, and whose a unit is. */
import { isUserName, shortUnixName, type UnixName, type UserName, unixName } from '../../config/users/names.ts'
import { escapeUnitName, type UnitName, unitName } from '../../systemd/names.ts'

export const serverUnits = 'tljh-user-*.service'

/** Of what users' servers write: whoever fills it pushes nothing else out, least of all the audit log. */
export const usersJournal = 'tljh-users'
export const description = 'Jupyter server of '
export function serverUnitName(account: UnixName): UnitName {
  return unitName(`tljh-user-${escapeUnitName(shortUnixName(account))}.service`)
}

/** Whose server a unit is, from the description that only root could give it: a cut name cannot be read back. */
export function userOfUnit({ name, description: text }: { name: UnitName; description: string }): UserName | undefined {
  const user = text.slice(description.length)
  const isOurs = text.startsWith(description) && isUserName(user) && serverUnitName(unixName(user)) === name
  return isOurs ? user : undefined
}
