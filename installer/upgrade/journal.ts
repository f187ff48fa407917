/**
 * What an upgrade has done so far, and what there is to go back to: PREFIX/hub/upgrade.json, written before each step, whole or not at
 * all. So whenever an upgrade is killed, the next command knows whether to finish it or to undo it.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Layout } from '../../machine/layout.ts'
import { replaceFile } from '../../machine/replace-file.ts'
import { ProblemError } from '../../problem.ts'

export interface Passage {
  kind: 'upgrade' | 'rollback'
  from: string
  to: string
  /** `switching`: `to` is being put in force, or is; `returning`: `from` is being put in force again. */
  phase: 'switching' | 'returning'
  /** The hub's database as it was right before, under that path; null where there was none. */
  copy: string | null
  /** When it was made, in milliseconds since 1970. */
  at: number
}

/** The version that was in force before this one, and the hub's database as it was then. */
export interface Before {
  version: string
  copy: string | null
  at: number
}

export interface UpgradeJournal {
  /** Null: nothing was broken off. */
  passage: Passage | null
  before: Before | null
}

export function journalFile({ versions }: Layout): string {
  return join(versions, '../upgrade.json')
}

/** Throws `UPGRADE_JOURNAL` where it cannot be read. */
export function readJournal(layout: Layout): UpgradeJournal {
  const file = journalFile(layout)
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as UpgradeJournal
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return { passage: null, before: null }
    throw new ProblemError('UPGRADE_JOURNAL', {
      what: `${file} could not be read`,
      why: cause instanceof Error ? cause.message : String(cause),
      fix: `It says what an upgrade has done so far. If none was broken off, remove it: sudo rm ${file}`,
      cause,
    })
  }
}

export function writeJournal(layout: Layout, journal: UpgradeJournal): void {
  replaceFile(journalFile(layout), `${JSON.stringify(journal, null, 2)}\n`)
}
