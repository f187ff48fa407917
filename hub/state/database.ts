/**
 * The hub's memory: one SQLite file, written ahead, so that a hub that is killed loses nothing that it had answered for.
 *
 * Schema changes are appended to `migrations` and never edited; `user_version` counts how many a file has seen.
 */
import { existsSync, renameSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { ProblemError } from '../../problem.ts'

const migrations = [
  `CREATE TABLE passwords (
     user TEXT PRIMARY KEY,
     hash TEXT NOT NULL,
     changed INTEGER NOT NULL -- milliseconds since 1970
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE sessions (
     id BLOB PRIMARY KEY,     -- SHA-256 of the token that the browser holds
     user TEXT NOT NULL,
     expires INTEGER NOT NULL -- milliseconds since 1970
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX sessions_of_user ON sessions (user);
   CREATE TABLE secrets (
     name TEXT PRIMARY KEY,
     value BLOB NOT NULL
   ) STRICT, WITHOUT ROWID;`,
  `ALTER TABLE sessions ADD COLUMN way TEXT NOT NULL DEFAULT 'first-use'; -- an AuthenticatorKind
   ALTER TABLE sessions ADD COLUMN started INTEGER NOT NULL DEFAULT 0;     -- milliseconds since 1970
   CREATE TABLE one_time_codes (
     user TEXT PRIMARY KEY,
     hash BLOB NOT NULL,      -- SHA-256 of the code: it is long and random, so a slow hash would add nothing
     expires INTEGER NOT NULL -- milliseconds since 1970
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE sign_ups (
     user TEXT PRIMARY KEY,
     hash TEXT NOT NULL,      -- of the password, which counts from the approval on
     email TEXT NOT NULL,
     requested INTEGER NOT NULL -- milliseconds since 1970
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE second_factors (
     user TEXT PRIMARY KEY,
     secret BLOB NOT NULL,
     last_step INTEGER NOT NULL, -- of the clock, in steps of 30 s: a code counts once
     recovery TEXT NOT NULL      -- JSON: hex of the SHA-256 of each recovery code that is left
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE identities (
     provider TEXT NOT NULL,  -- the issuer's address
     subject TEXT NOT NULL,   -- who it is to the issuer, for ever
     user TEXT NOT NULL,
     PRIMARY KEY (provider, subject)
   ) STRICT, WITHOUT ROWID;
   CREATE UNIQUE INDEX identity_of_user ON identities (user);
   CREATE TABLE logins (
     user TEXT PRIMARY KEY,
     at INTEGER NOT NULL,     -- of the last one, in milliseconds since 1970
     way TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;`,
  // Those from before are taken for plain ones: whoever came by TLS logs in once more.
  `ALTER TABLE sessions ADD COLUMN is_secure INTEGER NOT NULL DEFAULT 0; -- 1: it began over TLS with the hub itself`,
]

/** The schema version of a database file opened by this release. */
export const schemaVersion = migrations.length

/**
 * Puts the file in force that going back to an older version left beside (installer/installation/state-copy.ts): at the start of the hub, because then
 * nobody else has the database open, and systemd may start the hub at any moment. What was written ahead belongs to the file that goes.
 */
export function adoptState(file: string): void {
  const beside = `${file}.restored`
  if (!existsSync(beside)) return
  for (const ending of ['-wal', '-shm']) rmSync(`${file}${ending}`, { force: true })
  renameSync(beside, file)
}

/** What SQLite says where it cannot make or lengthen a file: SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN (sqlite3.h). */
const fileErrors = [10, 13, 14]

/**
 * Opens the file, makes it where there is none, and brings it to this version. Writes nothing where nothing is to be changed. Throws
 * `STATE_UNUSABLE`.
 *
 * On a full disk SQLite cannot make the file that it shares with other processes (`-shm`). The database is opened without it then, and no
 * other process gets in until `leaveFullDisk`.
 */
export function openState(file: string): DatabaseSync {
  try {
    return open(file, 'NORMAL')
  } catch (cause) {
    const { errcode = 0 } = cause as { errcode?: number }
    try {
      if (fileErrors.includes(errcode & 0xff)) return open(file, 'EXCLUSIVE')
    } catch {
      // What was wrong at first says more.
    }
    throw unusable(file, cause)
  }
}

/** Lets other processes in again, once the disk has room. */
export function leaveFullDisk(db: DatabaseSync): void {
  const settingOf = (name: string) => db.prepare(`PRAGMA ${name}`).get()?.[name]
  if (settingOf('locking_mode') === 'normal' && settingOf('journal_mode') === 'wal') return
  // SQLite leaves this mode only where there is no write-ahead log (sqlite.org/wal.html, 8).
  db.exec('PRAGMA journal_mode = DELETE; PRAGMA locking_mode = NORMAL; PRAGMA journal_mode = WAL')
}

/**
 * For the end of the hub: brings what was written ahead into the file. The database is not closed, because the room that is set aside for it
 * would go with that (hub/state/reserve.ts).
 */
export function settleState(db: DatabaseSync): void {
  try {
    db.exec('PRAGMA wal_checkpoint(PASSIVE)')
  } catch {
    // Whatever was in the way: it stays in the log, and counts from there.
  }
}

/** Does all of `work` or nothing of it. */
export function atOnce<Result>(db: DatabaseSync, work: () => Result): Result {
  db.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    db.exec('COMMIT')
    return result
  } catch (error) {
    // SQLite has gone back by itself where the disk is full.
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

function open(file: string, lockingMode: 'NORMAL' | 'EXCLUSIVE'): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: 5_000 })
  try {
    db.exec(`PRAGMA locking_mode = ${lockingMode}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL`)
    // What is not to be kept needs no disk.
    db.exec('PRAGMA temp_store = MEMORY')
    if (versionOf(db) !== migrations.length) migrate(db)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

function migrate(db: DatabaseSync): void {
  atOnce(db, () => {
    const seen = versionOf(db)
    if (seen > migrations.length) throw new Error('it was written by a newer version of tljh-ts')
    for (const migration of migrations.slice(seen)) db.exec(migration)
    db.exec(`PRAGMA user_version = ${migrations.length}`)
  })
}

function versionOf(db: DatabaseSync): number {
  return Number(db.prepare('PRAGMA user_version').get()?.user_version)
}

function unusable(file: string, cause: unknown): ProblemError {
  const why = cause instanceof Error ? cause.message : String(cause)
  const isLocked = /locked/.test(why)
  return new ProblemError('STATE_UNUSABLE', {
    what: `${file}, where the hub keeps passwords and sessions, cannot be used`,
    why: isLocked ? `${why}: on a full disk the hub keeps it for itself` : why,
    fix: 'See whether the disk is full (sudo tljh-ts status), and whether the file belongs to tljh-hub (ls -l /opt/tljh/state). If the file is damaged, go back to a backup: sudo tljh-ts restore',
    cause,
  })
}
