/** The connection to systemd: what happens when it breaks, and whom it listens to. */
import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { MANAGER, MANAGER_PATH, SystemBus } from '../../../systemd/bus.ts'
import { createUnits, unitName } from '../../../systemd/units.ts'
import { bootHostBus, Events, type HostBus, testUnit } from '../../harness/host/bare-host.ts'

let machine: HostBus
before(async () => {
  machine = await bootHostBus()
})
after(() => machine[Symbol.asyncDispose]())

test('a job is followed to its end when dbus-daemon is killed meanwhile, and its unit seen', async () => {
  const { host, bus, units } = machine
  using events = new Events(bus, 'test-killed*.service')
  await events.next(event => event.kind === 'snapshot')
  const { job, finish } = await startGated('killed')

  await host.run(['pkill', '--signal', 'KILL', '--exact', 'dbus-daemon'])
  const snapshot = await events.next(event => event.kind === 'snapshot')
  assert.deepEqual(snapshot.kind === 'snapshot' && snapshot.units.map(unit => unit.active), ['activating'])

  await finish()
  assert.equal(await job.done, 'done')
  await events.next(event => event.kind === 'changed' && event.unit.active === 'active')
  await (await units.stopUnit(job.unit)).done
})

test('the end of a job is known even when it came while the connection was down', async () => {
  const { host, units } = machine
  const { job, finish } = await startGated('unheard')
  await host.run(['systemctl', 'stop', 'dbus.socket', 'dbus.service'])
  try {
    await finish()
    await host.run(['sh', '-c', `until systemctl is-active --quiet ${job.unit}; do sleep 0.05; done`])
  } finally {
    await host.run(['systemctl', 'start', 'dbus.socket', 'dbus.service'])
  }

  assert.equal(await job.done, 'done')
  await (await units.stopUnit(job.unit)).done
})

test('daemon-reload and daemon-reexec make no unit look removed', async () => {
  const { host, bus, units } = machine
  const name = testUnit('again')
  await (await units.startTransientUnit(name, { ExecStart: [{ argv: ['/bin/sleep', 'infinity'] }] })).done
  using events = new Events(bus, 'test-again.service')
  await events.next(event => event.kind === 'snapshot')

  for (const command of ['daemon-reload', 'daemon-reexec']) {
    await host.run(['systemctl', command])
    const snapshot = await events.next(event => {
      assert.notEqual(event.kind, 'removed', command)
      return event.kind === 'snapshot'
    })
    assert.deepEqual(snapshot.kind === 'snapshot' && snapshot.units.map(unit => unit.active), ['active'])
  }
  await (await units.stopUnit(name)).done
  await events.next(event => event.kind === 'removed')
})

test('a job is followed to its end through a daemon-reload and a daemon-reexec', async () => {
  const { host, bus, units } = machine
  using events = new Events(bus, 'test-through.service')
  await events.next(event => event.kind === 'snapshot')
  const { job, finish } = await startGated('through')
  for (const command of ['daemon-reload', 'daemon-reexec']) {
    await host.run(['systemctl', command])
    // systemctl ends when systemd leaves the bus. A question that is asked before this is known here finds nobody.
    await events.next(event => event.kind === 'snapshot')
  }
  assert.equal((await units.inspectUnit(job.unit))?.jobId, job.id)
  await finish()
  assert.equal(await job.done, 'done')
  await (await units.stopUnit(job.unit)).done
})

test('a signal that another user sends in the name of systemd is not heard', async () => {
  const { host, bus, units } = machine
  const heard: string[] = []
  const stopListening = bus.listen({ onSignal: signal => heard.push(String(signal.body[0])), onGap: () => {} })
  const send = ['dbus-send', '--system', '--print-reply', '--dest=org.freedesktop.DBus']
  const { stdout } = await host.run([...send, '/org/freedesktop/DBus', 'org.freedesktop.DBus.ListNames'])
  const connections = new Set(stdout.match(/:\d+\.\d+/g))
  assert.ok(connections.size > 0)

  for (const connection of connections)
    await host.run(
      [
        ...['dbus-send', '--system', '--type=signal', `--dest=${connection}`, MANAGER_PATH, `${MANAGER}.UnitRemoved`],
        ...['string:forged.service', `objpath:${MANAGER_PATH}/unit/forged_2eservice`],
      ],
      { user: 'nobody' },
    )
  await (await units.startTransientUnit(testUnit('real'), { ExecStart: [{ argv: ['/bin/true'] }] })).done
  stopListening()

  assert.ok(!heard.includes('forged.service'))
  assert.ok(heard.includes('test-real.service'))
})

test('a call to a bus that is not there, hangs, or talks nonsense is refused in time', async () => {
  using absent = new SystemBus({ socket: join(tmpdir(), `absent-${process.pid}`), connectTimeoutMs: 2_000 })
  await assert.rejects(createUnits(absent).listUnits(['*']), { code: 'SYSTEMD_UNAVAILABLE', why: /ENOENT/ })

  const answers: ((socket: Socket) => void)[] = [
    () => {},
    socket => socket.end(),
    socket => socket.write('nonsense\r\n'),
    socket => socket.write(`OK 1234\r\n${'nonsense'.repeat(20)}`),
  ]
  for (const answer of answers) {
    const path = join(tmpdir(), `bus-${process.pid}`)
    const sockets = new Set<Socket>()
    const server = createServer(socket => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('data', () => answer(socket))
    }).listen(path)
    using bus = new SystemBus({ socket: path, connectTimeoutMs: 300 })
    await assert.rejects(createUnits(bus).listUnits(['*']), { code: 'SYSTEMD_UNAVAILABLE' })
    for (const socket of sockets) socket.destroy()
    await new Promise(resolve => server.close(resolve))
  }
})

test('pending calls and jobs are told when the bus is closed', async () => {
  const { host, units } = machine
  using bus = new SystemBus({ socket: `${host.rootPath}/run/dbus/system_bus_socket` })
  const name = testUnit('closed')
  const job = await createUnits(bus).startTransientUnit(name, {
    Type: 'notify',
    ExecStart: [{ argv: ['/bin/sleep', '60'] }],
  })
  const calls = Array.from({ length: 200 }, () => createUnits(bus).inspectUnit(unitName('dbus.service')))
  bus.close()
  for (const call of calls) await assert.rejects(call, { code: 'SYSTEMD_UNAVAILABLE' })
  await assert.rejects(job.done, { code: 'SYSTEMD_UNAVAILABLE' })
  await assert.rejects(createUnits(bus).listUnits(['*']), { code: 'SYSTEMD_UNAVAILABLE' })
  await (await units.stopUnit(name)).done
})

/** Starts a unit whose start ends when `finish` is called. */
async function startGated(text: string) {
  const { host, units } = machine
  const gate = `/srv/${text}`
  await host.run(['mkfifo', gate])
  const job = await units.startTransientUnit(testUnit(text), {
    Type: 'oneshot',
    RemainAfterExit: true,
    ExecStart: [{ argv: ['/bin/sh', '-c', `read line <${gate}`] }],
  })
  return { job, finish: () => host.run(['sh', '-c', `echo go >${gate}`]) }
}
