/**
 * Who a user is to the hub (`UserName`), and who that is to the machine (`UnixName`).
 *
 * Everything of the operating system (account, home, unit, socket folder) is named after the one `UnixName`, so
 * the mapping must be injective: two users never share an account. TLJH's rule is kept so that its homes are found
 * again: `jupyter-NAME`, and where that has 26 characters or more, its first 26 and five digits of its SHA-256. A
 * name that was cut has exactly 32 characters and one that was not has fewer than 26, so the two kinds never meet. Two
 * cut names with the same five digits (one in a million, and found in a second by whoever looks for them) are told apart
 * by the account's comment: without one, a cut account is opened to nobody (spawner/accounts/ensure.ts).
 *
 * A `UserName` is safe in a path, a URL and a unit: it cannot be `..`, hold a slash, a space, a quote, a percent sign
 * or a capital letter. It is checked at the web's edge and again by the spawner, with this same function.
 */
import { createHash } from 'node:crypto'
import { ProblemError } from '../../problem.ts'

/** A user of the hub, in the one spelling that is stored, compared and shown. */
export type UserName = string & { readonly __brand: 'UserName' }

/** A user's account on the machine: at most 32 characters, as useradd(8) wants. */
export type UnixName = string & { readonly __brand: 'UnixName' }

/** For JSON Schemas. Lower-case letters, digits and `. _ @ -`, no two dots in a row, at most 64 characters. */
export const userNamePattern = '^(?!.*\\.\\.)[a-z0-9][a-z0-9._@-]{0,62}[a-z0-9]$|^[a-z0-9]$'

const userName = new RegExp(userNamePattern)

/** Whether `text` is a user name as it is stored. */
export function isUserName(text: string): text is UserName {
  return userName.test(text)
}

/**
 * Reads a user name that a person typed: surrounding space and capitals do not matter, as in JupyterHub.
 * Throws `USER_NAME` for everything else that is not a name.
 */
export function parseUserName(text: string): UserName {
  const name = text.trim().toLowerCase()
  if (isUserName(name)) return name
  throw new ProblemError('USER_NAME', {
    what: `${JSON.stringify(shortened(text))} cannot be a user name`,
    why: 'a name has 1 to 64 of the letters a to z, digits and . _ @ -, and starts and ends with a letter or a digit',
    fix: 'Check the spelling of the name',
  })
}

const temporaryName = /^tmp-[a-z0-9]{8}$/

/** Whether it is a name as temporary visitors have: made by the hub for one visit, and nobody else's. */
export function isTemporaryName(user: UserName): boolean {
  return temporaryName.test(user)
}

/** Everybody with an account of the hub's is in it. The names are TLJH's. */
export const usersGroup = 'jupyterhub-users'
/** And whom the configuration makes an administrator, in this one. */
export const adminsGroup = 'jupyterhub-admins'
/** Before the user's name in the comment of an account that the hub made: tells whose it is where a long name was cut. */
export const accountComment = 'JupyterHub user '

export const accountPrefix = 'jupyter-'
const longestKept = 25
const cutLength = 26
const digestLength = 5

/** The account of a user, by TLJH's rule. */
export function unixName(user: UserName): UnixName {
  const whole = `${accountPrefix}${user}`
  if (whole.length <= longestKept) return whole as UnixName
  const digest = createHash('sha256').update(whole).digest('hex').slice(0, digestLength)
  return `${whole.slice(0, cutLength)}-${digest}` as UnixName
}

/** Whether other names lead to the same account. */
export function isCutName(user: UserName): boolean {
  return unixName(user) !== `${accountPrefix}${user}`
}

/** Whose account it is, from its comment (the fifth field of passwd(5)); undefined where the hub has not written it. */
export function userInComment(comment: string): string | undefined {
  // Whoever changes room or telephone number with chfn(1) gets them behind a comma.
  const [text = ''] = comment.split(',')
  return text.startsWith(accountComment) ? text.slice(accountComment.length) : undefined
}

/** What `account` is called where the accountPrefix goes without saying: in unit names and socket folders. */
export function shortUnixName(account: UnixName): string {
  return account.slice(accountPrefix.length)
}

/** Names from outside go into messages and logs: never longer than a line. */
function shortened(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`
}
