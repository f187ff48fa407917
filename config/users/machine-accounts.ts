/**
 * The machine's own accounts, and which of them are people's: with PAM among the ways in, a user for whom there is one works in it.
 *
 * The hub asks (may another way lead to that name?) and the spawner asks (in whose home does the server run?), and both must get the
 * same answer, or somebody could come by another way into an account of the machine. So both read /etc/passwd, and nothing that a
 * sandbox could change; accounts of directory services behind nsswitch.conf(5) are none here.
 */
import { readFileSync, statSync } from 'node:fs'
import { accountComment, type UnixName, type UserName } from './names.ts'

/** Somebody's account of the machine, which the hub neither made nor manages. */
export interface OrdinaryAccount {
  name: UserName
  uid: number
  gid: number
  home: string
}

/** Below are the system's own, see login.defs(5). */
const firstUid = 1000

/** The two above mean 'none', see chown(2). */
const lastUid = 2 ** 32 - 3

/** `nobody`, and what systemd makes up for units, see systemd's UIDS-GIDS. */
const isMadeUp = (uid: number) => uid >= 61184 && uid <= 65535
const closedShells = /\/(?:nologin|false|true|sync|shutdown|halt|git-shell)$/

/** Of accounts that the hub made, see spawner/accounts/ensure.ts. */
const ours = /^(?:jupyter-|tljh-)/

export const passwdFile = '/etc/passwd'

/** Homes of people that are not below /home, which servers do not see; but for `ownHome`, and what it lies in. */
export function homesElsewhere(ownHome: string): string[] {
  const lines = readFileSync(passwdFile, 'utf8').split('\n')
  return lines.flatMap(line => {
    const { home = '', uid } = personOf(line) ?? {}
    if (!home || /^\/(?:home|root|run\/user)\//.test(home) || `${ownHome}/`.startsWith(`${home}/`)) return []
    // A folder that is not theirs is no home: an account for a program may have /srv.
    return statSync(home, { throwIfNoEntry: false })?.uid === uid ? [home] : []
  })
}

/** The account of that name among the lines of a passwd(5), if it is a person's. */
export function ordinaryAccount(passwd: string, user: UserName): OrdinaryAccount | undefined {
  // getpwnam(3) takes the first line of a name, too.
  const start = `\n${passwd}`.indexOf(`\n${user}:`)
  const person = start === -1 ? undefined : personOf(passwd.slice(start).split('\n', 1)[0] ?? '')
  return person && { name: user, ...person }
}

function personOf(line: string): Omit<OrdinaryAccount, 'name'> | undefined {
  const [name = '', , uid = '', gid = '', comment = '', home = '', shell = ''] = line.split(':')
  const id = Number(uid)
  const isOrdinary = /^\d+$/.test(uid) && id >= firstUid && id <= lastUid && !isMadeUp(id)
  const canLogIn = home.startsWith('/') && !closedShells.test(shell)
  const isOurs = ours.test(name) || comment.startsWith(accountComment)
  return isOrdinary && canLogIn && !isOurs ? { uid: id, gid: Number(gid), home } : undefined
}

export interface Account {
  name: UnixName
  uid: number
  gid: number
  home: string
}
