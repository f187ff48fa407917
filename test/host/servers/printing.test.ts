/** A cell that prints more than anybody can read, for browsers that are slow or not there: server and kernel stay, and the cell can be ended. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, type TestContext, test } from 'node:test'
import { type CellResult, joinKernel, type Kernel, startKernel } from '../../harness/people/kernel.ts'
import { openClassroom } from '../../harness/product/classroom.ts'

// Two hundred megabytes of output do not fit beside server and kernel.
const classroom = await openClassroom(undefined, '  memory: 250M\n')
after(() => classroom[Symbol.asyncDispose]())
const ann = await classroom.student('ann')

/** Writes until it is interrupted, and tells in a file how many megabytes. */
const endlessly = (megabyte: string) => `
from pathlib import Path
import time
try:
    count = 0
    Path("written").write_text("0")
    while True:
        ${megabyte}
        count += 1
        Path("written").write_text(str(count))
except KeyboardInterrupt:
    Path("written").write_text("ended")
`
const printing = endlessly('for _ in range(1000): print("x" * 1000)')

const untilWritten = 'until written=$(cat /home/jupyter-ann/written) && [ "$written" "$1" "$2" ]; do sleep 0.1; done'

async function written(operator: string, what: string): Promise<void> {
  await classroom.host.run(['bash', '-c', `${untilWritten} 2>/dev/null`, 'bash', operator, what], {
    timeoutMs: 240_000,
  })
}

/** For the length of a test: the limit has room for one. */
async function aKernel(t: TestContext): Promise<Kernel> {
  const kernel = await startKernel(ann, 'ann')
  t.after(async () => {
    kernel.socket.terminate()
    await ann.jupyter('DELETE', `api/kernels/${kernel.id}`)
  })
  return kernel
}

async function mainPid(): Promise<string> {
  const property = ['--value', '--property=MainPID']
  const { stdout } = await classroom.host.run(['systemctl', 'show', ...property, 'tljh-user-ann.service'])
  return stdout.trim()
}

/** A page that joins an idle kernel hears everything. While a cell runs, Jupyter does not wait until it does. */
async function isNoLongerBusy(id: string): Promise<void> {
  for (;;) {
    const { body } = await ann.jupyter('GET', `api/kernels/${id}`)
    if ((JSON.parse(body) as { execution_state: string }).execution_state !== 'busy') return
  }
}

/** Of a browser that was too slow while a cell printed on: server and kernel live, and it hears how the cell ended, and that something is missing. */
async function isLivedThrough(kernel: Kernel, ended: Promise<CellResult>, pid: string): Promise<void> {
  await written('-ge', '200')

  assert.equal(await mainPid(), pid)
  await kernel.interrupt()
  await written('=', 'ended')
  kernel.socket.resume()
  const { status, text } = await ended
  assert.equal(status, 'ok')
  assert.ok(text.includes('some of its output was left out'))
  assert.equal((await kernel.run('6 * 7')).text, '42')
}

test('a cell that prints without end into a tab that is closed costs no server and no kernel', async t => {
  const pid = await mainPid()
  const kernel = await aKernel(t)
  const { id } = kernel
  await kernel.run('mine = 6 * 7')
  kernel.run(printing).catch(() => undefined)
  await kernel.hasWritten('xxx')
  const closed = once(kernel.socket, 'close')
  kernel.socket.close()
  await closed

  await written('-ge', '200')

  assert.equal(await mainPid(), pid, 'it is the same server')
  await ann.jupyter('POST', `api/kernels/${id}/interrupt`)
  await written('=', 'ended')
  await isNoLongerBusy(id)
  using again = await joinKernel(ann, 'ann', id)
  assert.equal((await again.run('mine')).text, '42', 'and the same kernel')
})

test('a browser that is slow is sent what it can take, and hears how the cell ended', async t => {
  const pid = await mainPid()
  const kernel = await aKernel(t)
  const ended = kernel.run(printing)
  await kernel.hasWritten('xxx')
  kernel.socket.pause()

  await isLivedThrough(kernel, ended, pid)
})

test('of pictures without end, a browser that is slow is sent what it can take', async t => {
  const pid = await mainPid()
  const kernel = await aKernel(t)
  const picture = 'display({"image/png": "x" * 1_000_000, "text/plain": "xxx"}, raw=True); time.sleep(0.05)'
  kernel.socket.pause()
  const ended = kernel.run(endlessly(picture))

  await isLivedThrough(kernel, ended, pid)
})

test('of a cell that prints too much for a page, beginning, notice and end are shown, and what comes later after them', async t => {
  const kernel = await aKernel(t)
  const { status, text } = await kernel.run('for n in range(1_000_000): print(n)\n"later"')
  assert.equal(status, 'ok')
  assert.ok(text.startsWith('0\n1\n2\n'))
  assert.ok(text.endsWith("\n999998\n999999\n'later'"), text.slice(-100))
  assert.ok(text.length < 1024 ** 2)

  const long = await kernel.run('print("a" * 600_000)')
  assert.match(long.text, /^a{400000,}\nThis cell writes more[^\n]*\n…\na{1000,}\n$/)

  // In one piece: a line's end that came alone would be shown, and before it what was left out.
  const flood = 'print("a" * 3_000_000, end="")'
  const cleared = await kernel.run(`from IPython.display import clear_output\n${flood}\nclear_output()\nprint("done")`)
  assert.match(cleared.text, /^a{400000,}\nThis cell writes more[^\n]*\n(?:…\n)?done\n$/)

  const patch = 'mock.patch("time.monotonic", lambda: 0)'
  const timeless = await kernel.run(`from unittest import mock\nwith ${patch}:\n    ${flood}\n"later"`)
  assert.match(timeless.text, /a'later'$/)
})

test('cells that print at the same time have no more room than one after the other', async t => {
  const kernel = await aKernel(t)
  const messages: string[] = []
  kernel.socket.on('message', data => messages.push(String(data)))
  await kernel.run(`
import threading
def flood():
    while printing: print("y" * 100_000)
printing = True
thread = threading.Thread(target=flood)
thread.start()`)
  await kernel.run('for _ in range(200): print("z" * 100_000)\nprinting = False\nthread.join()')

  const shown = messages.join('')
  assert.ok(shown.includes('yyy') && shown.includes('zzz'))
  assert.ok(shown.length < 3 * 1024 ** 2, `${shown.length} characters`)
})

test('a kernel whose cells are held up finds modules where others do, and none of the hub’s', async t => {
  const kernel = await aKernel(t)
  await kernel.run('from pathlib import Path; Path("home.py").write_text("whose = 6 * 7")')
  assert.equal((await kernel.run('import home; home.whose')).text, '42')
  const { text } = await kernel.run('import os, sys; os.remove("home.py"); print(*sys.argv[:2], *sys.path, sep="\\n")')
  assert.match(text, /ipykernel_launcher\.py\n-f\n/)
  assert.doesNotMatch(text, /spawner/)
})
