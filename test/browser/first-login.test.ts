/** The first stone: from a login page that was never seen before to a notebook that computes, for two people at once. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Page } from 'playwright-core'
import { openBrowser, screenshot } from '../harness/people/browser.ts'
import { makeGate, onStart } from '../harness/people/held-starts.ts'
import { arriveInLab, fillInLogin, logIn, newNotebook, runCell } from '../harness/people/page-actions.ts'
import { claiming } from '../harness/product/classroom.ts'
import { bootProduct } from '../harness/product/product.ts'

const product = await bootProduct({
  config: `users:\n  allowed: [ann, bob, cleo]\nadmins:\n  open_servers: true\n${claiming}`,
})
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

test('a link for the class leads a newcomer through login and start to its page, with its query as it was', async () => {
  const { page } = await browser.newPerson()
  const query = '?repo=https%3A%2F%2Fx.invalid%2Fy%3Fa%3D1%26b&urlpath=lab%2Ftree%2Fa%20b.ipynb&empty='
  await page.goto(`/hub/user-redirect/git-pull${query}`)
  await fillInLogin(page, 'cleo')
  await page.waitForURL(`${product.url}/user/cleo/git-pull${query}`)
  await page
    .getByText(/https:\/\/x\.invalid\/y/)
    .first()
    .waitFor()
})

test('two students log in for the first time, compute at the same time, and cannot reach each other', async () => {
  const ann = await browser.newPerson()
  const bob = await browser.newPerson()
  // Ann's server starts when she has seen that it is being started.
  const gate = await makeGate(product.host, 'ann')
  await onStart(product.host, 'ann', gate.wait)

  await ann.page.goto('/')
  await screenshot(ann.page, 'first-login-1-login')
  await fillInLogin(ann.page, 'ann')
  await ann.page.getByRole('heading', { name: 'Starting your server' }).waitFor()
  await ann.page.getByRole('status').filter({ hasText: 'Starting JupyterLab' }).waitFor()
  await ann.page.getByRole('progressbar', { name: 'Starting your server' }).waitFor()
  await screenshot(ann.page, 'first-login-2-progress')
  const bobArrives = fillInFrontDoor(bob.page, 'bob')
  await gate.open()
  await Promise.all([arriveInLab(ann.page, 'ann'), bobArrives])
  await screenshot(ann.page, 'first-login-3-lab')

  await Promise.all([newNotebook(ann.page), newNotebook(bob.page)])
  assert.equal(await runCell(ann.page, '6*7'), '42')
  await screenshot(ann.page, 'first-login-4-notebook')
  assert.equal(await runCell(bob.page, '6*7'), '42')

  const second = await bob.newPage()
  const refusal = await second.goto('/user/ann/lab')
  assert.equal(refusal?.status(), 403)
  const words = await second.locator('body').textContent()
  assert.match(words ?? '', /This is not your server/)
  await screenshot(second, 'first-login-5-not-yours')
  const nobody = await second.goto('/user/nobody-has-this-name/lab')
  assert.equal(nobody?.status(), 403)
  assert.equal(await second.locator('body').textContent(), words)
  await second.close()

  await product.host.run(['test', '-S', '/run/tljh/users/ann/socket'])
  await product.host.run(['test', '-d', '/home/jupyter-ann'])
  const told = await runCell(bob.page, reachForAnn)
  assert.match(told, /^list \/home\/jupyter-ann: (PermissionError|FileNotFoundError)$/m)
  assert.match(told, /^read her notebook: (PermissionError|FileNotFoundError)$/m)
  assert.match(told, /^her socket: (PermissionError|FileNotFoundError)$/m)
  assert.doesNotMatch(told, /reached/)
  await screenshot(bob.page, 'first-login-6-bob-reaches')

  assert.deepEqual(ann.complaints(), [])
  assert.deepEqual(
    bob.complaints().filter(text => !/403/.test(text)),
    [],
  )
})

test('an administrator opens a student’s server', async () => {
  const admin = await browser.newPerson()
  await logIn(admin.page, product.admin, product.adminPassword)
  await admin.page.goto('/user/ann/lab')
  await admin.page.getByRole('button', { name: 'Open ann’s server' }).click()
  await admin.page.locator('.jp-DirListing-item', { hasText: 'Untitled.ipynb' }).waitFor()
  await screenshot(admin.page, 'first-login-7-admin-at-anns')
  assert.deepEqual(admin.complaints(), [])
})

test('JupyterLab’s menu leads to the hub’s home page and out', async () => {
  const cleo = await browser.newPerson()
  await fillInFrontDoor(cleo.page, 'cleo')

  const home = cleo.page.waitForEvent('popup')
  await chooseInFileMenu(cleo.page, 'Hub Control Panel')
  const hub = await home
  await hub.waitForURL(`${product.url}/hub/home`)
  await hub.getByRole('link', { name: 'Open my server' }).waitFor()
  await hub.close()

  await chooseInFileMenu(cleo.page, 'Log Out')
  await cleo.page.waitForURL(`${product.url}/hub/login`)
  await cleo.page.getByRole('button', { name: 'Log in' }).waitFor()
  await cleo.page.goto('/user/cleo/lab')
  assert.equal(new URL(cleo.page.url()).pathname, '/hub/login')
})

/** Bob's own code, in his own kernel. */
const reachForAnn = `
import os, socket
def attempt(name, action):
    try:
        print(f"{name}: reached {action()!r}")
    except OSError as error:
        print(f"{name}: {type(error).__name__}")
attempt("list /home/jupyter-ann", lambda: os.listdir("/home/jupyter-ann"))
attempt("read her notebook", lambda: open("/home/jupyter-ann/Untitled.ipynb").read())
attempt("her socket", lambda: socket.socket(socket.AF_UNIX).connect("/run/tljh/users/ann/socket"))
`

async function fillInFrontDoor(page: Page, username: string): Promise<void> {
  await page.goto('/')
  await fillInLogin(page, username)
  await arriveInLab(page, username)
}

async function chooseInFileMenu(page: Page, item: string): Promise<void> {
  await page.getByRole('menuitem', { name: 'File', exact: true }).click()
  await page.getByRole('menuitem', { name: item }).click()
}
