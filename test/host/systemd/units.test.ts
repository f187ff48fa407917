/** Units are started with what we ask for, and what becomes of them is told. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { controlGroupOf, ownCgroupPaths } from '../../../systemd/cgroup.ts'
import type { UnitProperties } from '../../../systemd/properties.ts'
import { clearUnit } from '../../../systemd/start-anew.ts'
import { type UnitName, unitName } from '../../../systemd/units.ts'
import { bootHostBus, type HostBus, testUnit } from '../../harness/host/bare-host.ts'

let machine: HostBus
before(async () => {
  machine = await bootHostBus()
})
after(() => machine[Symbol.asyncDispose]())

const idle = { argv: ['/bin/sleep', 'infinity'] } as const

test('a unit takes every property that we set, and systemd reads them back the same', async () => {
  const { host, units } = machine
  await host.run(['useradd', '--create-home', 'ann'])
  await host.run(['install', '--directory', '--mode=1777', '/srv', '/srv/shared'])
  const name = testUnit('everything')

  const scratch = { What: 'tmpfs', Type: 'tmpfs', Options: 'size=1M,mode=0700', LazyUnmount: true }
  const aux = [{ name: unitName('srv-scratch.mount'), properties: scratch }]
  const job = await units.startTransientUnit(name, EVERYTHING, aux)
  assert.equal(await job.done, 'done', (await host.run(['journalctl', '--unit', name])).stdout)

  assert.equal(await host.readFile('/srv/prepared'), 'root\n')
  assert.equal(await host.readFile('/srv/begun'), 'ann\n')
  assert.match((await host.run(['findmnt', '/srv/scratch'])).stdout, /tmpfs .*mode=700/)
  await checkProperties(name, EXPECTED)

  await host.run(['systemctl', 'daemon-reload'])

  // systemd 252 forgets an empty set of namespaces; the processes that run keep their filter.
  await checkProperties(name, new Map([...EXPECTED, ['RestrictNamespaces', 'no']]))
  assert.equal(await (await units.stopUnit(name)).done, 'done')
  assert.equal(await readFile(join(host.rootPath, 'srv/cleaned'), 'utf8'), 'ann\n')
})

async function checkProperties(name: UnitName, expected: ReadonlyMap<string, string>): Promise<void> {
  const wanted = [...expected.keys()].map(key => `--property=${key}`)
  const { stdout } = await machine.host.run(['systemctl', 'show', ...wanted, name])
  const shown = new Map(stdout.split('\n').map(line => [line.split('=', 1)[0], line.slice(line.indexOf('=') + 1)]))
  for (const [key, value] of expected) assert.equal(shown.get(key), value, key)
}

/** Of a mount, and what says the same in another way (a host test of homes has it). */
type Others =
  | ('What' | 'Options' | 'LazyUnmount')
  | ('StandardInputFile' | 'StandardOutputFile' | 'StandardOutputFileToTruncate' | 'StandardErrorFile')

