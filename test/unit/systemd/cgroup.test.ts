/** Control groups are found in each of the three layouts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cgroupMounts, controlGroupOf, ownCgroupPaths } from '../../../systemd/cgroup.ts'
import { unitName } from '../../../systemd/names.ts'

const OTHERS = `22 27 0:20 / /proc rw,nosuid shared:5 - proc proc rw
25 27 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=4M
`
const UNIFIED = `${OTHERS}30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
`
const LEGACY = `${OTHERS}29 23 0:24 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 29 0:27 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
34 29 0:30 / /sys/fs/cgroup/memory rw shared:15 - cgroup cgroup rw,memory
35 29 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:16 - cgroup cgroup rw,cpu,cpuacct
`
const HYBRID = `${LEGACY}30 29 0:26 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
`
const GROUP = '/tljh.slice/tljh-users.slice/tljh-user-ann.service'

test('the group of a unit follows from the dashes of its slice', () => {
  const unit = unitName('tljh-user-ann.service')
  assert.equal(controlGroupOf(unitName('tljh-users.slice'), unit), GROUP)
  assert.equal(controlGroupOf(unitName('system.slice'), unit), `/system.slice/${unit}`)
  assert.equal(controlGroupOf(unitName('-.slice'), unit), `/${unit}`)
})

test('a unit is shown one folder on v2, one in each tree on v1, and both on a hybrid', () => {
  assert.deepEqual(ownCgroupPaths(UNIFIED, GROUP), [`/sys/fs/cgroup${GROUP}`])
  const trees = ['systemd', 'memory', 'cpu,cpuacct'].map(tree => `/sys/fs/cgroup/${tree}${GROUP}`)
  assert.deepEqual(ownCgroupPaths(LEGACY, GROUP), trees)
  assert.deepEqual(ownCgroupPaths(HYBRID, GROUP), [...trees, `/sys/fs/cgroup/unified${GROUP}`])
  assert.deepEqual(ownCgroupPaths(OTHERS, GROUP), [])
})

test('the trees are told apart by version and controllers', () => {
  assert.deepEqual(
    cgroupMounts(HYBRID).map(mount => [mount.version, ...mount.controllers]),
    [[1, 'name=systemd'], [1, 'memory'], [1, 'cpu', 'cpuacct'], [2]],
  )
})

test('in a container that sees a part of the tree, paths begin at that part', () => {
  const part = UNIFIED.replace('0:26 / ', '0:26 /machine/a\\040b ')
  assert.deepEqual(ownCgroupPaths(part, `/machine/a b${GROUP}`), [`/sys/fs/cgroup${GROUP}`])
  assert.deepEqual(ownCgroupPaths(part, GROUP), [])
})

test('mounts with optional fields, or none, are read alike', () => {
  for (const fields of ['', ' shared:1', ' shared:1 master:2', ' master:2 propagate_from:3 unbindable'])
    assert.equal(cgroupMounts(`1 2 0:3 / /sys/fs/cgroup rw${fields} - cgroup2 none rw`)[0]?.path, '/sys/fs/cgroup')
})
