/**
 * Putting another version that lies on the disk in force, and going back by itself where that one does not work.
 *
 *   1. the hub's database is copied, while it is in use
 *   2. the other version, with its own code and Node.js, writes its units and points PREFIX/hub/current to itself
 *   3. spawner and hub are restarted, below the sockets that systemd holds: whoever comes meanwhile waits, nobody is refused
 *   4. it is looked whether all is well (health.ts); if not, the same with the version that was there
 *
 * The journal (journal.ts) is written before each of them. The hub brings the database to its schema when it starts. Going
 * back, the database that lived on is kept where its schema is the same; else the copy takes its place, and what was done
 * between 1 and the return is lost: logins and changed passwords of seconds, at worst of the minute that a version is given to
 * become healthy.
 */
import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fullAt } from '../../machine/disk.ts'
import { codeFolder, type Layout } from '../../machine/layout.ts'
import { lockFile } from '../../machine/lock-file.ts'
import { runProgram } from '../../machine/run-program.ts'
import { isDiskFull, ProblemError } from '../../problem.ts'
import { furtherSockets, joinSockets, placesOf } from '../../systemd/hub-sockets.ts'
import { openChanges } from '../installation/changes.ts'
import { ensureCompileCache } from '../installation/compile-cache.ts'
import { ailment, configInForce, lastWords, runningServers } from '../installation/health.ts'
import { copyState, forgetRestored, restoreState, schemaInForce, schemaOf } from '../installation/state-copy.ts'
import { ensureUnits, guardOwnPorts, programIn, runningUnits, services, unitFolder } from '../installation/units.ts'
import { ensureVersion, versionInForce } from '../steps/places.ts'
import { type Passage, readJournal, writeJournal } from './journal.ts'
import { forgetDownloads } from './releases.ts'

export interface SwitchOptions {
  layout: Layout
  /** Told a line for each step. */
  report(line: string): void
}

export interface SwitchPlan {
  kind: Passage['kind']
  from: string
  to: string
  /** A database that takes the place of the hub's. */
  restore?: string | undefined
}

/** A small machine whose disk is busy needs some; a hub that works is there in two seconds. */
const healthTimeoutMs = 60_000
/** For a version that was in force when its upgrade was broken off. */
const settleTimeoutMs = 15_000
const restartTimeoutMs = 45_000
const layOutTimeoutMs = 180_000

/**
 * Puts `to` in force. Answers the users whose servers have ended meanwhile.
 * Throws `UPGRADE_UNDONE`, and then `from` is in force; `UPGRADE_STUCK`, where that does not work either.
 */
export async function switchVersion(plan: SwitchPlan, options: SwitchOptions): Promise<string[]> {
  const { layout, report } = options
  const { kind, from, to } = plan
  const running = await runningServers(layout).catch(() => [])
  report('copy: the hub’s database as it is now')
  const file = join(layout.versions, `../state-before-${to}.sqlite`)
  const at = Date.now()
  const copy = (await copied(plan, file, options)) ? file : null
  const passage: Passage = { kind, from, to, phase: 'switching', copy, at }
  writeJournal(layout, { ...readJournal(layout), passage })
  const failure = await putInForce(to, plan.restore, options)
  if (failure) {
    const { why, isFull } = failure
    report(`back to ${from}, because ${why}`)
    await goBack(passage, options)
    const next = isFull ? 'Make room, and try again' : `Tell whoever made ${to} what is written above`
    throw new ProblemError('UPGRADE_UNDONE', {
      what: `${to} was not put in force, and ${from} is in force again`,
      why,
      fix: `Everybody is still logged in, and servers run on. ${next}`,
    })
  }
  await finish(passage, options)
  const still = new Set(await runningServers(layout).catch(() => running))
  return running.filter(user => !still.has(user))
}

/** Going back to a copy must be possible where the database that is in force is broken: that is when it is wanted. */
async function copied({ restore }: SwitchPlan, file: string, { layout, report }: SwitchOptions): Promise<boolean> {
  try {
    return await copyState(layout, file)
  } catch (error) {
    if (restore === undefined || !(error instanceof ProblemError)) throw error
    report(`note: ${error.what}: ${error.why}`)
    return false
  }
}