const EVERYTHING: Required<Omit<UnitProperties, Others>> = {
  Description: 'Everything — with “signs”, 100 %',
  Slice: 'tljh-users.slice',
  CollectMode: 'inactive-or-failed',
  DefaultDependencies: false,
  StopWhenUnneeded: false,
  Requires: ['srv-scratch.mount'],
  Wants: ['tljh-users.slice'],
  BindsTo: ['srv-scratch.mount'],
  PartOf: ['srv-scratch.mount'],
  After: ['srv-scratch.mount'],
  Before: ['shutdown.target'],
  Type: 'exec',
  NotifyAccess: 'all',
  ExecStartPre: [
    { argv: ['/bin/false'], ignoreFailure: true },
    { argv: ['/bin/sh', '-c', 'id -un >/srv/prepared'], privileged: true },
  ],
  ExecStart: [idle],
  ExecStartPost: [{ argv: ['/bin/sh', '-c', 'id -un >/srv/begun'] }],
  ExecStop: [{ argv: ['/bin/true'] }],
  ExecStopPost: [{ argv: ['/bin/sh', '-c', 'id -un >/srv/cleaned'] }],
  Restart: 'no',
  RemainAfterExit: false,
  TimeoutStartUSec: 90_000_000,
  TimeoutStopUSec: 50_000_000n,
  RuntimeMaxUSec: 'infinity',
  WatchdogUSec: 3_600_000_000,
  KillMode: 'mixed',
  KillSignal: 'SIGINT',
  SendSIGKILL: true,
  User: 'ann',
  Group: 'ann',
  SupplementaryGroups: ['users'],
  WorkingDirectory: '/home/ann',
  Environment: { A: '1', LANG: 'C.UTF-8', TEXT: 'a "b" $c %d\\e ü' },
  UMask: 0o077,
  StandardInput: 'null',
  StandardOutput: 'journal',
  StandardError: 'inherit',
  LogNamespace: 'tljh-test',
  SyslogIdentifier: 'everything',
  OOMScoreAdjust: 100,
  LimitCORE: 0,
  LimitFSIZE: 1024 ** 3,
  LimitNOFILE: 4096,
  MemoryMax: 256n * 1024n ** 2n,
  MemorySwapMax: 0,
  CPUQuotaPerSecUSec: 500_000,
  CPUWeight: 100,
  TasksMax: 64,
  OOMPolicy: 'continue',
  Delegate: true,
  PrivateTmp: true,
  PrivateIPC: true,
  PrivateDevices: true,
  PrivateNetwork: true,
  ProtectSystem: 'strict',
  ProtectHome: 'tmpfs',
  ProtectProc: 'invisible',
  BindPaths: [{ source: '/home/ann' }, { source: '/srv/absent', target: '/mnt', ignoreMissing: true }],
  BindReadOnlyPaths: [{ source: '/srv/shared', target: '/srv/shared' }],
  TemporaryFileSystem: [{ path: '/sys/fs/cgroup', options: 'ro' }, { path: '/opt' }],
  InaccessiblePaths: ['-/etc/shadow-'],
  ReadOnlyPaths: ['/etc'],
  ReadWritePaths: ['/srv'],
  NoNewPrivileges: true,
  ProtectKernelTunables: true,
  ProtectKernelModules: true,
  ProtectKernelLogs: true,
  ProtectControlGroups: true,
  ProtectClock: true,
  ProtectHostname: true,
  LockPersonality: true,
  RestrictRealtime: true,
  RestrictSUIDSGID: true,
  RestrictNamespaces: 0,
}

/** As `systemctl show` prints them. */
const EXPECTED = new Map(
  Object.entries({
    Description: 'Everything — with “signs”, 100 %',
    Slice: 'tljh-users.slice',
    CollectMode: 'inactive-or-failed',
    BindsTo: 'srv-scratch.mount',
    PartOf: 'srv-scratch.mount',
    Type: 'exec',
    NotifyAccess: 'all',
    TimeoutStartUSec: '1min 30s',
    TimeoutStopUSec: '50s',
    RuntimeMaxUSec: 'infinity',
    WatchdogUSec: '1h',
    KillMode: 'mixed',
    KillSignal: '2',
    SendSIGKILL: 'yes',
    Restart: 'no',
    RemainAfterExit: 'no',
    User: 'ann',
    Group: 'ann',
    SupplementaryGroups: 'users',
    WorkingDirectory: '/home/ann',
    Environment: 'A=1 LANG=C.UTF-8 "TEXT=a \\"b\\" \\$c %d\\\\e ü"',
    UMask: '0077',
    StandardInput: 'null',
    StandardOutput: 'journal',
    StandardError: 'inherit',
    SyslogIdentifier: 'everything',
    OOMScoreAdjust: '100',
    LimitCORE: '0',
    LimitFSIZE: String(1024 ** 3),
    LimitNOFILE: '4096',
    MemoryMax: String(256 * 1024 ** 2),
    MemorySwapMax: '0',
    CPUQuotaPerSecUSec: '500ms',
    CPUWeight: '100',
    TasksMax: '64',
    OOMPolicy: 'continue',
    Delegate: 'yes',
    PrivateTmp: 'yes',
    PrivateIPC: 'yes',
    PrivateDevices: 'yes',
    ProtectSystem: 'strict',
    ProtectHome: 'tmpfs',
    ProtectProc: 'invisible',
    BindPaths: '/home/ann:/home/ann:rbind -/srv/absent:/mnt:rbind',
    BindReadOnlyPaths: '/srv/shared:/srv/shared:rbind',
    TemporaryFileSystem: '/sys/fs/cgroup:ro /opt',
    InaccessiblePaths: '-/etc/shadow-',
    ReadOnlyPaths: '/etc',
    ReadWritePaths: '/srv',
    NoNewPrivileges: 'yes',
    ProtectKernelTunables: 'yes',
    ProtectKernelModules: 'yes',
    ProtectKernelLogs: 'yes',
    ProtectControlGroups: 'yes',
    ProtectClock: 'yes',
    ProtectHostname: 'yes',
    LockPersonality: 'yes',
    RestrictRealtime: 'yes',
    RestrictSUIDSGID: 'yes',
    RestrictNamespaces: 'yes',
  }),
)

