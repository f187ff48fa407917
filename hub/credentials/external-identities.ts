/**
 * Who is who at other sites: an account there (its issuer and its subject, which no other account ever gets) belongs to one user here,
 * from its first login on.
 *
 * A name at a provider can be given up and taken by somebody else. That one has another subject, and so is not let in as the user;
 * and whoever only changed the name stays the same user.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { UserName } from '../../config/users/names.ts'

interface Account {
  provider: string
  subject: string
}

export interface ExternalIdentities {
  /** Whose that account is. */
  userOf(account: Account): UserName | undefined
  /** The account by which a user comes. */
  accountOf(user: UserName): Account | undefined
  /** Answers whether the account is the user's now: false where the user has another, or the account another user. */
  bind(user: UserName, account: Account): boolean
  /** Lets the next account that comes with the user's name be the user's. Answers whether there was one. */
  unlink(user: UserName): boolean
}

export function createExternalIdentities(db: DatabaseSync): ExternalIdentities {
  const ofAccount = db.prepare('SELECT user FROM identities WHERE provider = ? AND subject = ?')
  const ofUser = db.prepare('SELECT provider, subject FROM identities WHERE user = ?')
  const insert = db.prepare('INSERT OR IGNORE INTO identities (provider, subject, user) VALUES (?, ?, ?)')
  const remove = db.prepare('DELETE FROM identities WHERE user = ?')
  const userOf = ({ provider, subject }: Account) => {
    const row = ofAccount.get(provider, subject)
    return row && (String(row.user) as UserName)
  }

  return {
    userOf,
    accountOf(user) {
      const row = ofUser.get(user)
      return row && { provider: String(row.provider), subject: String(row.subject) }
    },
    bind(user, account) {
      insert.run(account.provider, account.subject, user)
      return userOf(account) === user
    },
    unlink: user => Number(remove.run(user).changes) > 0,
  }
}
