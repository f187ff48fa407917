import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import type { Host } from '../../harness/host/host.ts'
import { startKernel } from '../../harness/people/kernel.ts'
import { openClassroom } from '../../harness/product/classroom.ts'

test('a student who needs more memory than the limit loses the kernel, not the server', async t => {
  const classroom = await openClassroom(t, '  memory: 300M\n')
  const ann = await classroom.student('ann')
  using kernel = await startKernel(ann, 'ann')
  await kernel.run('1')

  await assert.rejects(kernel.run('b = b"1" * (500 * 1024**2)'), { code: 'KERNEL_DIED' })

  const { status, body } = await ann.jupyter('GET', 'api/status')
  assert.equal(status, 200, 'the server answers, and is the same as before')
  assert.equal((JSON.parse(body) as { kernels: number }).kernels, 1)
  // Jupyter starts the kernel anew by itself.
  assert.equal((await kernel.run('6 * 7')).text, '42')
})

test('a limit of half a core holds a busy loop to half a core', async t => {
  const classroom = await openClassroom(t, '  cpu: 0.5\n')
  const ann = await classroom.student('ann')
  using kernel = await startKernel(ann, 'ann')

  // By clocks that the kernel itself reads. What else this machine does can only take from the loop's share, so it goes on until the
  // loop had all that it may have, and was held up: the machine counts that.
  await kernel.run(`
import time
wall, cpu = time.monotonic(), time.process_time()
def share():
    start = time.monotonic()
    while time.monotonic() - start < 2: pass
    return (time.process_time() - cpu) / (time.monotonic() - wall)`)
  const heldUp = async () => (await statistics(classroom.host)).heldUp
  const before = await heldUp()
  let share = 0
  for (let round = 0; round < 5 || (await heldUp()) < before + 5; round++) {
    share = Number((await kernel.run('share()')).text)
  }
  // What one turn may take beyond the limit is taken from the next.
  assert.ok(share < 0.6, `the loop had ${share} of a core`)
  assert.equal((await statistics(classroom.host)).cores, 0.5)
})

/** What the kernel of the machine says of ann's server: how often it was held up, and the cores that it may use. */
async function statistics(host: Host): Promise<{ heldUp: number; cores: number }> {
  // One file or two, by the version of control groups.
  const files = '( -name cpu.stat -o -name cpu.max -o -name cpu.cfs_quota_us -o -name cpu.cfs_period_us )'.split(' ')
  const find = ['find', '/sys/fs/cgroup', '-path', '*/tljh-user-ann.service/cpu.*', ...files]
  const { stdout } = await host.run([...find, '-exec', 'grep', '-H', '', '{}', '+'])
  const number = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1])
  const quota = number(/cpu\.(?:max|cfs_quota_us):(\d+)/)
  const period = number(/cpu\.(?:max:\d+ |cfs_period_us:)(\d+)/)
  return { heldUp: number(/nr_throttled (\d+)/), cores: quota / period }
}

test('a limit of tasks stops a fork bomb, and the hub answers all the while', async t => {
  const classroom = await openClassroom(t, '  tasks: 100\n')
  const ann = await classroom.student('ann')
  const bob = await classroom.student('bob')
  using kernel = await startKernel(ann, 'ann')

  const { text } = await kernel.run(`
import os, signal
children = []
try:
    while True:
        pid = os.fork()
        if pid == 0: signal.pause()
        children.append(pid)
except BlockingIOError:
    print(len(children))`)

  // From 3.12 on, Python first warns of a fork() beside threads.
  const count = Number(text.trim().split('\n').at(-1))
  assert.ok(count > 10 && count < 100, text)
  assert.equal((await fetch(`${classroom.url}/hub/health`)).status, 200)
  assert.equal((await bob.jupyter('GET', 'api/status')).status, 200, 'nor does it touch another student')
  const pids = await classroom.host.run([
    'systemctl',
    'show',
    '--value',
    '--property=TasksCurrent',
    'tljh-user-ann.service',
  ])
  assert.ok(Number(pids.stdout) <= 100)
  await kernel.run('for pid in children: os.kill(pid, signal.SIGKILL)')
  assert.equal((await kernel.run('6 * 7')).text, '42')
})

test('a memory limit is named where notebooks look for it', async t => {
  const classroom = await openClassroom(t, '  memory: 300M\n  cpu: 1.5\n')
  const ann = await classroom.student('ann')
  using kernel = await startKernel(ann, 'ann')
  const { text } = await kernel.run('import os; print(os.environ["MEM_LIMIT"], os.environ["CPU_LIMIT"])')
  assert.equal(text, `${300 * 1024 ** 2} 1.5\n`)
  const metrics = await ann.jupyter('GET', 'api/metrics/v1')
  assert.equal((JSON.parse(metrics.body) as { limits: { memory: { rss: number } } }).limits.memory.rss, 300 * 1024 ** 2)
})

test('a server whose kernel takes all the memory stays the one that is not killed', async t => {
  const classroom = await openClassroom(t, '  memory: 250M\n')
  const ann = await classroom.student('ann')
  using kernel = await startKernel(ann, 'ann')
  const { text } = await kernel.run('print(open("/proc/self/oom_score_adj").read())')
  assert.equal(text.trim(), '1000', 'what runs the user’s code volunteers')
  const closed = once(kernel.socket, 'close')
  for (let round = 0; round < 3; round++) {
    await assert.rejects(kernel.run('b = [b"1" * 1024**2 for _ in range(400)]'), { code: 'KERNEL_DIED' })
    assert.equal((await kernel.run('6 * 7')).text, '42')
  }
  kernel.socket.terminate()
  await closed
})
