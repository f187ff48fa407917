/**
 * The control groups of a test host: one child group of its own in each hierarchy that this machine has, which the
 * host's systemd then takes for its root.
 *
 * Machines come in three kinds, and the host gets what its machine has: version 1 (a folder for each set of
 * controllers), version 2 only, or version 1 with an empty version 2 beside it. On version 2 a group that passes on
 * controllers may hold no processes itself ("no internal processes", cgroup-v2.rst), which decides two things here: in a
 * container the processes that are in the root have to move out of the way once, and programs that enter a running host
 * go to its init.scope, where PID 1 is, and not to its root.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isErrorCode } from './process.ts'

/** A hierarchy that is mounted on this machine. */
export interface Hierarchy {
  type: 'cgroup' | 'cgroup2'
  /** Where this machine has it. */
  folder: string
  /** What mounts it in the host. */
  options: string
  /** The folder below /sys/fs/cgroup in the host. */
  mountedAt: string
}

/** A version 2 without a version 1 beside it is not below /sys/fs/cgroup but at it. */
const ALONE = '.'

/** Mount options that are the same for all or follow from the first mount. */
const GENERAL_OPTIONS = /^(rw|ro|xattr|noprefix|clone_children|release_agent=.*|nsdelegate|memory_\w+)$/

/** A group in which a killed process still is, or one that nobody but the kernel has open, is busy for milliseconds. */
const REMOVAL_PATIENCE_MS = 60_000

/** Reads the hierarchies of this machine from /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export function parseHierarchies(mountinfo: string): Hierarchy[] {
  const mounted: Hierarchy[] = []
  for (const line of mountinfo.split('\n')) {
    const [mount = '', fileSystem = ''] = line.split(' - ')
    const folder = mount.split(' ')[4] ?? ''
    const [type, , options = ''] = fileSystem.split(' ')
    if (type !== 'cgroup' && type !== 'cgroup2') continue
    if (mounted.some(other => other.type === type && other.options === ownOptions(type, options))) continue
    mounted.push({ type, folder, options: ownOptions(type, options), mountedAt: basename(folder) })
  }
  const [first] = mounted
  if (first && mounted.length === 1 && first.type === 'cgroup2') first.mountedAt = ALONE
  return mounted
}

function ownOptions(type: Hierarchy['type'], options: string): string {
  if (type === 'cgroup2') return 'rw'
  const own = options.split(',').filter(option => !GENERAL_OPTIONS.test(option))
  return own.some(option => option.startsWith('name=')) ? ['none', ...own].join(',') : own.join(',')
}

export async function machineHierarchies(): Promise<Hierarchy[]> {
  return parseHierarchies(await readFile('/proc/self/mountinfo', 'utf8'))
}

/** Makes the groups called `name`. Gives their folders, in the order of the hierarchies. */
export async function makeGroups(hierarchies: readonly Hierarchy[], name: string): Promise<string[]> {
  const groups: string[] = []
  for (const hierarchy of hierarchies) {
    const group = join(hierarchy.folder, name)
    if (hierarchy.mountedAt === ALONE) await passOnControllers(hierarchy.folder)
    await mkdir(group, { recursive: true })
    // A cpuset group of version 1 starts with no processor and no memory, and takes no process before it has some.
    if (hierarchy.options.split(',').includes('cpuset'))
      for (const file of ['cpuset.cpus', 'cpuset.mems'])
        await writeFile(join(group, file), await readFile(join(hierarchy.folder, file)))
    groups.push(group)
  }
  return groups
}

/** Lets the children of a version 2 root have all its controllers. That stays: it harms nobody, and others may use it. */
async function passOnControllers(root: string): Promise<void> {
  const words = async (file: string) => (await readFile(join(root, file), 'utf8')).split(/\s+/).filter(Boolean)
  const passedOn = await words('cgroup.subtree_control')
  const missing = (await words('cgroup.controllers')).filter(controller => !passedOn.includes(controller))
  if (missing.length === 0) return
  // Only the true root has no cgroup.events, and only it may hold processes beside its children.
  if (existsSync(join(root, 'cgroup.events'))) {
    const leaf = join(root, 'tljh-machine')
    await mkdir(leaf, { recursive: true })
    for (const pid of await words('cgroup.procs'))
      await writeFile(join(leaf, 'cgroup.procs'), pid).catch(error => {
        if (!isErrorCode(error, 'ESRCH')) throw error
      })
  }
  await writeFile(join(root, 'cgroup.subtree_control'), missing.map(controller => `+${controller}`).join(' '))
}

/** Where a program that enters the running host belongs: beside its PID 1. */
export function groupsToEnter(groups: readonly string[]): string[] {
  return groups.map(group => (existsSync(join(group, 'init.scope')) ? join(group, 'init.scope') : group))
}

/** Removes the groups and all below them, which no process may be in any more. Those that are gone are no error. */
export async function removeGroups(groups: readonly string[]): Promise<void> {
  for (const group of groups) await removeTree(group)
}

async function removeTree(group: string): Promise<void> {
  const entries = await readdir(group, { withFileTypes: true }).catch(error => {
    if (isErrorCode(error, 'ENOENT')) return []
    throw error
  })
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(group, entry.name))
  const deadline = performance.now() + REMOVAL_PATIENCE_MS
  // Version 1 tells nobody when a group has become empty.
  for (;;) {
    try {
      await rmdir(group)
      return
    } catch (error) {
      if (isErrorCode(error, 'ENOENT')) return
      if (!isErrorCode(error, 'EBUSY') || performance.now() > deadline) throw error
      await delay(10)
    }
  }
}
