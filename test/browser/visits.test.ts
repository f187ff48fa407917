/** Visits of administrators where there is one domain: on a port of their own, or not at all. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { inspect, openBrowser } from '../harness/people/browser.ts'
import { administratorIsSafe, prepareHostileClass } from '../harness/people/hostile-page.ts'
import { logIn } from '../harness/people/page-actions.ts'
import { TLJH_TS } from '../harness/product/product.ts'

const product = await prepareHostileClass({})
const { url: hub, host } = product
const plain = await openBrowser(product)
after(async () => {
  await plain[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

test('on one origin for all, an administrator cannot open a student’s page at all', async () => {
  const { page } = await plain.newPerson()
  await logIn(page, product.admin, product.adminPassword)
  const answer = await page.goto('/user/bob/files/evil.html')
  assert.equal(answer?.status(), 403)
  await page.getByText('This is not your server').waitFor()
  assert.equal((await page.goto('/hub/visit/bob'))?.status(), 403)
})

test('on the port for visits, a page of a student’s can do nothing to the administrator who looks at it', async () => {
  await host.run([...TLJH_TS, 'config', 'set', 'admins.visit_port', '8081'])
  const place = { product, hub, ownServer: hub, bobsServer: `${hub}:8081` }
  await administratorIsSafe(await plain.newPerson(), place)
})

test('nor can it where the browser takes the connection for a safe one', async () => {
  await using product = await prepareHostileClass({ 'admins.visit_port': '8081' })
  const { url: hub } = product
  const origins = `${hub},${hub}:8081`
  await using safe = await openBrowser(product, [`--unsafely-treat-insecure-origin-as-secure=${origins}`])
  await administratorIsSafe(await safe.newPerson(), { product, hub, ownServer: hub, bobsServer: `${hub}:8081` })
})

test('logging out of a student’s server ends the visit, and nothing else', async () => {
  const { page } = await plain.newPerson()
  await logIn(page, product.admin, product.adminPassword)
  await page.goto('/hub/visit/bob')
  await inspect(page, 'visit-port')
  await page.getByRole('button', { name: 'Open bob’s server' }).click()
  await page.locator('.jp-Launcher').first().waitFor()
  await page.goto(`${hub}:8081/user/bob/logout`)
  await page.getByRole('heading', { name: 'Your server' }).waitFor()
  assert.equal(page.url(), `${hub}/hub/home`)
  await page.goto(`${hub}:8081/user/bob/lab`)
  await page.getByRole('heading', { name: 'This is bob’s server' }).waitFor()
})
