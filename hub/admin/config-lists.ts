/**
 * Names in the configuration's lists: put in, taken out, exchanged, with all else in the file left as it stands. Pure: a text in, a text out.
 *
 * A person is named in users.allowed, users.banned, users.admin, in groups, in groups of the machine, and by limits of their own.
 */
import { addItem, contentOf, type Path, removeItem, setKey, unsetKey, valueAt } from '../../config/text/edit.ts'
import type { UserName } from '../../config/users/names.ts'

export const allowedList: Path = ['users', 'allowed']
export const adminList: Path = ['users', 'admin']
export const bannedList: Path = ['users', 'banned']

export function membersOf(group: string): Path {
  return ['groups', group, 'members']
}

export function withNames(text: string, path: Path, names: readonly UserName[]): string {
  return names.reduce((edited, name) => addItem(edited, path, name), text)
}

/** Out of the list, if the name is in it. */
export function withoutName(text: string, path: Path, name: UserName): string {
  return isIn(text, path, name) ? removeItem(text, path, name) : text
}

/** Out of all lists but those in `kept`, and without limits of their own. */
export function withoutPerson(text: string, name: UserName, kept: readonly Path[] = []): string {
  const paths = listsIn(text).filter(path => !kept.some(one => one.join('.') === path.join('.')))
  const edited = paths.reduce((rest, path) => withoutName(rest, path, name), text)
  const limits = ['limits', 'users', name]
  return valueAt(contentOf(edited), limits) === undefined ? edited : unsetKey(edited, limits)
}

export function renamed(text: string, from: UserName, to: UserName): string {
  let edited = text
  for (const path of listsIn(text)) {
    if (isIn(edited, path, from)) edited = removeItem(addItem(edited, path, to), path, from)
  }
  const limits = valueAt(contentOf(edited), ['limits', 'users', from])
  return limits === undefined
    ? edited
    : unsetKey(setKey(edited, ['limits', 'users', to], limits), ['limits', 'users', from])
}

function listsIn(text: string): Path[] {
  const content = contentOf(text)
  const keysAt = (path: Path) => Object.keys(valueAt(content, path) ?? {})
  return [
    allowedList,
    adminList,
    bannedList,
    ...keysAt(['groups']).map(membersOf),
    ...keysAt(['users', 'extra_user_groups']).map(group => ['users', 'extra_user_groups', group]),
  ]
}

/** YAML may have read a name as a number. */
function isIn(text: string, path: Path, name: UserName): boolean {
  const list = valueAt(contentOf(text), path)
  return Array.isArray(list) && list.some(item => String(item) === name)
}
