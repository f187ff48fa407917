/** `tljh-ts backup`: reads the command line, and says what was made. */
import { type CommandContext, misused, readCommandLine } from '../../cli/arguments.ts'
import { openConfigFile } from '../../config/change/in-force.ts'
import { ProblemError } from '../../problem.ts'
import { backupFolder, type MadeBackup, makeBackup } from './backup.ts'

const usage = `Usage: sudo tljh-ts backup [--output FILE|FOLDER] [--include-homes] [--keep N] [--json]

Puts configuration, passwords and accounts, and the list of the class environment's packages into one file, from which
tljh-ts restore makes the same hub, here or on another machine. The hub and all servers run on. The file holds password
hashes: keep it as you keep keys.

  --output FILE|FOLDER  where to; without it, to backup.folder of the configuration or /opt/tljh/backups
  --include-homes       with the users' homes: what has changed since the backup before it in that folder, or all of it
  --keep N              removes older ones in that folder, but for the newest N and those that they build on
  --nightly             as the configuration says under backup; tljh-backup.timer calls it so
  --json                prints what was made, for a program
`

const options = {
  output: { type: 'string' },
  'include-homes': { type: 'boolean', default: false },
  keep: { type: 'string' },
  nightly: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
} as const

/** Answers 1 where a home could not be kept; the backup is there all the same. */
export async function runBackup(args: readonly string[], { layout, streams }: CommandContext): Promise<number> {
  const given = readCommandLine(args, { usage, options, count: [0, 0] })
  if (!given) {
    streams.stdout.write(usage)
    return 0
  }
  if (process.getuid?.() !== 0) {
    throw new ProblemError('BACKUP_ROOT', {
      what: 'No backup was made',
      why: 'it was not started as root, and passwords are in it',
      fix: `Write: sudo tljh-ts backup ${args.join(' ')}`,
    })
  }
  const { output = backupFolder(layout), 'include-homes': hasHomes, keep, nightly, json } = given.values
  const report = (line: string) => void streams.stderr.write(`${line}\n`)
  const asked = { output, hasHomes, keep: keep === undefined ? undefined : countOf(keep), report }
  const { backup } = openConfigFile(layout.configFile, problem => report(`note: ${problem.message}`)).current()
  if (nightly && !backup.isEnabled) {
    streams.stdout.write('No backup: backup.enabled is false in the configuration.\n')
    return 0
  }
  const wanted = nightly
    ? { output: backupFolder(layout), hasHomes: backup.hasHomes, keep: backup.keep, report }
    : asked
  const made = await makeBackup(layout, wanted)
  const problems = (made.manifest.homes ?? []).filter(({ problem }) => problem !== undefined)
  streams.stdout.write(json ? `${JSON.stringify(forJson(made), null, 2)}\n` : textOf(made))
  return problems.length ? 1 : 0
}

function textOf({ file, bytes, manifest, removed }: MadeBackup): string {
  const homes = (manifest.homes ?? []).filter(({ member }) => member !== undefined)
  const whole = homes.filter(({ parents }) => parents.length === 0).length
  const parents = new Set(homes.flatMap(home => home.parents.map(parent => parent.file)))
  return [
    `${file} (${(bytes / 1024 ** 2).toFixed(1)} MB) has ${manifest.accounts.length} accounts${homesText(manifest, homes.length, whole)}.`,
    ...(parents.size ? [`It builds on these, which are needed with it: ${[...parents].join(', ')}`] : []),
    ...removed.map(name => `removed: ${name}`),
    `The same hub from it: sudo tljh-ts restore ${file}\n`,
  ].join('\n')
}

function homesText({ homes }: MadeBackup['manifest'], kept: number, whole: number): string {
  return homes === undefined ? ', and no homes' : ` and ${kept} homes, ${whole} of them whole`
}

function forJson({ file, bytes, manifest: { time, host, version, homes }, removed }: MadeBackup) {
  return { file, bytes, time: new Date(time).toISOString(), host, version, homes: homes ?? null, removed }
}

function countOf(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text)
  throw misused(`--keep is ${JSON.stringify(text)}, which is no number of backups`, 'Write it like: --keep 14')
}
