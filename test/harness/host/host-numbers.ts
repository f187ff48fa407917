/**
 * Who has which host number: a folder run/NUMBER with a record in it, for as long as the host lives.
 *
 * The record names the process that the host belongs to and everything outside the host's namespaces that has to be
 * removed after it (groups, rules, files), and it is written before any of these is made. So whoever finds a record
 * whose owner is gone can clean up after it, whatever moment the owner died at. Records are read and changed only with
 * the lock of the run folder held.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheFolders } from '../image/cache.ts'
import { takeLock } from '../image/cache-lock.ts'
import { machineHierarchies, removeGroups } from './cgroups.ts'
import { cableOf, closeWayOut, MAX_HOSTS, openWayOut, unplug } from './network.ts'
import { identifyProcess, isAlive, isErrorCode, killForeign, type ProcessIdentity } from './process.ts'
import { execute } from './run-program.ts'

interface HostRecord {
  number: number
  owner: ProcessIdentity
  /** The host's PID 1 as this machine sees it, as soon as it is there. */
  init: ProcessIdentity | null
  groups: string[]
  hasWayOut: boolean
}

export interface Lease {
  number: number
  name: string
  /** Where the host's files are. */
  folder: string
  /** The control groups that the host may have; they are not made yet. */
  groups: string[]
  /** Notes which process is PID 1 now. */
  noteInit(pid: number): Promise<void>
  /** Removes all that the record names. The host has to be dead. */
  release(): Promise<void>
}

/** Takes the lowest free number, after removing what dead owners have left. */
export async function takeLease({ hasWayOut }: { hasWayOut: boolean }): Promise<Lease> {
  const { run } = cacheFolders()
  await using _lock = await takeLock(join(run, 'lock'))
  await removeDead(run)
  const owner = identifyProcess(process.pid)
  if (!owner) throw new Error(`/proc has no process ${process.pid}, which is this one: is /proc of this pid namespace?`)

  const number = await freeNumber(run)
  const name = nameOf(number)
  const groups = (await machineHierarchies()).map(({ folder }) => join(folder, name))
  const folder = join(run, String(number))
  await mkdir(folder, { mode: 0o755 })
  const record: HostRecord = { number, owner, init: null, groups, hasWayOut }
  await writeRecord(folder, record)
  if (hasWayOut) await openWayOut(cableOf(number), run)
  return {
    number,
    name,
    folder,
    groups,
    async noteInit(pid) {
      record.init = identifyProcess(pid) ?? null
      await using _lock = await takeLock(join(run, 'lock'))
      await writeRecord(folder, record)
    },
    async release() {
      await using _lock = await takeLock(join(run, 'lock'))
      await remove(run, record)
    },
  }
}

/**
 * Ends hosts whose owners are gone, and removes what they have left on this machine.
 * @returns the names of the hosts
 */
export async function removeLeftovers(): Promise<string[]> {
  const { run } = cacheFolders()
  await using _lock = await takeLock(join(run, 'lock'))
  return await removeDead(run)
}

/** The names of the hosts that are recorded as this process's. */
export async function hostsOf(ownerPid: number): Promise<string[]> {
  const { run } = cacheFolders()
  await using _lock = await takeLock(join(run, 'lock'))
  const records = await Promise.all((await leasedNumbers(run)).map(number => readRecord(join(run, String(number)))))
  return records.flatMap(record => (record?.owner.pid === ownerPid ? [nameOf(record.number)] : []))
}

async function removeDead(run: string): Promise<string[]> {
  const removed: string[] = []
  for (const number of await leasedNumbers(run)) {
    const record = await readRecord(join(run, String(number)))
    if (record && isAlive(record.owner)) continue
    await remove(run, record ?? { number, init: null, groups: [], hasWayOut: true })
    removed.push(nameOf(number))
  }
  return removed
}

async function remove(run: string, record: Omit<HostRecord, 'owner'>): Promise<void> {
  const { number, init, groups, hasWayOut } = record
  if (init) await killForeign(init)
  await unplug(cableOf(number))
  if (hasWayOut) await closeWayOut(cableOf(number), run, !(await hasOtherWayOut(run, number)))
  await removeGroups(groups)
  // Not by Node.js, which goes by whole paths: a test may have left folders deeper than PATH_MAX.
  await execute(['rm', '--recursive', '--force', '--one-file-system', '--', join(run, String(number))])
}

async function hasOtherWayOut(run: string, number: number): Promise<boolean> {
  for (const other of await leasedNumbers(run))
    if (other !== number && (await readRecord(join(run, String(other))))?.hasWayOut) return true
  return false
}

function nameOf(number: number): string {
  return `tljh-host-${number}`
}

async function freeNumber(run: string): Promise<number> {
  for (let number = 0; number < MAX_HOSTS; number++) {
    // The interface is there without a folder when another cache (TLJH_TEST_CACHE) has a host with this number.
    const isTaken = existsSync(join(run, String(number))) || existsSync(join('/sys/class/net', cableOf(number).link))
    if (!isTaken) return number
  }
  throw new Error(`all ${MAX_HOSTS} numbers for test hosts are taken: see the records in ${run}`)
}

async function leasedNumbers(run: string): Promise<number[]> {
  return (await readdir(run)).filter(name => /^\d+$/.test(name)).map(Number)
}

async function writeRecord(folder: string, record: HostRecord): Promise<void> {
  const path = join(folder, 'record.json')
  await writeFile(`${path}.new`, JSON.stringify(record))
  await rename(`${path}.new`, path)
}

/** Nothing where the owner died before it could write one: then nothing else was made either. */
async function readRecord(folder: string): Promise<HostRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, 'record.json'), 'utf8')) as HostRecord
  } catch (error) {
    if (isErrorCode(error, 'ENOENT')) return undefined
    throw error
  }
}
