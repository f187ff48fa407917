/**
 * Accounts of a backup on this machine, as spawner/accounts.ts makes them: with their old number where it is free, so that files which came
 * here by another way are theirs again. An account that is there stays as it is.
 */
import { lstatSync, readFileSync } from 'node:fs'
import { runCommand } from '../../commands.ts'
import { ProblemError } from '../../problem.ts'
import type { BackedUpAccount } from './archive.ts'
import { homeOf } from './homes.ts'

export interface AccountPlan {
  account: BackedUpAccount
  isThere: boolean
  /** Undefined: the next that is free. */
  uid: number | undefined
  gid: number | undefined
  /** A home that is there belongs to a number that is another account's by now; it gets the new one. */
  takesHomeOf: number | undefined
}

const firstUid = 1000
const commentPrefix = 'JupyterHub user '

export function planAccounts(accounts: readonly BackedUpAccount[]): AccountPlan[] {
  const passwd = table('/etc/passwd')
  const group = table('/etc/group')
  const isTaken = (numbers: string[][], number: number) => numbers.some(([, , id]) => id === String(number))
  // Two of the backup's own may want the same, where a home has another owner than the account had.
  const promised = new Set<number>()
  return accounts.map(account => {
    const isThere = passwd.some(([name]) => name === account.name)
    const owner = lstatSync(homeOf(account.name), { throwIfNoEntry: false })?.uid
    const wanted = [owner, account.uid].filter(uid => uid !== undefined && uid >= firstUid)
    const uid = wanted.find(uid => uid !== undefined && !isTaken(passwd, uid) && !promised.has(uid))
    if (uid !== undefined) promised.add(uid)
    const gid = isTaken(group, account.gid) ? undefined : account.gid
    const takesHomeOf = owner === account.uid && uid !== owner ? owner : undefined
    return { account, isThere, uid, gid, takesHomeOf: isThere ? undefined : takesHomeOf }
  })
}

/** Makes what is missing. Throws `RESTORE_ACCOUNT`. */
export async function makeAccount(
  { account, uid, gid, takesHomeOf }: AccountPlan,
  report: (line: string) => void,
): Promise<void> {
  const { name, user, groups } = account
  const home = homeOf(name)
  if (!isIn('/etc/group', name)) {
    await must(name, 'groupadd', [...(gid === undefined ? [] : [`--gid=${gid}`]), name])
  }
  if (!isIn('/etc/passwd', name)) {
    await must(name, 'useradd', [
      ...['--no-create-home', `--home-dir=${home}`, `--gid=${name}`, '--shell=/bin/bash', '--no-log-init', '--badname'],
      ...[`--comment=${commentPrefix}${user}`, ...(uid === undefined ? [] : [`--uid=${uid}`]), name],
    ])
  }
  if (!isIn('/etc/shadow', name)) await must(name, 'usermod', ['--password', '*', name])
  for (const group of groups) {
    if (!isIn('/etc/group', group)) report(`${name} was in the group ${group}, which this machine does not have`)
    else await must(name, 'gpasswd', ['--add', name, group])
  }
  if (takesHomeOf !== undefined) {
    const how = ['--recursive', '--no-dereference', '-P', `--from=${takesHomeOf}`, `${name}:${name}`, home]
    await must(name, 'chown', how)
  }
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
  const { code, stderr } = await runCommand(file, args, { timeoutMs: 3600_000 })
  if (code === 0) return
  throw new ProblemError('RESTORE_ACCOUNT', {
    what: `The account ${account} could not be made`,
    why: stderr || `${file} ended with code ${code}`,
    fix: 'Mend that, and give the same command again: it goes on where it was',
  })
}
