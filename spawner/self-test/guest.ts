/**
 * For whom the self-test starts a server: a user of its own, with an account and a home that are there for as long as it runs.
 *
 * Nobody is asked whether this user may enter, so nobody else must be able to be it. That is why part of the name is drawn anew each time:
 * it cannot be claimed before, where anybody may sign up, and no account or home of somebody is ever taken for it. Before anything is made,
 * a note says under which name (PREFIX/hub/self-test); whatever ends a self-test, the next one removes what the note names.
 */
import { randomInt } from 'node:crypto'
import { lstatSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Config } from '../../config/meaning/config.ts'
import { isNamed } from '../../config/meaning/who-may-enter.ts'
import { parseUserName, type UserName, unixName } from '../../config/users/names.ts'
import type { Layout } from '../../machine/layout.ts'
import { replaceFile } from '../../machine/replace-file.ts'
import { findAccount } from '../accounts/ensure.ts'
import { takeTurn } from '../accounts/remove.ts'

export interface Guest extends AsyncDisposable {
  user: UserName
  /** Takes back all that was made for it. Throws what `takeBack` throws; then the next self-test tries again. */
  remove(): Promise<void>
}

const start = 'tljh-test-'
/** So many that the account's name is not cut: 36 ** 7 is 78 thousand million. */
const letters = 7
const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789'
const notedName = /^tljh-test-[a-z0-9]{7}$/

/**
 * Finds a name that is nobody's, after removing what an earlier self-test has left. Waits while another one runs.
 * @param takeBack removes the server, the account and the home of such a user, if they are there
 */
export async function inviteGuest(
  layout: Layout,
  config: Config,
  takeBack: (user: UserName) => Promise<void>,
): Promise<Guest> {
  const turn = await takeTurn(layout.run, 'self-test.lock')
  const note = join(dirname(layout.versions), 'self-test')
  async function remove(user: UserName): Promise<void> {
    await takeBack(user)
    rmSync(note, { force: true })
  }
  try {
    const left = readNote(note)
    if (left !== undefined) await remove(left)
    const user = await freeName(config)
    replaceFile(note, `${user}\n`, { mode: 0o600 })
    return { user, remove: () => remove(user), [Symbol.asyncDispose]: () => turn[Symbol.asyncDispose]() }
  } catch (error) {
    await turn[Symbol.asyncDispose]()
    throw error
  }
}

/** A note that was cut off while it was written names nobody; nothing had been made then. */
function readNote(note: string): UserName | undefined {
  if (!lstatSync(note, { throwIfNoEntry: false })?.isFile()) return undefined
  const text = readFileSync(note, 'utf8').trim()
  return notedName.test(text) ? parseUserName(text) : undefined
}

async function freeName(config: Config): Promise<UserName> {
  for (;;) {
    const drawn = Array.from({ length: letters }, () => alphabet[randomInt(alphabet.length)])
    const user = parseUserName(`${start}${drawn.join('')}`)
    const name = unixName(user)
    const hasHome = lstatSync(`/home/${name}`, { throwIfNoEntry: false }) !== undefined
    if (!isNamed(config, user) && !hasHome && !(await findAccount(user, name))) return user
  }
}
