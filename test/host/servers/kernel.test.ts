import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startKernel } from '../../harness/people/kernel.ts'
import { openClassroom } from '../../harness/product/classroom.ts'

test('a kernel does over the hub whatever it does without', async t => {
  const classroom = await openClassroom(t)
  const ann = await classroom.student('ann')
  using kernel = await startKernel(ann, 'ann')

  await t.test('a hundred cells, asked for at once, are answered in order', async () => {
    const results = await Promise.all(Array.from({ length: 100 }, (_, index) => kernel.run(`${index} * 7`)))
    assert.deepEqual(
      results.map(result => result.text),
      results.map((_, index) => String(index * 7)),
    )
  })

  await t.test('ten megabytes as the result of one cell arrive whole', async () => {
    const table = 'class Table:\n  def __repr__(self): return "".join(str(i) * 1024**2 for i in range(10))\nTable()'
    const { text, status } = await kernel.run(table)
    assert.equal(status, 'ok')
    assert.equal(text.length, 10 * 1024 ** 2)
    assert.ok(text === Array.from({ length: 10 }, (_, index) => String(index).repeat(1024 ** 2)).join(''))
  })

  await t.test('an interrupt ends a cell that would not end', async () => {
    const endless = kernel.run('import time\nprint("begun", flush=True)\nwhile True: time.sleep(0.01)')
    // Before, an interrupt meets no code of ours.
    await kernel.hasWritten('begun')
    await kernel.interrupt()
    assert.deepEqual({ ...(await endless), text: '' }, { status: 'error', text: '', error: 'KeyboardInterrupt' })
    assert.equal((await kernel.run('6 * 7')).text, '42')
  })

  await t.test('a restart forgets the variables and keeps the kernel', async () => {
    await kernel.run('kept = 1')
    await kernel.restart()
    assert.equal((await kernel.run('kept')).error, 'NameError')
    assert.equal((await kernel.run('6 * 7')).text, '42')
  })
})
