/**
 * All that the hub's database has of a person, in whatever table: a table with a column `user` that is added one day is not forgotten here.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { UserName } from '../../config/users/names.ts'
import { atOnce } from './database.ts'

/** Who waits for approval is nobody yet. */
const waiting = 'sign_ups'

/** Whether any table has something of theirs. */
export function isInState(db: DatabaseSync, user: UserName): boolean {
  return tables(db)
    .filter(table => table !== waiting)
    .some(table => db.prepare(`SELECT 1 FROM ${table} WHERE user = ?`).get(user) !== undefined)
}

/** Whether somebody of that name waits for approval. */
export function isWaiting(db: DatabaseSync, user: UserName): boolean {
  return db.prepare(`SELECT 1 FROM ${waiting} WHERE user = ?`).get(user) !== undefined
}

/** Whom any table has something of. */
export function usersInState(db: DatabaseSync): Set<string> {
  const some = tables(db)
    .filter(table => table !== waiting)
    .map(table => `SELECT user FROM ${table}`)
  return new Set(
    db
      .prepare(some.join(' UNION '))
      .all()
      .map(({ user }) => String(user)),
  )
}

export function forgetPerson(db: DatabaseSync, user: UserName): void {
  atOnce(db, () => {
    for (const table of tables(db)) db.prepare(`DELETE FROM ${table} WHERE user = ?`).run(user)
  })
}

/** Sessions do not come with it: whoever is in as the old name logs in again. */
export function renamePerson(db: DatabaseSync, from: UserName, to: UserName): void {
  atOnce(db, () => {
    db.prepare('DELETE FROM sessions WHERE user = ?').run(from)
    for (const table of tables(db)) db.prepare(`UPDATE OR REPLACE ${table} SET user = ? WHERE user = ?`).run(to, from)
  })
}

function tables(db: DatabaseSync): string[] {
  const rows = db.prepare(
    `SELECT name FROM sqlite_master AS tables WHERE type = 'table'
     AND EXISTS (SELECT 1 FROM pragma_table_info(tables.name) WHERE name = 'user')`,
  )
  return rows.all().map(({ name }) => String(name))
}