test('a program gets its arguments as they were given', async () => {
  const { host, units } = machine
  const args = [
    '%n',
    '$HOME',
    '$'.concat('{HOME}'),
    '$',
    '$$',
    'a b',
    '"',
    "'",
    '\\',
    'line\nbreak',
    'ü',
    '',
    ';',
    '%%',
  ]
  const program = ['/bin/sh', '-c', `printf '<%s>' "$@" >/srv/arguments`, 'sh', ...args] as const
  const expected = args.map(arg => `<${arg}>`).join('')
  const lines: UnitProperties[] = [
    { Type: 'oneshot', ExecStart: [{ argv: program }] },
    { Type: 'oneshot', ExecStartPre: [{ argv: program }], ExecStart: [{ argv: ['/bin/true'] }] },
    { Type: 'oneshot', ExecStartPre: [{ argv: program, privileged: true }], ExecStart: [{ argv: ['/bin/true'] }] },
  ]
  for (const [index, properties] of lines.entries()) {
    assert.equal(await (await units.startTransientUnit(testUnit(`arguments-${index}`), properties)).done, 'done')
    assert.equal(await host.readFile('/srv/arguments'), expected)
    await host.run(['rm', '/srv/arguments'])
  }
})

test('a unit that runs is not hurt by a daemon-reload', async () => {
  const { host, units } = machine
  const name = testUnit('reloaded')
  const cleaning = { argv: ['/bin/sh', '-c', 'echo "done % and more" >/srv/reloaded'] } as const
  const prepared = [{ argv: ['/bin/true'], privileged: true }] as const
  await (await units.startTransientUnit(name, { ExecStartPre: prepared, ExecStart: [idle], ExecStopPost: [cleaning] }))
    .done
  const before = await units.inspectUnit(name)

  await host.run(['systemctl', 'daemon-reload'])

  const { memoryCurrent: _, ...after } = { ...(await units.inspectUnit(name)) }
  const { memoryCurrent: __, ...expected } = { ...before }
  assert.deepEqual(after, expected)
  assert.equal(await (await units.stopUnit(name)).done, 'done')
  assert.equal(await host.readFile('/srv/reloaded'), 'done % and more\n')
})

