/**
 * `tljh-ts upgrade` and `tljh-ts rollback`: which version is to be put in force, whether that can be done, and what a person should
 * know before. The new one lies beside the old one, and has looked at this machine with its own code, before anything is
 * changed (hub/check-version.ts); the rest is switch.ts.
 *
 * An upgrade begins at the minor version before, and never goes backwards; going back leads to the version before, and nowhere else.
 */
import { existsSync } from 'node:fs'
import { mkdir, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Layout } from '../../machine/layout.ts'
import { countIn, runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { copyState, schemaInForce, stateFile } from '../installation/state-copy.ts'
import { programIn } from '../installation/units.ts'
import { versionInForce } from '../steps/places.ts'
import { releaseIn, signersIn } from './identity.ts'
import { readJournal } from './journal.ts'
import { downloadsFolder, openSite, type Site } from './releases.ts'
import { type SwitchOptions, switchVersion } from './switch.ts'
import { compareVersions, mustBeNear, resolveVersion } from './versions.ts'

export interface UpgradePlan {
  from: string
  to: string
  arch: string
  site: Site
}

export interface RollbackPlan {
  from: string
  to: string
  /** The database that has to take the place of the hub's, because the older version cannot read that one. */
  restore: string | undefined
  /** What is lost by that: sentences. */
  losses: string[]
}

/** As hub/check-version.ts prints it. */
interface VersionCheck {
  version: string
  migratesTo: number
  warnings: string[]
}

const checkTimeoutMs = 120_000
/** A cold, slow disk. */
const duTimeoutMs = 300_000
/** Beside what was counted, in bytes: logs, the journal, whatever else goes on. */
const spare = 64 * 1024 ** 2

/** Asks the site. Undefined: there is nothing newer. Throws `RELEASE_…`, `UPGRADE_…`. */
export async function planUpgrade(
  layout: Layout,
  wanted: string | undefined,
  environment: NodeJS.ProcessEnv,
): Promise<UpgradePlan | undefined> {
  const from = ownVersion(layout)
  const folder = join(layout.versions, from)
  const release = await releaseIn(folder)
  if (!release) {
    throw new ProblemError('UPGRADE_NO_SITE', {
      what: 'There is nothing to upgrade from',
      why: `${folder} is a checkout, not a release: it does not know where newer versions are`,
      fix: 'Update the checkout, then: sudo tljh-ts install',
    })
  }
  const site = openSite(release.site, signersIn(folder), environment)
  const versions = await site.versions()
  const to = resolveVersion(wanted, versions)
  const step = compareVersions(to, from)
  // Also where what is in force is a trial of what comes next: nobody is led backwards who asked for no version.
  if (step === 0 || (step < 0 && (wanted === undefined || wanted === 'latest'))) return undefined
  if (step < 0) {
    throw new ProblemError('UPGRADE_BACKWARDS', {
      what: `${to} was not put in force`,
      why: `it is older than ${from}, which is, and may not know what that wrote`,
      fix: 'To the version before leads: sudo tljh-ts rollback',
    })
  }
  mustBeNear(from, to, versions)
  return { from, to, arch: release.arch, site }
}

/** Fetches the version and lets it look at this machine. Nothing that is in force is changed. Answers its warnings. */
export async function prepareUpgrade({ from, to, arch, site }: UpgradePlan, options: SwitchOptions): Promise<string[]> {
  const { layout, report } = options
  await mustHaveRoom({ from, to, arch, site }, layout)
  report(`download: ${to}`)
  const folder = await site.fetch(to, arch, layout.versions)
  report(`check: ${to} looks at this machine`)
  try {
    return (await checkVersion(layout, to)).warnings
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

/** What going back means. Throws `ROLLBACK_…`. */
export async function planRollback(layout: Layout): Promise<RollbackPlan> {
  const from = ownVersion(layout)
  const { before } = readJournal(layout)
  if (!before || !existsSync(join(layout.versions, before.version))) {
    throw new ProblemError('ROLLBACK_NOTHING', {
      what: `${from} stays in force`,
      why: 'no version from before is on this machine',
      fix: 'There is one after an upgrade, and none after a rollback',
    })
  }
  const { version: to, copy, at } = before
  const live = await schemaInForce(layout)
  const isBroken = live === undefined && existsSync(stateFile(layout))
  const { migratesTo } = await checkVersion(layout, to, { hasState: false })
  if (!isBroken && (live ?? 0) <= migratesTo) return { from, to, restore: undefined, losses: [] }
  if (copy === null || !existsSync(copy)) {
    throw new ProblemError('ROLLBACK_STATE', {
      what: `${from} stays in force`,
      why: isBroken
        ? `the hub’s database cannot be read, and the copy from before the upgrade is not there`
        : `${to} cannot read what it has written, and the copy from before the upgrade is not there`,
      fix: 'Restore a backup that was made with it: sudo tljh-ts restore FILE',
    })
  }
  return { from, to, restore: copy, losses: lossesSince(at) }
}

export async function rollBack({ from, to, restore }: RollbackPlan, options: SwitchOptions): Promise<string[]> {
  return switchVersion({ kind: 'rollback', from, to, restore }, options)
}

export async function upgrade({ from, to }: UpgradePlan, options: SwitchOptions): Promise<string[]> {
  return switchVersion({ kind: 'upgrade', from, to }, options)
}

/** Throws `UPGRADE_NOTHING` where none was installed. */
export function ownVersion(layout: Layout): string {
  const version = versionInForce(layout)
  if (version !== undefined) return version
  throw new ProblemError('UPGRADE_NOTHING', {
    what: 'There is nothing to upgrade',
    why: `${layout.hub} does not lead to a version`,
    fix: 'Install it: see README.md',
  })
}

/** Asks a version that lies on the disk, with its own code, on a copy of the database. */
async function checkVersion(layout: Layout, version: string, { hasState } = { hasState: true }): Promise<VersionCheck> {
  const copy = join(layout.versions, `../state-before-${version}.sqlite.check`)
  try {
    const isCopied = hasState && (await copyState(layout, copy))
    const [node, ...program] = programIn(join(layout.versions, version))
    const state = isCopied ? ['--state', copy] : []
    const args = [...program, 'check-version', '--config', layout.configFile, ...state]
    const { code, stdout, stderr } = await runProgram(node, args, { timeoutMs: checkTimeoutMs }).catch(error => ({
      ...{ code: 1, stdout: '' },
      stderr: String(error),
    }))
    const check = code === 0 ? (JSON.parse(stdout) as VersionCheck) : undefined
    if (check?.version === version) return check
    throw new ProblemError('UPGRADE_CHECK', {
      what: `${version} cannot run on this machine as it is, and was not put in force`,
      why: check ? `it says that it is ${check.version}` : stderr.slice(0, 2_000),
      fix: 'Mend what it says and try again. Nothing has changed for anybody',
    })
  } finally {
    for (const ending of ['', '-wal', '-shm']) await rm(`${copy}${ending}`, { force: true })
  }
}

/** What is fetched, what becomes of it (about as much as the version in force), and copies of the database. */
async function mustHaveRoom({ from, to, arch, site }: UpgradePlan, layout: Layout): Promise<void> {
  if (existsSync(join(layout.versions, to))) return
  await mkdir(downloadsFolder, { recursive: true, mode: 0o755 })
  const download = await site.size(to, arch)
  const inForce = join(layout.versions, from)
  const { stdout, stderr } = await runProgram('du', ['--summarize', '--block-size=1', inForce], {
    timeoutMs: duTimeoutMs,
  })
  const bytes = countIn(stdout)
  if (bytes === undefined) throw uncounted(inForce, stderr)
  const state = (await stat(stateFile(layout)).catch(() => undefined))?.size ?? 0
  const unpacked = bytes + 3 * state + spare
  const isSame = (await stat(downloadsFolder)).dev === (await stat(layout.prefix)).dev
  await mustBeFree(layout.prefix, unpacked + (isSame ? download : 0))
  if (!isSame) await mustBeFree(dirname(downloadsFolder), download)
}

async function mustBeFree(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize >= bytes) return
  const inMB = (count: number) => `${Math.ceil(count / 1024 ** 2)} MB`
  throw new ProblemError('UPGRADE_DISK', {
    what: 'The upgrade has not begun',
    why: `${folder} has ${inMB(bavail * bsize)} left, and it takes ${inMB(bytes)}`,
    fix: `Make room: sudo du -xh --max-depth=2 ${folder} | sort -h shows what is large`,
  })
}

function uncounted(folder: string, said: string): ProblemError {
  return new ProblemError('UPGRADE_DISK', {
    what: 'The upgrade has not begun',
    why: `it could not be counted how much room ${folder} takes: ${said.split('\n')[0] || 'du printed no number'}`,
    fix: `See what it says: sudo du -s ${folder}`,
  })
}

function lossesSince(at: number): string[] {
  const when = new Date(at).toISOString().slice(0, 16).replace('T', ' ')
  return [
    `What the hub has noted since ${when} UTC is lost: whoever logged in since then logs in again`,
    'Passwords that were chosen or changed since then are again what they were',
  ]
}
