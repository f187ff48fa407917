/** A cell that prints more than anybody can read, for browsers that are slow or not there: the server stays, and the cell can be ended. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { openClassroom } from './classroom.ts'
import { joinKernel, startKernel } from './kernel.ts'

const classroom = await openClassroom(undefined, '  memory: 300M\n')
after(() => classroom[Symbol.asyncDispose]())
const ann = await classroom.student('ann')

/** Prints until it is interrupted, and tells in a file how much. */
const flood = `
from pathlib import Path
try:
    count = 0
    while True:
        print("x" * 1000)
        count += 1
        if count % 10_000 == 0: Path("printed").write_text(str(count))
except KeyboardInterrupt:
    Path("printed").write_text("ended")
`
const untilPrinted =
  'until [ "$(cat /home/jupyter-ann/printed 2>/dev/null || echo 0)" -ge "$1" ]; do sleep 0.1; done 2>/dev/null'

async function mainPid(): Promise<string> {
  const { stdout } = await classroom.host.run([
    'systemctl',
    'show',
    '--value',
    '--property=MainPID',
    'tljh-user-ann.service',
  ])
  return stdout.trim()
}

/** 250 MB are printed. The limit is what ends a server that keeps them. */
async function printed(): Promise<void> {
  await classroom.host.run(['bash', '-c', untilPrinted, 'bash', '250000'], { timeoutMs: 240_000 })
}

test('a cell that prints without end into a tab that is closed costs no server', async () => {
  const pid = await mainPid()
  const kernel = await startKernel(ann, 'ann')
  const { id } = kernel
  kernel.run(flood).catch(() => undefined)
  await kernel.hasWritten('xxx')
  const closed = once(kernel.socket, 'close')
  kernel.socket.close()
  await closed

  await printed()

  assert.equal(await mainPid(), pid, 'it is the same server')
  await ann.jupyter('POST', `api/kernels/${id}/interrupt`)
  using again = await joinKernel(ann, 'ann', id)
  assert.equal((await again.run('open("printed").read()')).text, "'ended'", 'and the same kernel')
})

test('a browser that is slow is sent what it can take, and hears how the cell ended', async () => {
  const pid = await mainPid()
  using kernel = await startKernel(ann, 'ann')
  const ended = kernel.run(flood)
  await kernel.hasWritten('xxx')
  kernel.socket.pause()

  await printed()

  assert.equal(await mainPid(), pid)
  await kernel.interrupt()
  kernel.socket.resume()
  const { status, text } = await ended
  assert.equal(status, 'ok')
  assert.ok(text.includes('some of its output was left out'))
  assert.equal((await kernel.run('6 * 7')).text, '42')
})

test('of a cell that prints too much for a page, the beginning and the end are shown', async () => {
  using kernel = await startKernel(ann, 'ann')
  const { status, text } = await kernel.run('for n in range(1_000_000): print(n)')
  assert.equal(status, 'ok')
  assert.ok(text.startsWith('0\n1\n2\n'))
  assert.ok(text.includes('some of its output was left out'))
  assert.ok(text.endsWith('\n999998\n999999\n'))
  assert.ok(text.length < 1024 ** 2)
})
