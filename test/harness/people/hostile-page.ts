/**
 * Bob's hostile page, and an administrator who opens it after the note. It tries what a page can try on the hub and on the
 * administrator's own server; that nothing came of it is seen on the machine, not believed of the browser.
 */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { claiming, studentPassword } from '../product/classroom.ts'
import { bootProduct, type Product, TLJH_TS } from '../product/product.ts'
import type { Person } from './browser.ts'
import { frame, load, openWebSocket, plantCookie, post, read, sendForm } from './cross-origin-attempts.ts'
import { arriveInLab, logIn, newNotebook, runCell } from './page-actions.ts'
import { visit } from './visitor.ts'

export interface HostilePlace {
  product: Product
  /** Where the administrator finds the hub, and the own server. */
  hub: string
  ownServer: string
  /** Where bob's server is for an administrator. */
  bobsServer: string
}

const configFile = '/opt/tljh/config/config.yaml'
const page = '<!doctype html><title>A harmless page</title><body>Look at my plots!'

/** Bob's server runs and has the page. `settings` are keys of the configuration and their values. */
export async function prepareHostileClass(settings: Readonly<Record<string, string>>): Promise<Product> {
  const product = await bootProduct({ config: `users:\n  allowed: [ann, bob]\n${claiming}` })
  const bob = visit(product.url)
  await bob.logIn('bob', studentPassword)
  await bob.startServer()
  await product.host.writeFile('/home/jupyter-bob/evil.html', page, { owner: 'jupyter-bob' })
  for (const [key, value] of Object.entries(settings)) await product.host.run([...TLJH_TS, 'config', 'set', key, value])
  return product
}

export async function administratorIsSafe({ page, newPage }: Person, place: HostilePlace): Promise<void> {
  const { product, hub, ownServer, bobsServer } = place
  const { host, admin, adminPassword } = product
  const config = await host.readFile(configFile)
  await logIn(page, admin, adminPassword)
  await page.goto('/hub/spawn')
  await arriveInLab(page, admin)
  await newNotebook(page)
  await runCell(page, 'kept = "kept"')
  const kernels = await kernelsOf(page)
  assert.equal(kernels.length, 1)

  const attacker = await newPage()
  await attacker.goto(`${bobsServer}/user/bob/lab`)
  await attacker.getByRole('heading', { name: 'This is bob’s server' }).waitFor()
  assert.equal(new URL(attacker.url()).origin, hub)
  await attacker.getByRole('button', { name: 'Open bob’s server' }).click()
  await attacker.locator('.jp-Launcher').first().waitFor()
  assert.equal(new URL(attacker.url()).origin, bobsServer)
  // Jupyter puts files of users in a sandbox. Bob's own programs on his server need not, so the page without one tries as well.
  await attack(attacker, place, kernels[0] ?? '')
  await attackByForms(attacker, place)
  await attacker.evaluate(`location.href = '/user/bob/files/evil.html'`)
  await attacker.getByText('Look at my plots!').waitFor()
  await attack(attacker, place, kernels[0] ?? '')
  await attacker.goto(`${bobsServer}/user/bob/lab`)

  assert.deepEqual(await kernelsOf(page), kernels)
  assert.equal(await runCell(page, 'kept'), "'kept'")
  // From a page of Jupyter's own it opens: what kept the attacker's from it was its origin.
  const channels = `${ownServer.replace('http', 'ws')}/user/${admin}/api/kernels/${kernels[0]}/channels`
  assert.equal(await openWebSocket(page, channels), 'open')
  assert.equal(await host.readFile(configFile), config)
  const home = await newPage()
  await home.goto(`${hub}/hub/home`)
  await home.getByText('Running', { exact: true }).waitFor()

  await plantsInVain(attacker, place, home)
}