test('a start is accepted at once, and done when the service says that it is ready', async () => {
  const { units, host } = machine
  const name = testUnit('slow')
  const beforeMs = Date.now()
  const script = 'read line </srv/gate; systemd-notify --ready; exec sleep infinity'
  await host.run(['mkfifo', '/srv/gate'])
  const job = await units.startTransientUnit(name, {
    Type: 'notify',
    NotifyAccess: 'all',
    ExecStart: [{ argv: ['/bin/sh', '-c', script] }],
  })
  // systemd takes it on when it has nothing else to do: a question may be answered before.
  let during = await units.inspectUnit(name)
  while (during?.active === 'inactive') during = await units.inspectUnit(name)
  assert.equal(during?.active, 'activating')
  assert.equal(during?.jobId, job.id)

  await host.run(['sh', '-c', 'echo go >/srv/gate'])
  assert.equal(await job.done, 'done')

  const state = await units.inspectUnit(name)
  assert.equal(state?.active, 'active')
  assert.equal(state?.result, 'success')
  assert.equal(state?.controlGroup, `/system.slice/${name}`)
  assert.match(state?.invocationId ?? '', /^[0-9a-f]{32}$/)
  const { activeEnterTimestampMs = 0 } = state ?? {}
  assert.ok(beforeMs <= activeEnterTimestampMs && activeEnterTimestampMs <= Date.now())
  assert.ok((state?.memoryCurrent ?? 0) > 0)
  assert.ok((state?.mainPid ?? 0) > 1)
  assert.deepEqual(await units.listUnits(['test-slow.*']), [
    { name, description: name, load: 'loaded', active: 'active', sub: 'running' },
  ])
  await (await units.stopUnit(name)).done
  assert.equal(await units.inspectUnit(name), undefined)
})

test('a start that fails is told as failed, with the exit status, and may be tried again when it is forgotten', async () => {
  const { units } = machine
  const name = testUnit('failing')
  const start = () =>
    units.startTransientUnit(name, { Type: 'notify', ExecStart: [{ argv: ['/bin/sh', '-c', 'exit 7'] }] })
  assert.equal(await (await start()).done, 'failed')
  const state = await units.inspectUnit(name)
  assert.deepEqual(
    [state?.active, state?.result, state?.execMainCode, state?.execMainStatus],
    ['failed', 'exit-code', 'exited', 7],
  )
  await assert.rejects(start(), { code: 'SYSTEMD_UNIT_EXISTS' })
  await units.resetFailedUnit(name)
  assert.equal(await (await start()).done, 'failed')
  await units.resetFailedUnit(name)
  await units.resetFailedUnit(name)
})

test('a unit that ends at once is never waited for in vain', async () => {
  const { units } = machine
  const results = Array.from({ length: 60 }, async (_, index) => {
    const job = await units.startTransientUnit(testUnit(`quick-${index}`), { ExecStart: [{ argv: ['/bin/true'] }] })
    return job.done
  })
  assert.deepEqual(new Set(await Promise.all(results)), new Set(['done']))
})

test('a unit that is cleared right after its start was accepted does not run', async () => {
  const { units } = machine
  // systemd begins with what it has accepted when it has nothing else to do.
  const questions = () => Promise.all(Array.from({ length: 80 }, () => units.inspectUnit(unitName('dbus.service'))))
  for (let run = 0; run < 20; run++) {
    const name = testUnit(`cleared-${run}`)
    const start = units.startTransientUnit(name, { ExecStart: [idle] })
    const [job] = await Promise.all([start, clearUnit(units, name), questions()])
    await job.done
    assert.equal(await units.inspectUnit(name), undefined, `run ${run}`)
  }
})

test('a unit that puts off its end and takes no SIGTERM is killed with all its processes', async () => {
  const { host, units } = machine
  const name = testUnit('stays')
  // An hour more each half second, and another process beside, which would outlive it.
  const script =
    'trap "" TERM; setsid sleep 1234 & systemd-notify --ready; while :; do systemd-notify EXTEND_TIMEOUT_USEC=3600000000; sleep 0.5; done'
  const job = await units.startTransientUnit(name, {
    Type: 'notify',
    NotifyAccess: 'all',
    TimeoutStopUSec: 1_000_000,
    KillMode: 'mixed',
    ExecStart: [{ argv: ['/bin/sh', '-c', script] }],
  })
  assert.equal(await job.done, 'done')

  await clearUnit(units, name)

  assert.equal(await units.inspectUnit(name), undefined)
  assert.notEqual((await host.run(['pgrep', '--full', 'sleep 1234'], { check: false })).code, 0)
})

