/** Somebody who opens the hub's address while it is being installed. */
import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { bootHost } from '../harness/host/host.ts'
import { openBrowser } from '../harness/people/browser.ts'
import { holdInstallation } from '../harness/product/paused-installation.ts'
import { INSTALL } from '../harness/product/product.ts'

test('the page of an installation shows its steps, and is the login page when the hub is there', async () => {
  await using host = await bootHost()
  await using browser = await openBrowser({ host, url: `http://${host.address}` })
  const { page } = await browser.newPerson()
  const command = INSTALL.filter(word => word !== '--no-progress-page')
  const goOn = await holdInstallation(host)

  await using installing = await host.start([...command, '--admin', 'prof'])
  installing.stdout.resume()
  for await (const line of createInterface({ input: installing.stderr })) if (line.startsWith('accounts: ')) break
  installing.stderr.resume()
  await page.goto('/')

  await page.getByRole('heading', { name: 'The hub is being installed' }).waitFor()
  await page.getByRole('listitem').nth(5).waitFor()
  await goOn()
  await page.waitForURL('**/hub/login', { timeout: 5 * 60_000 })
  await page.getByLabel('Password', { exact: true }).waitFor()
  assert.equal(await installing.ended, 0)
})