/**
 * Takes up what a killed upgrade or rollback left: it is finished where the new version works, and undone where not. For the
 * commands that change versions, before they begin. `undoes`: whoever calls wants the version before in any case.
 * Answers what was broken off; undefined where nothing was.
 */
export async function settleUpgrade(
  options: SwitchOptions,
  { undoes } = { undoes: false },
): Promise<Passage | undefined> {
  const { layout, report } = options
  if (!readJournal(layout).passage) return undefined
  // A part of what was killed may still be at work.
  await must('flock', [layOutLock(layout), 'true'], layOutTimeoutMs)
  const { passage } = readJournal(layout)
  if (!passage) return undefined
  const { from, to, phase } = passage
  const isThere = phase === 'switching' && versionInForce(layout) === to
  if (isThere && !undoes && (await ailment(layout, to, settleTimeoutMs)) === undefined) {
    await finish(passage, options)
    report(`${to} is in force: what was broken off is finished`)
  } else {
    report(`back to ${from}, because going to ${to} was broken off`)
    await goBack(passage, options)
  }
  return passage
}

/**
 * What the version that runs does to put itself in force: its units, and the symlink. Its services are not restarted by it. Called as
 * `tljh-ts upgrade --put-in-force` of that version.
 */
export async function layOutOwn(layout: Layout): Promise<void> {
  await ensureUnits(layout, openChanges(layout.changes))
  await ensureCompileCache(layout, line => process.stderr.write(`${line}\n`))
  ensureVersion(layout)
  await guardOwnPorts(layout)
  // Those that it has and the one before had not; the services are restarted by who calls.
  const others = runningUnits.filter(unit => !services.includes(unit))
  for (const unit of others) await must('systemctl', ['start', unit], restartTimeoutMs)
}

interface Failure {
  why: string
  /** It is the disk's fault, not the version's. */
  isFull: boolean
}

/** Answers why it does not work; undefined where it does. */
async function putInForce(
  version: string,
  restore: string | undefined,
  options: SwitchOptions,
): Promise<Failure | undefined> {
  const { layout, report } = options
  try {
    report(`switch: ${version}`)
    await layOut(layout, version)
    report('restart: spawner and hub, below their sockets')
    await restart('tljh-spawner.service')
    if (restore !== undefined) {
      await stopHub()
      await restoreState(layout, restore)
    }
    await restart('tljh-hub.service')
  } catch (error) {
    return { why: reasonOf(error), isFull: isDiskFull(error) }
  }
  report(`health: ${version}`)
  const why = await ailment(layout, version, healthTimeoutMs)
  return why === undefined ? undefined : { why, isFull: false }
}

function reasonOf(error: unknown): string {
  if (error instanceof ProblemError) return error.why
  return isDiskFull(error) ? fullAt(error) : String(error)
}

async function goBack(passage: Passage, options: SwitchOptions): Promise<void> {
  const { layout, report } = options
  const { from, to, copy } = passage
  try {
    writeJournal(layout, { ...readJournal(layout), passage: { ...passage, phase: 'returning' } })
  } catch (error) {
    // It says then that this passage was broken off, and the next command goes back once more.
    if (!isDiskFull(error)) throw error
    report(`note: ${fullAt(error)}`)
  }
  try {
    await layOut(layout, from)
    await forgetRestored(layout)
    // What is broken of one service must not keep the other from coming back; the health says what is left of it.
    await restart('tljh-spawner.service').catch(() => undefined)
    await stopHub()
    // One that cannot be read any more is another, too.
    if (copy !== null && (await schemaInForce(layout)) !== schemaOf(copy)) {
      report('the hub’s database is put back as it was before')
      await restoreState(layout, copy)
    }
    await restart('tljh-hub.service').catch(() => undefined)
  } catch (error) {
    throw stuck(passage, reasonOf(error))
  }
  const why = await ailment(layout, from, healthTimeoutMs)
  if (why !== undefined) throw stuck(passage, why)
  const { before } = readJournal(layout)
  writeJournal(layout, { passage: null, before })
  await prune(layout, [from, ...(before ? [before.version] : [])], before?.copy)
  report(`${from} is in force again, not ${to}`)
}

