/** Secrets of this installation, which live in the database. */
import { randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'

/** The secret of that name, made when it is first asked for. */
export function secret(db: DatabaseSync, name: string): Buffer {
  const find = db.prepare('SELECT value FROM secrets WHERE name = ?')
  if (!find.get(name)) {
    db.prepare('INSERT OR IGNORE INTO secrets (name, value) VALUES (?, ?)').run(name, randomBytes(32))
  }
  return Buffer.from(find.get(name)?.value as Uint8Array)
}
