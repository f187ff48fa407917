/** A host for each user, in a real browser: below `hub.localhost`, which browsers look for on their own machine. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { inspect, openBrowser } from '../harness/people/browser.ts'
import { administratorIsSafe, prepareHostileClass } from '../harness/people/hostile-page.ts'
import { arriveInLab, fillInLogin, logIn, newNotebook, password, runCell } from '../harness/people/page-actions.ts'

const hub = 'http://hub.localhost'
const annsHost = 'http://ann.hub.localhost'
const product = await prepareHostileClass({ 'https.user_domains': 'hub.localhost' })
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

test('a student works in JupyterLab on her own host, and logs out from its menu', async () => {
  const { page, newPage, complaints } = await browser.newPerson({ baseURL: hub })
  await page.goto(`${annsHost}/user/ann/lab`)
  assert.equal(new URL(page.url()).origin, hub, 'who is nobody yet logs in at the hub')
  await fillInLogin(page, 'ann', password)
  await arriveInLab(page, 'ann')
  assert.equal(new URL(page.url()).origin, annsHost)
  await newNotebook(page)
  assert.equal(await runCell(page, '6 * 7'), '42', 'so the WebSocket of the kernel is open')
  assert.deepEqual(complaints(), [])

  const panel = page.context().waitForEvent('page')
  await page.getByRole('menuitem', { name: 'File' }).click()
  await page.getByText('Hub Control Panel').click()
  const home = await panel
  await home.getByRole('heading', { name: 'Your server' }).waitFor()
  assert.equal(home.url(), `${hub}/hub/home`)

  const passes = async () => (await page.context().cookies(`${annsHost}/user/ann/lab`)).map(({ name }) => name)
  assert.ok((await passes()).includes('tljh-visit-ann'))
  assert.ok(!(await passes()).includes('tljh-session'), 'the hub’s cookie stays with the hub')
  // The browser asks whether to leave a notebook that is not saved.
  page.on('dialog', dialog => void dialog.accept())
  await page.getByRole('menuitem', { name: 'File' }).click()
  await page.getByText('Log Out', { exact: true }).filter({ visible: true }).click()
  await page.getByRole('button', { name: 'Log in' }).waitFor()
  assert.equal(new URL(page.url()).origin, hub)
  assert.ok(!(await passes()).includes('tljh-visit-ann'))
  const later = await newPage()
  await later.goto(`${annsHost}/user/ann/lab`)
  await later.getByRole('button', { name: 'Log in' }).waitFor()
})

test('a link for the class leads to one’s own host, with its query as it was', async () => {
  const { page } = await browser.newPerson({ baseURL: hub })
  await page.goto('/hub/user-redirect/api/status?a=%2Fb%3Fc%3D1&d=e%20f')
  await fillInLogin(page, 'ann', password)
  await page.waitForURL(`${annsHost}/user/ann/api/status?a=%2Fb%3Fc%3D1&d=e%20f`)
})

test('a login leads to the server that runs, on its own host, and so do several pages that are opened at once', async () => {
  const { page, newPage } = await browser.newPerson({ baseURL: hub })
  await page.goto('/')
  await fillInLogin(page, 'ann', password)
  await page.locator('#jp-MainLogo').waitFor()
  assert.equal(new URL(page.url()).origin, annsHost)
  await page.context().clearCookies({ domain: 'ann.hub.localhost' })
  const several = await Promise.all([newPage(), newPage(), newPage()])
  await Promise.all(several.map(one => one.goto(`${annsHost}/user/ann/api/me`)))
  for (const one of several) assert.match((await one.locator('body').textContent()) ?? '', /"username": ?"ann"/)
})

test('a page of a student’s can do nothing to the administrator who looks at it', async () => {
  const admin = await browser.newPerson({ baseURL: hub })
  const bobsServer = 'http://bob.hub.localhost'
  await administratorIsSafe(admin, { product, hub, ownServer: 'http://admin.hub.localhost', bobsServer })
})

test('the note before a visit is a page that everybody can read', async () => {
  const { page } = await browser.newPerson({ baseURL: hub })
  await logIn(page, product.admin, product.adminPassword)
  await page.goto('/hub/visit/bob')
  await inspect(page, 'visit')
})