test('limits are changed while the unit runs', async () => {
  const { units, host } = machine
  const name = testUnit('limits')
  await (await units.startTransientUnit(name, { MemoryMax: 'infinity', ExecStart: [idle] })).done
  await units.setUnitProperties(name, true, { MemoryMax: 64 * 1024 ** 2, TasksMax: 7 })
  const shown = await host.run(['systemctl', 'show', '--property=MemoryMax', '--property=TasksMax', name])
  assert.equal(shown.stdout, `MemoryMax=${64 * 1024 ** 2}\nTasksMax=7\n`)
  const main = (await units.inspectUnit(name))?.mainPid ?? 0
  assert.equal(await units.unitByPid(main), name)
  await (await units.stopUnit(name)).done
})

test('a unit that is shown only its own control groups reads its limit, and no name of another unit', async () => {
  const { host, units } = machine
  const name = testUnit('cgroup')
  const group = controlGroupOf(unitName('tljh-users.slice'), name)
  const own = ownCgroupPaths(await host.readFile('/proc/1/mountinfo'), group)
  assert.ok(own.length > 0)
  await host.run(['install', '--directory', '--owner=nobody', '/srv/seen'])
  const limits = '$(find /sys/fs/cgroup -name memory.max -o -name memory.limit_in_bytes)'
  const look = `find /sys/fs/cgroup -type d >/srv/seen/groups; cat ${limits} >/srv/seen/limits`
  const start = await units.startTransientUnit(name, {
    Slice: 'tljh-users.slice',
    User: 'nobody',
    MemoryMax: 100 * 1024 ** 2,
    Delegate: true,
    TemporaryFileSystem: [{ path: '/sys/fs/cgroup', options: 'ro' }],
    BindPaths: own.map(source => ({ source, ignoreMissing: true })),
    ExecStartPre: [{ argv: ['/bin/sh', '-c', look] }],
    ExecStart: [idle],
  })
  assert.equal(await start.done, 'done')
  assert.equal(await host.readFile('/srv/seen/limits'), `${100 * 1024 ** 2}\n`)
  const groups = (await host.readFile('/srv/seen/groups')).trim().split('\n')
  assert.ok(groups.some(path => path.endsWith(group)))
  assert.deepEqual(
    groups.filter(line => /\.(service|scope|mount|socket)$/.test(line) && !line.endsWith(`/${name}`)),
    [],
  )
  assert.equal((await units.inspectUnit(name))?.controlGroup, group)
  await (await units.stopUnit(name)).done
})

test('what systemd does not do is said in a sentence with a code', async () => {
  const { units } = machine
  await assert.rejects(units.stopUnit(testUnit('absent')), { code: 'SYSTEMD_NO_SUCH_UNIT', why: /absent.*not loaded/ })
  await assert.rejects(units.unitByPid(4_000_000), { code: 'SYSTEMD_NO_SUCH_UNIT' })
  await assert.rejects(units.startTransientUnit(testUnit('empty'), {}), { code: 'SYSTEMD_REFUSED' })
  await assert.rejects(units.startTransientUnit(testUnit('odd'), { Type: 'odd', ExecStart: [idle] }), {
    code: 'SYSTEMD_REFUSED',
    why: /odd/,
  })
  const late = [{ argv: ['/bin/sh', '-c', 'echo $HOME'] }] as const
  await assert.rejects(units.startTransientUnit(testUnit('late'), { ExecStart: [idle], ExecStopPost: late }), {
    code: 'SYSTEMD_REFUSED',
  })
  assert.equal(await units.inspectUnit(testUnit('absent')), undefined)
})

test('a thousand questions at once are all answered', async () => {
  const { units } = machine
  const answers = await Promise.all(Array.from({ length: 1000 }, () => units.inspectUnit(unitName('dbus.service'))))
  assert.ok(answers.every(state => state?.active === 'active'))
})
