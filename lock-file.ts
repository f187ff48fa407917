/** Files that are held by flock(1). */
import { chmodSync, closeSync, openSync } from 'node:fs'

/** Makes it where it is missing, for root alone: whoever may open a file can hold its lock, and keep everybody else waiting. Answers its path. */
export function lockFile(path: string): string {
  closeSync(openSync(path, 'a', 0o600))
  chmodSync(path, 0o600)
  return path
}
