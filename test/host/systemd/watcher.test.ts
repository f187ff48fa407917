/** What becomes of units is told as it happens, and nothing twice. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { UnitState } from '../../../systemd/units.ts'
import { bootHostBus, Events, type HostBus, testUnit } from '../../harness/host/bare-host.ts'

let machine: HostBus
before(async () => {
  machine = await bootHostBus()
})
after(() => machine[Symbol.asyncDispose]())

test('a watcher sees what runs already, each change of state and status, and the removal', async () => {
  const { bus, units } = machine
  const before = testUnit('watched-before')
  await (await units.startTransientUnit(before, { ExecStart: [{ argv: ['/bin/sleep', 'infinity'] }] })).done
  await (await units.startTransientUnit(testUnit('other'), { ExecStart: [{ argv: ['/bin/sleep', 'infinity'] }] })).done
  using events = new Events(bus, 'test-watched*.service')
  const snapshot = await events.next(event => event.kind === 'snapshot')
  assert.deepEqual(snapshot.kind === 'snapshot' && snapshot.units, [withoutLiveValues(await units.inspectUnit(before))])

  const name = testUnit('watched')
  // systemd tells of two changes that come close together as one: the service waits until its first word has been seen.
  const wait = 'until test -e /run/seen; do sleep 0.05; done'
  const script = `systemd-notify STATUS=warming; ${wait}; systemd-notify READY=1 STATUS=warm; exec sleep infinity`
  const start = { Type: 'notify', NotifyAccess: 'all', ExecStart: [{ argv: ['/bin/sh', '-c', script] }] } as const
  const job = await units.startTransientUnit(name, start)
  await events.next(event => event.kind === 'changed' && isAt(event.unit, 'activating', 'warming'))
  await machine.host.run(['touch', '/run/seen'])
  assert.equal(await job.done, 'done')
  const ready = await events.next(event => event.kind === 'changed' && isAt(event.unit, 'active', 'warm'))
  assert.ok(ready.kind === 'changed' && ready.unit.name === name && ready.unit.mainPid)

  await (await units.stopUnit(name)).done
  await events.next(event => event.kind === 'changed' && event.unit.active === 'deactivating')
  const last = await events.next(event => event.kind === 'removed')
  assert.ok(last.kind === 'removed' && last.unit.active === 'inactive' && last.unit.execMainCode === 'killed')
  assert.deepEqual(events.rest(), [])
})

test('a failure is seen with its cause, even where systemd forgets the unit at once', async () => {
  const { bus, units } = machine
  using events = new Events(bus, 'test-watched-fail*.service')
  await events.next(event => event.kind === 'snapshot')
  for (let run = 0; run < 20; run++) {
    const name = testUnit(`watched-fail-${run}`)
    const script = 'systemd-notify STATUS=starting; exit 9'
    const exec = { Type: 'notify', NotifyAccess: 'all', ExecStart: [{ argv: ['/bin/sh', '-c', script] }] } as const
    assert.equal(
      await (await units.startTransientUnit(name, { ...exec, CollectMode: 'inactive-or-failed' })).done,
      'failed',
    )
    const last = await events.next(event => event.kind === 'removed')
    assert.ok(last.kind === 'removed' && last.unit.name === name)
    assert.deepEqual([last.unit.active, last.unit.result, last.unit.execMainStatus], ['failed', 'exit-code', 9])
  }
})

test('asking for units that are not there is no event', async () => {
  const { bus, units } = machine
  using events = new Events(bus, 'test-nothing*.service')
  await events.next(event => event.kind === 'snapshot')
  await units.inspectUnit(testUnit('nothing'))
  await units.resetFailedUnit(testUnit('nothing'))
  for (const command of ['status', 'show', 'cat'])
    await machine.host.run(['systemctl', command, testUnit('nothing')], { check: false })
  await (await units.startTransientUnit(testUnit('nothing-real'), { ExecStart: [{ argv: ['/bin/true'] }] })).done
  await events.next(event => event.kind === 'removed')
  assert.deepEqual(events.rest(), [])
})

test('events follow one another as they happen when many units change at once', async () => {
  const { bus, units } = machine
  using events = new Events(bus, 'test-many-*.service')
  await events.next(event => event.kind === 'snapshot')
  const names = Array.from({ length: 50 }, (_, index) => testUnit(`many-${index}`))
  const ends = names.map(async name => {
    const job = await units.startTransientUnit(name, { ExecStart: [{ argv: ['/bin/sleep', '0.2'] }] })
    return job.done
  })
  await Promise.all(ends)
  const gone = new Set<string>()
  while (gone.size < names.length) {
    const event = await events.next(({ kind }) => kind === 'removed')
    if (event.kind !== 'removed') continue
    assert.equal(event.unit.active, 'inactive')
    assert.equal(event.unit.result, 'success')
    gone.add(event.unit.name)
  }
})

function isAt(unit: UnitState, active: string, statusText: string): boolean {
  return unit.active === active && unit.statusText === statusText
}

/** The part of an inspection that a watcher has too. */
function withoutLiveValues(state: object | undefined): object {
  return Object.fromEntries(
    Object.entries(state ?? {}).filter(([key]) => !/^(controlGroup|memoryCurrent|hasNoNewPrivileges)$/.test(key)),
  )
}
