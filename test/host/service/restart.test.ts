import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../../harness/host/host.ts'
import { joinKernel, startKernel } from '../../harness/people/kernel.ts'
import { receive } from '../../harness/people/steady-visitors.ts'
import { type Visitor, visit } from '../../harness/people/visitor.ts'
import { openClassroom, studentPassword } from '../../harness/product/classroom.ts'

/** What a student has: a login, a server, a kernel with a variable in it. */
async function isAsItWas(ann: Visitor, kernelId: string): Promise<void> {
  const home = await ann.request('/hub/home')
  assert.equal(home.status, 200, 'still logged in')
  assert.match(home.body, /Open my server/, 'and the hub knows that the server runs')
  using kernel = await joinKernel(ann, 'ann', kernelId)
  assert.equal((await kernel.run('kept')).text, '42', 'and the kernel is the same')
}

async function mainPid(host: Host, unit: string): Promise<string> {
  return (await host.run(['systemctl', 'show', '--value', '--property=MainPID', unit])).stdout.trim()
}

/** Waits until a unit that was killed is there again. */
async function isUpAgain(host: Host, unit: string, formerPid: string): Promise<void> {
  for (;;) {
    const { stdout } = await host.run(['systemctl', 'show', '--value', '--property=MainPID,ActiveState', unit])
    const [pid = '', state = ''] = stdout.trim().split('\n')
    if (pid !== formerPid && pid !== '0' && state === 'active') return
    await delay(50)
  }
}

for (const unit of ['tljh-hub', 'tljh-spawner']) {
  for (const way of ['restart', 'kill'] as const) {
    test(`after ${way === 'kill' ? 'kill -9' : 'a restart'} of ${unit}, servers, kernels and sessions are as they were`, async t => {
      const classroom = await openClassroom(t)
      const { host } = classroom
      const ann = await classroom.student('ann')
      const kernel = await startKernel(ann, 'ann')
      await kernel.run('kept = 42')
      kernel.socket.terminate()
      const pids = await Promise.all([mainPid(host, `${unit}.service`), mainPid(host, 'tljh-user-ann.service')])

      if (way === 'restart') await host.run(['systemctl', 'restart', unit])
      else await host.run(['systemctl', 'kill', '--signal=KILL', unit])
      // Asked at once: whoever comes while nobody is there waits in the socket's queue.
      assert.equal((await ann.request('/hub/home')).status, 200)
      await isUpAgain(host, unit, pids[0])

      await isAsItWas(ann, kernel.id)
      assert.equal(await mainPid(host, 'tljh-user-ann.service'), pids[1])
      await ann.post('/hub/stop')
      for await (const event of ann.progress('ann')) if (event.failed) break
      await ann.startServer()
    })
  }
}

test('a hub that restarts again and again refuses nobody', async t => {
  const { host, url } = await openClassroom(t)
  const ask = async () => {
    // A connection of its own each time, as a new browser makes it.
    const answer = await fetch(`${url}/hub/login`, { headers: { connection: 'close' } })
    return { status: answer.status, body: await answer.text() }
  }
  const { answered, refused } = await receive(8, ask, async () => {
    for (let round = 0; round < 5; round++) await host.run(['systemctl', 'restart', 'tljh-hub'])
  })
  assert.deepEqual(refused, [])
  assert.ok(answered > 5)
})

test('a download that has begun when the hub is told to stop comes to its end', async t => {
  const classroom = await openClassroom(t)
  const { host, url } = classroom
  const ann = await classroom.student('ann')
  // More than lies on the way, and little enough to be fetched in the time that the hub gives a busy machine.
  const size = 20 * 1024 ** 2
  await host.run([
    'sh',
    '-c',
    `head -c ${size} /dev/zero >/home/jupyter-ann/big; chown jupyter-ann /home/jupyter-ann/big`,
  ])
  const path = '/user/ann/files/big'
  const download = await fetch(`${url}${path}`, { headers: ann.headersFor(path) })
  assert.equal(download.status, 200)

  const former = await mainPid(host, 'tljh-hub.service')
  const restarted = host.run(['systemctl', 'restart', 'tljh-hub'])
  // It is told to stop, or has gone already and there is another.
  const isTold = ['systemctl', 'show', '--value', '--property=MainPID,ActiveState', 'tljh-hub']
  while ((await host.run(isTold)).stdout.trim() === `${former}\nactive`) await delay(50)

  assert.equal((await download.arrayBuffer()).byteLength, size)
  await restarted
})

