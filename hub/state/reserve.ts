/**
 * Room for the hub's database that nobody else can take. Students can fill the disk, and still everybody has to get in and delete files.
 *
 * A full disk refuses new blocks. It takes what is written to blocks that a file already has. So:
 *
 * 1. The write-ahead log is lengthened beforehand. SQLite begins it anew each time when 1000 pages of 4 KB are in it, and it is
 *    kept when the hub ends, so it never needs to grow.
 * 2. The database has free pages: a big row was written to the disk, and deleted.
 *
 * File systems that write each block to a new place (Btrfs, ZFS) refuse all the same. There, sessions stay in memory (hub/access/sessions.ts), and what cannot be kept
 * is refused in words.
 */
import { closeSync, fstatSync, openSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { roomAt } from '../../machine/disk.ts'
import { leaveFullDisk } from './database.ts'

const megabyte = 1024 ** 2
/** The log's 1000 pages, and one big change. */
const logBytes = 6 * megabyte
/** Some five thousand sessions. */
const freeBytes = megabyte
/** Less is kept than others may take in a moment. */
const enoughRoom = 64 * megabyte
const lookEveryMs = 60_000

/** Sets the room aside, now and whenever it was used up and the disk has room again. `log` is told when that changes. */
export function keepReserve(db: DatabaseSync, file: string, log: (line: string) => void): void {
  let isMissing = false
  const look = () => {
    try {
      if (roomAt(dirname(file)).free > enoughRoom) leaveFullDisk(db)
      lengthenLog(db, `${file}-wal`)
      freePages(db)
      if (isMissing) log(`the room for ${file} is set aside again`)
      isMissing = false
    } catch (error) {
      if (!isMissing) {
        log(
          `there is no room to set aside for ${file}: ${String(error)}. Make room before the disk is full: sudo tljh-ts status`,
        )
      }
      isMissing = true
    }
  }
  look()
  setInterval(look, lookEveryMs).unref()
}

/** Really written, because a sparse file has no blocks. Nobody else adds to the log meanwhile. */
function lengthenLog(db: DatabaseSync, log: string): void {
  const handle = openSync(log, 'r+')
  try {
    if (fstatSync(handle).size >= logBytes) return
    db.exec('BEGIN IMMEDIATE')
    const zeros = Buffer.alloc(megabyte / 4)
    let end = fstatSync(handle).size
    while (end < logBytes) end += writeSync(handle, zeros, 0, Math.min(zeros.length, logBytes - end), end)
  } finally {
    if (db.isTransaction) db.exec('ROLLBACK')
    closeSync(handle)
  }
}

function freePages(db: DatabaseSync): void {
  const numberOf = (name: string) => Number(db.prepare(`PRAGMA ${name}`).get()?.[name])
  if (numberOf('freelist_count') * numberOf('page_size') >= freeBytes / 2) return
  const [row, bytes] = ['room', freeBytes]
  db.prepare('INSERT OR REPLACE INTO secrets (name, value) VALUES (?, zeroblob(?))').run(row, bytes)
  // Pages that are deleted before they are in the file never get there.
  db.exec('PRAGMA wal_checkpoint(PASSIVE)')
  db.prepare('DELETE FROM secrets WHERE name = ?').run(row)
}
