/**
 * The unix account behind a user: made when the user first starts a server, kept in step with the configuration after.
 *
 * Every step looks first and changes only what is not as it should be, so a start that was cut off half-way is mended by
 * the next. Account files have one lock for the whole machine, so changes are made one at a time.
 *
 * Only accounts that begin with `jupyter-`, have an ordinary user id and belong to this very user are ever touched: where a
 * long name is cut, the account's comment must say so. Whoever has an
 * account of the machine (PAM) works in that one: of it, nothing changes but the groups that the configuration names.
 */
import { existsSync, type Stats } from 'node:fs'
import { chmod, lstat, mkdir, rename } from 'node:fs/promises'
import type { Account, OrdinaryAccount } from '../../config/users/machine-accounts.ts'
import {
  accountComment,
  adminsGroup,
  isCutName,
  type UnixName,
  type UserName,
  unixName,
  userInComment,
  usersGroup,
} from '../../config/users/names.ts'
import { roomAt } from '../../machine/disk.ts'
import { oneAfterAnother } from '../../machine/one-after-another.ts'
import { runProgram } from '../../machine/run-program.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'

export interface Accounts {
  /**
   * Makes sure that the user's account exists, with its home and its groups: `jupyterhub-users`, and
   * `jupyterhub-admins` for as long as `isAdmin`. Throws a `ProblemError` (`ACCOUNT_…`).
   */
  ensure(user: UserName, wanted: Wanted): Promise<Account | OrdinaryAccount>
  /** Puts the account, if there is one, into the group of administrators or takes it out. */
  setAdmin(user: UserName, isAdmin: boolean): Promise<void>
  /** Likewise, for a group of the machine; one that is not there is made. */
  setMember(user: UserName, group: string, isIn: boolean): Promise<void>
}

export interface Wanted {
  isAdmin: boolean
  /** For each group of the machine that the configuration names: whether the user is to be in it. */
  memberships: ReadonlyMap<string, boolean>
}

/** Below are the system's own accounts, see login.defs(5). */
const firstUid = 1000

/** Where an account is made, and what that takes at most: new copies of /etc/passwd and the like, and the files of /etc/skel. */
const accountPlaces = ['/etc', '/home']
const leastAccountBytes = 4 * 1024 ** 2
const leastAccountFiles = 64

/** @param ownAccountOf tells the account of the machine that a user works in, if it is none of ours */
export function createAccounts(ownAccountOf: (user: UserName) => OrdinaryAccount | undefined): Accounts {
  const inTurn = oneAfterAnother()

  function setMember(user: UserName, group: string, isIn: boolean): Promise<void> {
    return inTurn(async () => {
      const account = ownAccountOf(user) ?? (await findAccount(user, unixName(user)))
      if (account) await setMembership(account.name, group, isIn)
    })
  }

  return {
    ensure: (user, wanted) =>
      inTurn(async () => {
        const own = ownAccountOf(user)
        return own ? ensureOwn(own, wanted) : ensureAccount(user, wanted)
      }),
    setAdmin: (user, isAdmin) => setMember(user, adminsGroup, isAdmin),
    setMember,
  }
}

async function ensureAccount(user: UserName, { isAdmin, memberships }: Wanted): Promise<Account> {
  const name = unixName(user)
  const found = await findAccount(user, name)
  const account = found ?? (await addAccount(user, name))
  await ensureShadow(user, name)
  if (account.home === `/home/${name}` && !existsSync(account.home)) await makeHome(user, account)
  await ensurePrivateHome(account)
  await setMembership(name, usersGroup, true)
  await setMembership(name, adminsGroup, isAdmin)
  for (const [group, isIn] of memberships) await setMembership(name, group, isIn)
  return account
}

/** Groups that are not ours to manage are only added to: who else put somebody into one had a reason. */
async function ensureOwn(account: OrdinaryAccount, { isAdmin, memberships }: Wanted): Promise<OrdinaryAccount> {
  await ensureHome(account)
  await setMembership(account.name, adminsGroup, isAdmin)
  for (const [group, isIn] of memberships) if (isIn) await setMembership(account.name, group, true)
  return account
}

