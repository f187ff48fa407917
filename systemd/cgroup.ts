/**
 * Where control groups are in the file system, in all three layouts: v2 (one tree at /sys/fs/cgroup), v1 (a tree for
 * each controller below it), and both beside each other ('hybrid').
 *
 * Pure functions: the texts of /proc/self/mountinfo come in, paths go out. A server is shown only its own part of each
 * tree, because the trees are readable by all and the names in them are names of users.
 */
import type { UnitName } from './names.ts'

interface CgroupMount {
  version: 1 | 2
  /** Where it is mounted: `/sys/fs/cgroup`, `/sys/fs/cgroup/memory`. */
  path: string
  /** The group that is seen there; `/` unless a container shows only a part. */
  root: string
  /** Of version 1: `memory`, `cpu`, `cpuacct`, `name=systemd`, … */
  controllers: string[]
}

/** The control group that a unit of this slice has: slices nest by the dashes in their names (systemd.slice(5)). */
export function controlGroupOf(slice: UnitName, unit: UnitName): string {
  if (slice === '-.slice') return `/${unit}`
  const parts = slice.slice(0, -'.slice'.length).split('-')
  return `/${[...parts.map((_, index) => `${parts.slice(0, index + 1).join('-')}.slice`), unit].join('/')}`
}

/** The trees of control groups that are mounted, from the text of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export function cgroupMounts(mountinfo: string): CgroupMount[] {
  const mounts: CgroupMount[] = []
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const [, , , root = '', path = ''] = before.split(' ')
    const [type, , options = ''] = after.split(' ')
    if (type !== 'cgroup' && type !== 'cgroup2') continue
    const controllers = type === 'cgroup' ? options.split(',').filter(isController) : []
    mounts.push({ version: type === 'cgroup' ? 1 : 2, path: unescapePath(path), root: unescapePath(root), controllers })
  }
  return mounts
}

/**
 * The folders that show a unit its own control group, one for each tree. On version 1 a tree has one only if the unit
 * uses its controller, so bind them with `ignoreMissing`.
 * @param controlGroup from `UnitInspection.controlGroup` or `controlGroupOf`
 */
export function ownCgroupPaths(mountinfo: string, controlGroup: string): string[] {
  const paths = cgroupMounts(mountinfo).flatMap(({ path, root }) => {
    if (root === '/') return [path + controlGroup]
    return controlGroup.startsWith(`${root}/`) ? [path + controlGroup.slice(root.length)] : []
  })
  return [...new Set(paths)]
}

/** Options of the file system that are not controllers. */
function isController(option: string): boolean {
  return !/^(rw|ro|xattr|clone_children|noprefix|release_agent=.*|none)$/.test(option)
}

/** A space, a tab, a line break and a backslash are written as `\040` and so on. */
function unescapePath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
}
