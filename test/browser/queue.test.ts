/** A class that starts at once, in front of the browser: who waits sees the place, and that it moves. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openBrowser, screenshot } from '../harness/people/browser.ts'
import { makeGate, onStart } from '../harness/people/held-starts.ts'
import { arriveInLab, fillInLogin } from '../harness/people/page-actions.ts'
import { visit } from '../harness/people/visitor.ts'
import { claiming, studentPassword } from '../harness/product/classroom.ts'
import { bootProduct } from '../harness/product/product.ts'

const product = await bootProduct({
  config: `users:\n  allowed: [ann, bob, cat]\n${claiming}spawner: { concurrent_spawn_limit: 1 }\n`,
})
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

test('who waits for a turn sees how many start first, and each step once', async () => {
  const gates = new Map<string, Awaited<ReturnType<typeof makeGate>>>()
  for (const name of ['ann', 'bob']) {
    const gate = await makeGate(product.host, name)
    await onStart(product.host, name, gate.wait)
    gates.set(name, gate)
  }
  const cat = await browser.newPerson()
  await cat.page.goto('/hub/login?next=/hub/home')
  await fillInLogin(cat.page, 'cat')
  const start = cat.page.getByRole('button', { name: 'Start my server' })
  await start.waitFor()
  const others = ['ann', 'bob'].map(name => ({ name, visitor: visit(product.url) }))
  for (const { name, visitor } of others) assert.equal((await visitor.logIn(name, studentPassword)).status, 302)
  for (const { visitor } of others) await visitor.post('/hub/spawn')
  await start.click()
  const status = cat.page.getByRole('status')
  await status.filter({ hasText: 'Waiting for a turn: one other starts first' }).waitFor()
  await screenshot(cat.page, 'queue')

  await gates.get('ann')?.open()
  await status.filter({ hasText: 'Waiting for a turn: yours is next' }).waitFor()
  const steps = await cat.page.locator('#steps li span').allTextContents()
  assert.deepEqual(steps, ['Waiting for a turn'])

  await gates.get('bob')?.open()
  await arriveInLab(cat.page, 'cat')
  assert.deepEqual(cat.complaints(), [])
})