export async function findAccount(user: UserName, name: UnixName): Promise<Account | undefined> {
  const { code, stdout } = await runProgram('getent', ['passwd', name])
  if (code !== 0) return undefined
  const [, , uid, gid, comment = '', home = ''] = stdout.trimEnd().split(':')
  const account = { name, uid: Number(uid), gid: Number(gid), home }
  if (!(account.uid >= firstUid) || !home.startsWith('/')) {
    throw new ProblemError('ACCOUNT_FOREIGN', {
      what: `The account ${name} of this machine cannot be ${user}'s`,
      why: `it is a system account (user id ${uid}, home ${JSON.stringify(home)})`,
      fix: `An administrator can rename or delete it: sudo userdel ${name}`,
    })
  }
  const owner = userInComment(comment)
  if (owner !== undefined && owner !== user) {
    throw new ProblemError('ACCOUNT_TAKEN', {
      what: `The account ${name} of this machine cannot be ${user}'s`,
      why: `it belongs to ${owner}, whose name is cut to the same ${name.length} characters`,
      fix: 'Give one of the two a shorter name',
    })
  }
  if (owner === undefined && isCutName(user)) throw nobodys(user, name, `the account ${name} does not say whose it is`)
  return account
}

/** Of a cut name, what is there may be another's: five digits of a hash are found in a second by whoever may choose a name. */
function nobodys(user: UserName, name: UnixName, why: string): ProblemError {
  return new ProblemError('ACCOUNT_UNCLAIMED', {
    what: `The account ${name} of this machine was not opened to ${user}`,
    why: `${why}, and other long names are cut to the same ${name.length} characters`,
    fix: `If it is ${user}’s, an administrator writes that down: sudo usermod --comment '${accountComment}${user}' ${name}`,
  })
}

/**
 * Group, account and home, each by itself: useradd(8) does all three and, killed half-way, leaves what it then refuses to
 * complete.
 */
async function addAccount(user: UserName, name: UnixName): Promise<Account> {
  const home = `/home/${name}`
  const keptUid = await ownerOfKeptHome(user, name, home)
  await must(user, name, 'groupadd', ['--force', name])
  await must(user, name, 'useradd', [
    '--no-create-home',
    `--home-dir=${home}`,
    `--gid=${name}`,
    '--shell=/bin/bash',
    `--comment=${accountComment}${user}`,
    ...(keptUid === undefined ? [] : [`--uid=${keptUid}`]),
    // Not in /var/log/lastlog, which the spawner may not write.
    '--no-log-init',
    // The name is already checked more strictly than useradd does; some releases refuse a dot or an @.
    '--badname',
    name,
  ])
  const account = await findAccount(user, name)
  if (account) return account
  throw notMade(user, name, 'it is not there after useradd has made it')
}

/** The files of /etc/skel are copied beside and renamed, so a home is there whole or not at all. */
async function makeHome(user: UserName, { name, uid, gid, home }: Account): Promise<void> {
  const beside = `/home/.tljh-new-${name}`
  const removeBeside = () => must(user, name, 'rm', ['--recursive', '--force', '--one-file-system', '--', beside])
  await removeBeside()
  try {
    await mkdir(beside, { mode: 0o700 })
    await must(user, name, 'cp', ['--archive', '--no-target-directory', '/etc/skel', beside])
    await must(user, name, 'chown', ['--recursive', '--no-dereference', `${uid}:${gid}`, beside])
    await chmod(beside, 0o700)
    await rename(beside, home)
  } catch (error) {
    await removeBeside()
    throw isDiskFull(error) ? notMade(user, name, error.message) : error
  }
}

async function must(user: UserName, name: UnixName, file: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await runProgram(file, args)
  if (code !== 0) throw notMade(user, name, stderr || `${file} ended with code ${code}`)
}

function notMade(user: UserName, name: UnixName, reason: string): ProblemError {
  const isFull = /ENOSPC|EDQUOT|No space left/.test(reason) || accountPlaces.some(isUsedUp)
  return new ProblemError('ACCOUNT_NOT_MADE', {
    what: `The account ${name} could not be made for ${user}`,
    why: isFull ? 'the machine’s disk is full' : reason,
    fix: isFull
      ? 'Ask your teacher to make room on the machine, then try again'
      : 'Try again. If it happens again, tell your teacher',
  })
}

