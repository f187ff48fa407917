/** The kinds of machines that test hosts may be made on, by what their /proc/self/mountinfo says. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseHierarchies } from '../../harness/host/cgroups.ts'

test('a machine with version 2 alone gives its host one hierarchy, where systemd looks for it', () => {
  const hierarchies = parseHierarchies(`
24 22 0:21 / /proc rw,nosuid - proc proc rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`)
  assert.deepEqual(hierarchies, [{ type: 'cgroup2', folder: '/sys/fs/cgroup', options: 'rw', mountedAt: '.' }])
})

test('a machine with version 1 gives its host each hierarchy once, with its controllers', () => {
  const hierarchies = parseHierarchies(`
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/bin/x,name=systemd
35 31 0:32 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
60 31 0:30 /a /mnt/memory rw,relatime - cgroup cgroup rw,memory
`)
  assert.deepEqual(hierarchies, [
    { type: 'cgroup', folder: '/sys/fs/cgroup/cpu,cpuacct', options: 'cpu,cpuacct', mountedAt: 'cpu,cpuacct' },
    { type: 'cgroup', folder: '/sys/fs/cgroup/memory', options: 'memory', mountedAt: 'memory' },
    { type: 'cgroup', folder: '/sys/fs/cgroup/systemd', options: 'none,name=systemd', mountedAt: 'systemd' },
    { type: 'cgroup2', folder: '/sys/fs/cgroup/unified', options: 'rw', mountedAt: 'unified' },
  ])
})