async function finish({ kind, from, to, copy, at }: Passage, { layout }: SwitchOptions): Promise<void> {
  const before = kind === 'upgrade' ? { version: from, copy, at } : null
  writeJournal(layout, { passage: null, before })
  await prune(layout, [to, ...(before ? [before.version] : [])], before?.copy)
}

/** Removes versions, downloads and copies that nobody goes back to. */
async function prune({ versions }: Layout, keep: readonly string[], copy: string | null | undefined): Promise<void> {
  // The code that runs is needed until it ends; the next one removes it.
  const kept = new Set([...keep, basename(codeFolder)])
  for (const name of await readdir(versions)) {
    if (!kept.has(name)) await rm(join(versions, name), { recursive: true, force: true })
  }
  const hub = join(versions, '..')
  for (const name of await readdir(hub)) {
    const path = join(hub, name)
    if (/^state-before-.*\.sqlite/.test(name) && path !== copy) await rm(path, { force: true })
  }
  await forgetDownloads()
}

async function layOut(layout: Layout, version: string): Promise<void> {
  // It holds the lock itself, so that it is known to be at work also where this process is killed.
  const command = [...programIn(join(layout.versions, version)), 'upgrade', '--put-in-force']
  await must('flock', ['--no-fork', layOutLock(layout), ...command], layOutTimeoutMs)
  // Earlier versions have one socket unit for all addresses, and have just removed the others.
  if (furtherSockets.some(unit => !existsSync(join(unitFolder, unit)))) {
    const { http, visitPort } = await configInForce(layout)
    await joinSockets(placesOf({ ...http, visitPort }))
  }
}

/**
 * Ends a hub that has yet the code from before the switch: on a busy machine one that was started anew may be on its way still, and it would
 * bring the database, or the copy that is put back, to its own schema. Whoever comes now has systemd start the one that is in force.
 */
async function stopHub(): Promise<void> {
  await runProgram('systemctl', ['stop', 'tljh-hub.service'], { timeoutMs: restartTimeoutMs }).catch(() => undefined)
}

/** Resolves when it says that it is ready; a failure tells its last lines. How often it had ended before says nothing of it. */
async function restart(service: string): Promise<void> {
  await runProgram('systemctl', ['reset-failed', service], { timeoutMs: restartTimeoutMs }).catch(() => undefined)
  const { code } = await runProgram('systemctl', ['restart', service], { timeoutMs: restartTimeoutMs }).catch(() => ({
    code: 1,
  }))
  if (code !== 0) throw failed(`${service} does not start\n${await lastWords(service)}`)
}

async function must(file: string, args: readonly string[], timeoutMs: number): Promise<void> {
  const { code, stdout, stderr } = await runProgram(file, args, { timeoutMs })
  if (code === 0) return
  throw failed(`${[file, ...args].join(' ')} ended with code ${code}: ${stderr || stdout.trim()}`)
}

function failed(why: string): ProblemError {
  const fix = 'See: sudo journalctl -u tljh-hub -u tljh-spawner -n 50'
  return new ProblemError('UPGRADE_COMMAND', { what: 'A step of the upgrade did not work', why, fix })
}

function layOutLock({ versions }: Layout): string {
  return lockFile(join(versions, '../put-in-force.lock'))
}

function stuck({ from, to }: Passage, why: string): ProblemError {
  return new ProblemError('UPGRADE_STUCK', {
    what: `${to} was not put in force, and going back to ${from} did not work either`,
    why,
    fix: 'Servers run on, but nobody can log in. Mend what it says, then: sudo tljh-ts rollback. The journal: sudo journalctl -u tljh-hub -u tljh-spawner -n 100',
  })
}