async function attack(attacker: Page, { product, hub, ownServer }: HostilePlace, kernel: string): Promise<void> {
  const own = `${ownServer}/user/${product.admin}`
  for (const address of [
    ...['home', 'admin/config', 'admin', 'account', 'visit/ann', 'login', 'logout'].map(path => `${hub}/hub/${path}`),
    ...['lab', 'api/kernels', 'api/contents', 'files/.bashrc'].map(path => `${own}/${path}`),
  ]) {
    assert.equal(await read(attacker, address), 'nothing', address)
    assert.equal(await frame(attacker, address), 'nothing', address)
  }
  assert.equal(await isFramed(attacker, `${hub}/hub/home`), false)
  const socket = `${own.replace('http', 'ws')}/api/kernels/${kernel}/channels`
  assert.equal(await openWebSocket(attacker, socket), 'refused')

  for (const target of targetsOf({ product, hub, ownServer })) {
    for (const mode of ['cors', 'no-cors']) {
      await post(attacker, target, { mode, type: 'application/x-www-form-urlencoded' })
      await post(attacker, target, { mode })
    }
  }
  for (const method of ['DELETE', 'PUT', 'PATCH']) await post(attacker, `${own}/api/kernels/${kernel}`, { method })
  for (const path of ['hub/logout', 'hub/spawn', `user/${product.admin}/logout`]) {
    await load(attacker, 'img', `${hub}/${path}`)
    await load(attacker, 'iframe', `${hub}/${path}`)
    await load(attacker, 'img', `${ownServer}/${path}`)
  }
}

function targetsOf({ product, hub, ownServer }: Omit<HostilePlace, 'bobsServer'>): string[] {
  const own = `${ownServer}/user/${product.admin}`
  return [`${hub}/hub/admin/config`, `${hub}/hub/stop`, `${hub}/hub/visit/ann`, `${own}/api/kernels`]
}

/** In a sandbox, forms are not sent at all. */
async function attackByForms(attacker: Page, place: HostilePlace): Promise<void> {
  for (const target of targetsOf(place)) await sendForm(attacker, target)
}

/** Whether the browser shows the address in a frame of the page: what it refuses to, it replaces by a page of its own. */
async function isFramed(page: Page, url: string): Promise<boolean> {
  await frame(page, url)
  return page.frames().some(one => one !== page.mainFrame() && one.url().startsWith(url))
}

/** Bob knows a session that is valid: his own. With it beside the administrator's, the browser is nobody's. */
async function plantsInVain(attacker: Page, { product, hub }: HostilePlace, home: Page): Promise<void> {
  const bob = await home.context().browser()?.newContext({ baseURL: hub })
  assert.ok(bob)
  const his = await bob.newPage()
  await logIn(his, 'bob', studentPassword)
  const token = (await bob.cookies(hub)).find(({ name }) => name === 'tljh-session')?.value
  assert.ok(token)
  const { hostname } = new URL(hub)
  await plantCookie(attacker, `tljh-session=${token}; path=/hub; domain=${hostname}`)
  const sent = async () =>
    (await home.context().cookies(`${hub}/hub/home`)).filter(({ name }) => name === 'tljh-session')
  // The page can do that; the browser takes it in a moment later.
  while ((await sent()).length < 2) await delay(50)

  await home.goto(`${hub}/hub/home`)
  await home.getByRole('button', { name: 'Log in' }).waitFor()
  await logIn(home, product.admin, product.adminPassword)
  assert.match((await home.locator('.who').textContent()) ?? '', new RegExp(`${product.admin}\\s+administrator`))
  await his.goto('/hub/home')
  await his.getByRole('button', { name: 'Log in' }).waitFor()
  await bob.close()
}

/** Asked by a page of that server's itself. */
async function kernelsOf(lab: Page): Promise<string[]> {
  const base = new URL(lab.url()).pathname.replace(/\/lab.*/, '')
  const kernels = await lab.evaluate(`fetch('${base}/api/kernels').then(answer => answer.json())`)
  return (kernels as { id: string }[]).map(({ id }) => id)
}