test('a server that dies while no spawner runs is known as dead when it is back', async t => {
  const classroom = await openClassroom(t)
  const { host } = classroom
  const ann = await classroom.student('ann')
  await host.run(['systemctl', 'stop', 'tljh-spawner.socket', 'tljh-spawner.service'])
  await host.run(['systemctl', 'kill', '--signal=KILL', 'tljh-user-ann.service'])

  const away = await ann.post('/hub/spawn')
  assert.equal(away.status, 503)
  assert.match(away.body, /tljh-spawner.*does not answer/s)

  await host.run(['systemctl', 'start', 'tljh-spawner.socket', 'tljh-spawner.service'])
  // Until the hub hears of the spawner again, it knows what it knew before: a server that is ready.
  let end: string | undefined
  while (end === undefined) {
    for await (const event of ann.progress('ann')) if (event.failed) end = event.end?.why ?? ''
    await delay(50)
  }
  assert.match(end, /KILL/i)
  await ann.startServer()
})

test('a reboot brings the hub back, and a session that was open still is', async t => {
  const classroom = await openClassroom(t)
  const ann = await classroom.student('ann')
  const kernel = await startKernel(ann, 'ann')
  const closed = once(kernel.socket, 'close')
  await classroom.host.reboot()
  await closed
  const home = await ann.request('/hub/home')
  assert.equal(home.status, 200)
  assert.match(home.body, /Start my server/)
  await ann.startServer()
})

test('a hub that hangs is noticed, ended and started again', async t => {
  const classroom = await openClassroom(t)
  const { host } = classroom
  await host.run(['mkdir', '-p', '/etc/systemd/system/tljh-hub.service.d'])
  await host.writeFile('/etc/systemd/system/tljh-hub.service.d/short.conf', '[Service]\nWatchdogSec=15s\n')
  await host.run(['systemctl', 'daemon-reload'])
  await host.run(['systemctl', 'restart', 'tljh-hub'])
  const ann = await classroom.student('ann')
  const pid = await mainPid(host, 'tljh-hub.service')

  await host.run(['kill', '-STOP', pid])

  assert.equal((await ann.request('/hub/home')).status, 200, 'whoever asks meanwhile is answered by the next')
  assert.notEqual(await mainPid(host, 'tljh-hub.service'), pid)
})

test('a disk that is full keeps nobody out, and stops no server', async t => {
  const classroom = await openClassroom(t)
  const { host } = classroom
  await host.run(['systemctl', 'stop', 'tljh-hub.service'])
  await host.run([
    'mount',
    '-t',
    'tmpfs',
    '-o',
    'size=512k,mode=700,uid=tljh-hub,gid=tljh-hub',
    'tmpfs',
    '/opt/tljh/state',
  ])
  await host.run(['systemctl', 'start', 'tljh-hub.service'])
  const ann = await classroom.student('ann')
  await host.run(['dd', 'if=/dev/zero', 'of=/opt/tljh/state/filler', 'bs=1k'], { check: false })

  const again = await visit(classroom.url).logIn('ann', studentPassword)

  assert.equal(again.status, 302)
  assert.equal((await ann.jupyter('GET', 'api/status')).status, 200)
  await host.run(['rm', '/opt/tljh/state/filler'])
  assert.equal((await visit(classroom.url).logIn('bob', studentPassword)).status, 302)
})