/** shadow-utils do not say why they cannot write. */
function isUsedUp(path: string): boolean {
  const { free, freeFiles, totalFiles } = roomAt(path)
  return free < leastAccountBytes || (totalFiles > 0 && freeFiles < leastAccountFiles)
}

/** A home without an account is what an uninstalled hub left: its files keep their owner if the new account gets the old id. */
async function ownerOfKeptHome(user: UserName, name: UnixName, home: string): Promise<number | undefined> {
  const stat = await lstat(home).catch(() => undefined)
  if (!stat) return undefined
  const owner = await runProgram('getent', ['passwd', String(stat.uid)])
  if (stat.isDirectory() && stat.uid >= firstUid && owner.code !== 0) {
    if (!isCutName(user)) return stat.uid
    throw new ProblemError('ACCOUNT_HOME_TAKEN', {
      what: `The account ${name} could not be made`,
      why: `${home} is there without an account, and other long names are cut to the same ${name.length} characters`,
      fix: `An administrator can move it away: sudo mv ${home} ${home}.old`,
    })
  }
  throw new ProblemError('ACCOUNT_HOME_TAKEN', {
    what: `The account ${name} could not be made`,
    why: `${home} exists and belongs to ${owner.stdout.split(':')[0] || `user id ${stat.uid}`}`,
    fix: `An administrator can move it away: sudo mv ${home} ${home}.old`,
  })
}

/** A useradd that was killed writes /etc/passwd and not /etc/shadow; PAM then refuses the account. `*`: no password. */
async function ensureShadow(user: UserName, name: UnixName): Promise<void> {
  const { code } = await runProgram('getent', ['shadow', name])
  if (code !== 0) await must(user, name, 'usermod', ['--password', '*', name])
}

/** Closes the home to everybody else. Group bits stay: the group is the user's own. */
async function ensurePrivateHome(account: Account): Promise<void> {
  const { mode } = await ensureHome(account)
  if (mode & 0o007) await chmod(account.home, mode & 0o770)
}

async function ensureHome({ home, name, uid, gid }: Account | OrdinaryAccount): Promise<Stats> {
  const stat = await lstat(home).catch(() => undefined)
  if (!stat?.isDirectory() || stat.uid !== uid) {
    throw new ProblemError('ACCOUNT_HOME', {
      what: `${name} has no home folder to work in`,
      why: stat ? `${home} is not a folder of theirs` : `${home} does not exist`,
      fix: `An administrator can put it right: sudo install --directory --owner=${name} --group=${gid} --mode=0700 ${home}`,
    })
  }
  return stat
}

/**
 * The umask of what runs in an account. A closed home keeps others out of all that is in it, so files need not be closed one by one; and in
 * folders for all, what was shared is shared. Where others may enter the home, each file is closed, as the only thing that keeps them out.
 */
export async function umaskOf({ name, gid, home }: Account | OrdinaryAccount): Promise<number> {
  const [{ mode }, group] = await Promise.all([lstat(home), runProgram('getent', ['group', String(gid)])])
  const [groupName, , , members = ''] = group.stdout.trimEnd().split(':')
  const isOwnGroup = groupName === name && members.split(',').every(member => member === '' || member === name)
  if (mode & (isOwnGroup ? 0o007 : 0o077)) return 0o077
  return isOwnGroup ? 0o002 : 0o022
}

async function setMembership(name: UnixName | UserName, group: string, wanted: boolean): Promise<void> {
  const found = await runProgram('getent', ['group', group])
  const members = found.stdout.trimEnd().split(':')[3]?.split(',') ?? []
  if (members.includes(name) === wanted) return
  if (found.code !== 0) await runProgram('groupadd', ['--force', group])
  const { code, stderr } = await runProgram('gpasswd', [wanted ? '--add' : '--delete', name, group])
  if (code === 0) return
  const isFull = isUsedUp('/etc')
  throw new ProblemError('ACCOUNT_GROUP', {
    what: `${name} could not be ${wanted ? 'added to' : 'removed from'} the group ${group}`,
    why: isFull ? 'the machine’s disk is full' : stderr || `gpasswd ended with code ${code}`,
    fix: isFull
      ? 'Ask your teacher to make room on the machine, then try again'
      : 'Install again over this installation, which puts groups right; no data is touched: sudo tljh-ts install --admin NAME',
  })
}
