/**
 * Accounts of a backup on this machine, as spawner/accounts/ensure.ts makes them: with their old number where it is free, so that files which came
 * here by another way are theirs again. An account that is there stays as it is.
 */
import { lstatSync, readFileSync } from 'node:fs'
import { keptGroups } from '../../config/schema/formats.ts'
import { accountComment, adminsGroup, userInComment, usersGroup } from '../../config/users/names.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { homeOf } from './homes.ts'
import { type BackedUpAccount, firstUid } from './manifest.ts'

export interface AccountPlan {
  account: BackedUpAccount
  /** It was there before the restore, and stays as it is. */
  isThere: boolean
  /** Undefined: the next that is free. */
  uid: number | undefined
  gid: number | undefined
  groups: string[]
  /** Groups of the backup that it does not get. */
  dropped: string[]
  /** A home that is there belongs to a number that is another account's by now; it gets the new one. */
  takesHomeOf: number | undefined
}

const groupName = /^[a-z_][a-z0-9_-]*$/

/**
 * @param groupsOfConfig the groups of the machine that the backed-up configuration names; nobody gets into any other
 * @param begun accounts that an earlier run of the same restore has begun to make
 */
export function planAccounts(
  accounts: readonly BackedUpAccount[],
  groupsOfConfig: Iterable<string>,
  begun: readonly string[],
): AccountPlan[] {
  const passwd = table('/etc/passwd')
  const group = table('/etc/group')
  const isTaken = (numbers: string[][], number: number) => numbers.some(([, , id]) => id === String(number))
  const ofConfig = new Set(groupsOfConfig)
  const isGiven = (name: string) =>
    name === usersGroup || (ofConfig.has(name) && groupName.test(name) && !keptGroups.has(name))
  // Two of the backup's own may want the same, where a home has another owner than the account had.
  const promised = { uids: new Set<number>(), gids: new Set<number>() }
  return accounts.map(account => {
    const entry = passwd.find(([name]) => name === account.name)
    const isThere = entry !== undefined && !begun.includes(account.name)
    const whose = userInComment(entry?.[4] ?? '')
    if (whose !== undefined && whose !== account.user) throw anothers(account, whose)
    const owner = lstatSync(homeOf(account.name), { throwIfNoEntry: false })?.uid
    const wanted = [owner, account.uid].filter(uid => uid !== undefined && uid >= firstUid)
    const free = wanted.find(uid => uid !== undefined && !isTaken(passwd, uid) && !promised.uids.has(uid))
    const uid = entry ? Number(entry[2]) : free
    const gid = isTaken(group, account.gid) || promised.gids.has(account.gid) ? undefined : account.gid
    if (!isThere && uid !== undefined) promised.uids.add(uid)
    if (!isThere && gid !== undefined) promised.gids.add(gid)
    const takesHomeOf = !isThere && owner === account.uid && uid !== owner ? owner : undefined
    const groups = isThere ? [] : account.groups.filter(isGiven)
    const dropped = isThere ? [] : account.groups.filter(name => !isGiven(name) && name !== adminsGroup)
    return { account, isThere, uid, gid, groups, dropped, takesHomeOf }
  })
}

/** Makes what is missing of an account that was not there. Throws `RESTORE_ACCOUNT`. */
export async function makeAccount(
  { account, isThere, uid, gid, groups, takesHomeOf }: AccountPlan,
  report: (line: string) => void,
): Promise<void> {
  if (isThere) return
  const { name, user } = account
  const home = homeOf(name)
  if (!isIn('/etc/group', name)) {
    await must(name, 'groupadd', [...(gid === undefined ? [] : [`--gid=${gid}`]), name])
  }
  if (!isIn('/etc/passwd', name)) {
    await must(name, 'useradd', [
      ...['--no-create-home', `--home-dir=${home}`, `--gid=${name}`, '--shell=/bin/bash', '--no-log-init', '--badname'],
      ...[`--comment=${accountComment}${user}`, ...(uid === undefined ? [] : [`--uid=${uid}`]), name],
    ])
  }
  if (!isIn('/etc/shadow', name)) await must(name, 'usermod', ['--password', '*', name])
  for (const group of groups) {
    if (!isIn('/etc/group', group)) report(`${name} was in the group ${group}, which this machine does not have yet`)
    else await must(name, 'gpasswd', ['--add', name, group])
  }
  if (takesHomeOf !== undefined) {
    const how = ['--recursive', '--no-dereference', '-P', `--from=${takesHomeOf}`, `${name}:${name}`, home]
    await must(name, 'chown', how)
  }
}

/** Two long names can be cut to one account; the home of one must not be put in the place of the other's. */
function anothers({ name, user }: BackedUpAccount, whose: string): ProblemError {
  return new ProblemError('RESTORE_ACCOUNT', {
    what: `The account ${name} of ${user} cannot be put back`,
    why: `on this machine it belongs to ${whose}, whose name is cut to the same ${name.length} characters`,
    fix: `Archive ${whose} first, who is then no longer here: sudo tljh-ts user archive ${whose}. Nothing was changed`,
  })
}

function table(file: string): string[][] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .map(line => line.split(':'))
}

function isIn(file: string, name: string): boolean {
  return table(file).some(([first]) => first === name)
}

async function must(account: string, file: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await runProgram(file, args, { timeoutMs: 3600_000 })
  if (code === 0) return
  throw new ProblemError('RESTORE_ACCOUNT', {
    what: `The account ${account} could not be made`,
    why: stderr || `${file} ended with code ${code}`,
    fix: 'Mend that, and give the same command again: it goes on where it was',
  })
}
