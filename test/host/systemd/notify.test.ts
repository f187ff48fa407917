/** A service of ours that is not root tells systemd how it is, and is replaced when it stops telling. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { UnitName, UnitProperties } from '../../../systemd/units.ts'
import { bootHostBus, CODE, Events, type HostBus, NODE, testUnit } from '../../harness/host/bare-host.ts'

let machine: HostBus
before(async () => {
  machine = await bootHostBus()
  await machine.host.run(['useradd', '--system', 'hub'])
})
after(() => machine[Symbol.asyncDispose]())

/** As the hub's unit: another user, no privileges, a sandbox. */
const SANDBOX: UnitProperties = {
  Type: 'notify',
  NotifyAccess: 'all',
  // As our services have it. Otherwise a stop reaches the systemd-notify that says so as well, if it is quick enough to be there.
  KillMode: 'mixed',
  User: 'hub',
  NoNewPrivileges: true,
  ProtectSystem: 'strict',
  ProtectProc: 'invisible',
  PrivateTmp: true,
  PrivateDevices: true,
  RestrictNamespaces: 0,
  TimeoutStartUSec: 300_000_000,
}

test('ready, status and stopping arrive, in their order, from a service without privileges', async () => {
  const { bus, units } = machine
  const name = testUnit('notifying')
  using events = new Events(bus, name)
  await events.next(event => event.kind === 'snapshot')

  const job = await start(
    name,
    `
      setInterval(() => {}, 1000)
      const seen = new Promise(resolve => process.once('SIGUSR2', resolve))
      await notifier.status('warming up')
      await seen
      await notifier.ready()
      for (let i = 0; i < 20; i++) void notifier.status('step ' + i)
      // First: the test sees a status before systemd-notify has come back here from sending it.
      process.on('SIGTERM', async () => {
        await notifier.stopping()
        await notifier.status('bye')
        process.exit(0)
      })
      await notifier.status('two\\nlines = one')`,
  )
  // systemd tells of two changes that come close together as one: the service waits until its first word has been seen.
  await events.next(event => event.kind === 'changed' && event.unit.statusText === 'warming up')
  await machine.host.run(['systemctl', 'kill', '--kill-who=main', '--signal=SIGUSR2', name])
  assert.equal(await job.done, 'done')
  await events.next(event => event.kind === 'changed' && event.unit.statusText === 'two lines = one')
  const state = await units.inspectUnit(name)
  assert.equal(state?.active, 'active')

  await (await units.stopUnit(name)).done
  const last = await events.next(event => event.kind === 'removed')
  assert.ok(last.kind === 'removed' && last.unit.statusText === 'bye' && last.unit.result === 'success')
})

test('a service that ends right after its message has been heard', async () => {
  for (let run = 0; run < 20; run++) {
    const name = testUnit(`brief-${run}`)
    const job = await start(name, 'await notifier.ready(); process.exit(0)')
    assert.equal(await job.done, 'done', `run ${run}`)
  }
})

test('a service that feeds its watchdog lives, also without a descriptor or a process to spare, and one that hangs is killed', async () => {
  const { bus, units } = machine
  const feeding = testUnit('watchdog-feeding')
  const exhausted = testUnit('watchdog-exhausted')
  const hanging = testUnit('watchdog-hanging')
  using events = new Events(bus, 'test-watchdog-*.service')
  await events.next(event => event.kind === 'snapshot')
  // Long beside what a busy machine may keep a service from the processor for.
  const watchdog = { WatchdogUSec: 20_000_000 }
  const fed = await start(
    feeding,
    `
      notifier.startWatchdog(() => true)
      await notifier.ready()
      setInterval(() => {}, 1000)`,
    watchdog,
  )
  assert.equal(await fed.done, 'done')
  const exhausting = await start(
    exhausted,
    `
      import { openSync } from 'node:fs'
      notifier.startWatchdog(() => true)
      await notifier.ready()
      try { for (;;) openSync('/dev/null', 'r') } catch (error) { if (error.code !== 'EMFILE') throw error }
      setInterval(() => {}, 1000)`,
    { ...watchdog, LimitNOFILE: 200 },
  )
  assert.equal(await exhausting.done, 'done')
  const { mainPid } = (await units.inspectUnit(feeding)) ?? {}
  assert.ok(mainPid)
  const hung = await start(
    hanging,
    `
      let looks = 0
      notifier.startWatchdog(() => ++looks === 1)
      await notifier.ready()
      setInterval(() => {}, 1000)`,
    watchdog,
  )
  assert.equal(await hung.done, 'done')

  const failed = await events.next(event => event.kind === 'changed' && event.unit.active === 'failed')
  assert.ok(failed.kind === 'changed')
  assert.deepEqual([failed.unit.name, failed.unit.result], [hanging, 'watchdog'])
  // They are older than the other one, which was given the same time, and was fed once.
  const state = await units.inspectUnit(feeding)
  assert.deepEqual([state?.active, state?.mainPid], ['active', mainPid])
  assert.equal((await units.inspectUnit(exhausted))?.active, 'active')
  await units.resetFailedUnit(hanging)
  for (const name of [feeding, exhausted]) await (await units.stopUnit(name)).done
})

test('without systemd nothing is sent and nothing fails; a socket that is not there is a problem', async () => {
  const { host } = machine
  const run = (env: Record<string, string>) =>
    host.run([NODE, '--input-type=module-typescript', '-'], {
      input: program('await notifier.ready()'),
      env,
      check: false,
    })
  assert.deepEqual(await run({}), { stdout: '', stderr: '', code: 0 })
  const { stderr } = await run({ NOTIFY_SOCKET: '/run/absent' })
  assert.match(stderr, /SYSTEMD_NOTIFY/)
})

function program(code: string): string {
  return `
    import { createNotifier } from '${CODE}/systemd/notify.ts'
    const notifier = createNotifier(process.env)
    ${code}`
}

function start(name: UnitName, code: string, more: UnitProperties = {}) {
  const argv = [NODE, '--input-type=module-typescript', '--eval', program(code)] as const
  return machine.units.startTransientUnit(name, { ...SANDBOX, ...more, ExecStart: [{ argv }] })
}
