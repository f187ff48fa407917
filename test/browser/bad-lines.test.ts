/** Between the browser and the hub lies a line that stutters, or is cut: pages go on by themselves when it is good again. */
import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { after, afterEach, test } from 'node:test'
import type { Page } from 'playwright-core'
import { openBrowser } from '../harness/people/browser.ts'
import { makeGate, onStart } from '../harness/people/held-starts.ts'
import { arriveInLab, fillInLogin, newNotebook, runCell } from '../harness/people/page-actions.ts'
import { claiming } from '../harness/product/classroom.ts'
import { bootProduct, checkoutProgram } from '../harness/product/product.ts'

const port = 8090
const product = await bootProduct({ config: `users:\n  allowed: [ann, bob]\n${claiming}` })
const { host } = product
const line = await host.start([...checkoutProgram('test/harness/peers/bad-connection.ts'), String(port), '80'])
const answers = createInterface({ input: line.stdout })[Symbol.asyncIterator]()
assert.equal((await answers.next()).value, 'listening')
const browser = await openBrowser({ host, url: `${product.url}:${port}` })
afterEach(() => makeLine('good'))
after(async () => {
  await browser[Symbol.asyncDispose]()
  await line[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

async function makeLine(state: 'good' | 'jitter' | 'cut'): Promise<void> {
  line.stdin.write(`${state}\n`)
  assert.equal((await answers.next()).value, state)
}

/** JupyterLab asks whether to start the server anew, when it hears nothing from it. */
async function dismissQuestions(page: Page): Promise<void> {
  const dialog = page.locator('.jp-Dialog')
  await page.addLocatorHandler(dialog, async () => {
    await dialog
      .getByRole('button', { name: /dismiss|ok|close/i })
      .first()
      .click()
  })
}

test('on a line that stutters, a student logs in, waits, and runs cells', async () => {
  await makeLine('jitter')
  const { page } = await browser.newPerson()
  await page.goto('/')
  await fillInLogin(page, 'ann')
  await arriveInLab(page, 'ann')
  await newNotebook(page)
  assert.equal(await runCell(page, '6 * 7'), '42')
})

test('a line that is cut while the server starts, and while somebody works, costs no reload and no result', async () => {
  const { page } = await browser.newPerson()
  const gate = await makeGate(host, 'bob')
  await onStart(host, 'bob', gate.wait)
  await page.goto('/')
  await fillInLogin(page, 'bob')
  await page.getByRole('status').filter({ hasText: 'Starting JupyterLab' }).waitFor()
  const lost = page.waitForEvent('requestfailed')
  await makeLine('cut')
  await lost
  await makeLine('good')
  await gate.open()
  await arriveInLab(page, 'bob')

  await dismissQuestions(page)
  await newNotebook(page)
  await page.evaluate('window.isTheSamePage = true')
  assert.equal(await runCell(page, 'kept = 6; kept'), '6')
  await makeLine('cut')
  await page.getByText(/Python 3 \(ipykernel\) \| (?!Idle|Busy)/).waitFor()
  await makeLine('good')
  await page.getByText('Python 3 (ipykernel) | Idle').waitFor()
  assert.equal(await runCell(page, 'kept * 7'), '42')
  assert.equal(await page.evaluate('window.isTheSamePage'), true)
})
