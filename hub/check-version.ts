/**
 * `tljh-ts check-version`: what a version that is not in force yet can tell of itself, with its own code, on this machine. For
 * `tljh-ts upgrade`, which asks it before anything is changed.
 *
 * It loads all that hub and spawner are made of, reads the configuration in force, and brings a copy of the hub's database to
 * its own schema. It prints one line of JSON (a `VersionCheck`), or fails with a sentence.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { type CommandContext, readCommandLine } from '../cli/arguments.ts'
import { configIn, readConfig } from '../config/meaning/config.ts'
import { codeFolder } from '../machine/layout.ts'
import { ownVersion } from '../machine/version.ts'
import { loadAssets } from './pages/assets.ts'
import { openState, schemaVersion } from './state/database.ts'

export interface VersionCheck {
  version: string
  /** How many migrations the database had seen, and has now; equal where there is none to look at. */
  migratesFrom: number
  migratesTo: number
  warnings: string[]
}

const usage = `Usage: tljh-ts check-version [--config FILE] [--state FILE]

Says whether this version could run here, and what it would do. For tljh-ts upgrade. FILE of --state is changed: give it a copy.
`

/** What two services load. The hub's code leans on none of it, and names it by its path alone. */
const services = ['hub/all-modules.ts', 'spawner/service/spawner.ts', 'spawner/accounts/from-command-line.ts']

export async function runCheckVersion(args: readonly string[], { layout, streams }: CommandContext): Promise<number> {
  const text = { type: 'string' } as const
  const given = readCommandLine(args, { usage, options: { config: text, state: text }, count: [0, 0] })
  if (!given) {
    streams.stdout.write(usage)
    return 0
  }
  const { config = layout.configFile, state } = given.values
  for (const module of services) await import(pathToFileURL(join(codeFolder, module)).href)
  loadAssets()
  const check: VersionCheck = { version: ownVersion(), warnings: warningsOf(config), ...migrated(state) }
  streams.stdout.write(`${JSON.stringify(check)}\n`)
  return 0
}

/** Throws what is wrong with the configuration, as this version sees it. */
function warningsOf(configFile: string): string[] {
  const reading = readConfig(readFileSync(configFile))
  configIn(reading)
  return reading.findings
    .filter(({ severity }) => severity === 'warning')
    .map(({ what, why, fix }) => `${what}: ${why}. ${fix}`)
}

function migrated(file: string | undefined): Pick<VersionCheck, 'migratesFrom' | 'migratesTo'> {
  if (file === undefined) return { migratesFrom: schemaVersion, migratesTo: schemaVersion }
  let migratesFrom: number
  {
    using db = new DatabaseSync(file)
    migratesFrom = Number(db.prepare('PRAGMA user_version').get()?.user_version)
  }
  openState(file).close()
  return { migratesFrom, migratesTo: schemaVersion }
}
