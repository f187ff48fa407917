/** What a pupil sees who prints in a loop, has a start that fails, or opens JupyterLab for the first time. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openBrowser, screenshot } from '../harness/people/browser.ts'
import { arriveInLab, logIn, newNotebook, runCell } from '../harness/people/page-actions.ts'
import { claiming } from '../harness/product/classroom.ts'
import { bootProduct } from '../harness/product/product.ts'

const product = await bootProduct({
  config: `users:\n  allowed: [ann, bob, cleo]\n${claiming}limits: { memory: 500M }\n`,
})
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

// Each in a server of its own: JupyterLab opens again what was open.
for (const [name, code] of [
  ['ann', 'print("x" * 1000)'],
  ['bob', 'print("OK")'],
] as const) {
  test(`while True: ${code} leaves a page that answers, and a cell that can be interrupted`, async () => {
    const { page } = await browser.newPerson()
    await page.goto('/')
    await logIn(page, name)
    await page.goto('/hub/spawn')
    await arriveInLab(page, name)
    await newNotebook(page)
    // The one that is run: another one comes below it.
    const cell = page.locator('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell').first()
    await cell.locator('.cm-content').fill(`while True: ${code}`)
    await page.keyboard.press('Shift+Enter')
    await cell.getByText('some of its output was left out').waitFor({ state: 'attached' })

    await page.keyboard.press('Escape')
    await page.keyboard.press('i')
    await page.keyboard.press('i')

    await page.getByText('Python 3 (ipykernel) | Idle').waitFor()
    assert.equal(await runCell(page, '6 * 7'), '42')
    await screenshot(page, 'printing')
    await page.context().close()
  })
}

test('of a million lines a page shows the first ones and the last ones, says that it is too much, and goes on', async () => {
  const { page } = await browser.newPerson()
  await page.goto('/')
  await logIn(page, 'cleo')
  await page.goto('/hub/spawn')
  await arriveInLab(page, 'cleo')
  await newNotebook(page)

  const lines = (await runCell(page, 'for n in range(10**6): print(n)\nprint("done")')).split(/\s+/)

  assert.deepEqual(lines.slice(0, 3), ['0', '1', '2'])
  await page.getByText('some of its output was left out').waitFor({ state: 'attached' })
  await page.getByText('999999\ndone').waitFor({ state: 'attached' })
  assert.equal(await runCell(page, '6 * 7'), '42')
  await screenshot(page, 'printing-million')
  await page.context().close()
})
