/**
 * A program of its own, which runs with the hub's rights: looks at the hub's database, and copies it where it is told to.
 *
 *   node look-at-state.ts FILE [COPY]
 *
 * The folder of the database is the hub's, so whoever has taken the hub over can put a link or a pipe there. Root never opens what is in
 * it. Prints one line of JSON, or fails with what SQLite says.
 */
import { backup, DatabaseSync } from 'node:sqlite'

const [file = '', copy] = process.argv.slice(2)
using db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 })
const schema = Number(db.prepare('PRAGMA user_version').get()?.user_version)
if (copy !== undefined) await backup(db, copy)
process.stdout.write(`${JSON.stringify({ schema })}\n`)
