/** The hub's own pages, in every state that a person can meet them in. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Page } from 'playwright-core'
import { inspect, openBrowser, screenshot } from '../harness/people/browser.ts'
import { makeGate, onStart } from '../harness/people/held-starts.ts'
import { arriveInLab, fillInLogin, logIn, password } from '../harness/people/page-actions.ts'
import { claiming } from '../harness/product/classroom.ts'
import { bootProduct } from '../harness/product/product.ts'

const students = ['ann', 'bob', 'cleo', 'dora', 'emil', 'fay', 'gus', 'hana', 'ida', 'jo', 'kim']
const product = await bootProduct({
  config: `${claiming}users:\n  allowed: [${students.join(', ')}]\nadmins:\n  open_servers: true\n`,
})
const { host } = product
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

test('a wrong password is refused in words, and keeps the name', async () => {
  const { page, complaints } = await browser.newPerson()
  await logIn(page, 'ann')
  await page.context().clearCookies()

  await page.goto('/hub/login')
  await inspect(page, 'login')
  assert.deepEqual(complaints(), [])
  await fillInLogin(page, 'ann', 'not her password')

  const alert = page.getByRole('alert')
  await alert.getByText('You are not logged in').waitFor()
  await alert.getByText('the user name or the password is not right').waitFor()
  assert.equal(await page.getByLabel('User name').inputValue(), 'ann')
  assert.equal(await page.getByLabel('Password', { exact: true }).inputValue(), '')
  await inspect(page, 'login-refused')

  await page.keyboard.type(password)
  await page.keyboard.press('Enter')
  // Where the server starts; it may be there already.
  await page.waitForURL(/\/hub\/spawn-pending\/ann$|\/user\/ann\//)
})

test('a name that nobody has is refused in the same words', async () => {
  const { page } = await browser.newPerson()
  // There is an empty one before.
  const refusal = page.getByRole('alert').filter({ hasText: 'You are not logged in' })
  await page.goto('/hub/login')
  await fillInLogin(page, 'ann', 'not her password')
  const known = await refusal.textContent()
  await page.goto('/hub/login')
  await fillInLogin(page, 'nobody-has-this-name', 'not her password')
  assert.equal(await refusal.textContent(), known)
  assert.match(known ?? '', /not right/)
})

test('a form that has grown stale says so, and can be sent again', async () => {
  const { page, newPage } = await browser.newPerson()
  await page.goto('/hub/login?next=/hub/home')
  await logIn(await newPage(), 'bob')

  await fillInLogin(page, 'bob')

  await page.getByRole('alert').getByText('you have logged in or out in another tab').waitFor()
  await inspect(page, 'login-stale')
  await fillInLogin(page, 'bob')
  await page.waitForURL(`${product.url}/hub/home`)
})

test('a person logs in with the keyboard alone', async () => {
  const { page, complaints } = await browser.newPerson()
  await page.goto('/hub/login?next=/hub/home')
  // The first field has the focus as soon as the page is drawn.
  await page.locator('#username:focus').waitFor()
  await page.keyboard.type('bob')
  await page.keyboard.press('Tab')
  await page.keyboard.type(password)
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Your server' }).waitFor()

  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.locator('#main:focus').waitFor()
  await page.keyboard.press('Tab')
  await page.locator(':focus', { hasText: /^Start my server$/ }).waitFor()
  assert.deepEqual(complaints(), [])
})

test('the password can be seen while it is typed, and is hidden again when it is sent', async () => {
  const { page } = await browser.newPerson()
  await page.goto('/hub/login?next=/hub/home')
  const field = page.getByLabel('Password', { exact: true })
  await field.fill('not his password')
  await page.getByRole('button', { name: 'Show password' }).click()
  assert.equal(await field.getAttribute('type'), 'text')
  await inspect(page, 'login-password-shown')
  await page.getByRole('button', { name: 'Hide password' }).click()
  assert.equal(await field.getAttribute('type'), 'password')
})

test('the home page tells each state of the server, and follows it by itself', async () => {
  const { page, newPage, complaints } = await browser.newPerson()
  const started = await makeGate(host, 'cleo-starts')
  const stopped = await makeGate(host, 'cleo-stops')
  await onStart(host, 'cleo', `${started.wait}\nimport atexit\natexit.register(lambda: ${stopped.wait})`)
  await logIn(page, 'cleo')
  await page.getByText('Not running').waitFor()
  await inspect(page, 'home-stopped')

  const other = await newPage()
  await other.goto('/hub/home')
  await other.getByRole('button', { name: 'Start my server' }).click()
  await other.getByRole('status').filter({ hasText: 'Starting JupyterLab' }).waitFor()
  await inspect(other, 'spawn-pending')
  await page.reload()
  await page.getByText('Starting', { exact: true }).waitFor()
  await inspect(page, 'home-starting')

  await started.open()
  await arriveInLab(other, 'cleo')
  await page.getByText('Running', { exact: true }).waitFor()
  await inspect(page, 'home-ready')
  await other.close()

  await page.getByRole('button', { name: 'Stop my server' }).click()
  await page.getByText('Stopping', { exact: true }).waitFor()
  await inspect(page, 'home-stopping')
  await stopped.open()
  await page.getByText('Not running').waitFor()

  await onStart(host, 'cleo', '')
  await page.getByRole('button', { name: 'Start my server' }).click()
  await arriveInLab(page, 'cleo')
  assert.deepEqual(complaints(), [])
})

test('an address of a server that does not run has a button that leads there', async () => {
  const { page, complaints } = await browser.newPerson()
  await logIn(page, 'dora')
  await page.getByRole('button', { name: 'Start my server' }).click()
  await arriveInLab(page, 'dora')
  await host.run(['mkdir', '/home/jupyter-dora/notes'], { user: 'jupyter-dora' })
  await page.goto('/hub/home')
  await page.getByRole('button', { name: 'Stop my server' }).click()
  await page.getByText('Not running').waitFor()
  assert.deepEqual(complaints(), [])

  const answer = await page.goto('/user/dora/lab/tree/notes')
  assert.equal(answer?.status(), 424)
  await page.getByRole('heading', { name: 'dora’s server is not running' }).waitFor()
  await inspect(page, 'not-running')
  const arrived = page.waitForResponse(
    response => response.request().isNavigationRequest() && response.ok() && response.url().includes('/user/'),
  )
  await page.getByRole('button', { name: 'Start my server' }).click()

  assert.equal(new URL((await arrived).url()).pathname, '/user/dora/lab/tree/notes')
  await page.locator('.jp-BreadCrumbs').getByText('notes').waitFor()
})

test('an administrator sees whose server is not running', async () => {
  const { page } = await browser.newPerson()
  await logIn(page, product.admin, product.adminPassword)
  await inspect(page, 'home-admin')
  await page.goto('/user/emil/lab')
  await page.getByRole('button', { name: 'Open emil’s server' }).click()
  await page.getByText('This server belongs to emil').waitFor()
  await inspect(page, 'not-running-admin')
})

test('a server that dies at the start says so on the page that is open', async () => {
  const { page, complaints } = await browser.newPerson()
  const gate = await makeGate(host, 'fay')
  await onStart(host, 'fay', `${gate.wait}\n${dieAtOnce}`)
  await page.goto('/')
  await fillInLogin(page, 'fay')
  await page.getByRole('status').filter({ hasText: 'Starting JupyterLab' }).waitFor()
  await page.evaluate('window.isTheSamePage = true')

  await gate.open()

  await page.getByRole('heading', { name: 'Could not start your server' }).waitFor()
  assert.equal(await page.evaluate('window.isTheSamePage'), true)
  const failure = page.getByRole('alert')
  const log = failure.getByRole('region', { name: 'The last lines that the server wrote' })
  const lines = (await log.textContent()) ?? ''
  assert.match(lines, /^the class package is broken: <b>numpy<\/b>$/m)
  assert.match(lines, /^last word$/m)
  for (const label of ['Why', 'What to do']) await failure.getByRole('term').filter({ hasText: label }).waitFor()
  const words = (await failure.textContent()) ?? ''
  assert.match(words, /3/)
  await inspect(page, 'spawn-failed-live')
  assert.deepEqual(complaints(), [])

  await page.reload()
  await page.getByRole('heading', { name: 'Could not start your server' }).waitFor()
  assert.equal(await log.textContent(), lines)
  await inspect(page, 'spawn-failed')
  await page.goto('/hub/home')
  await page.getByText('Stopped by a problem').waitFor()
  await inspect(page, 'home-failed')
  await page.goto('/user/fay/lab')
  await page.getByRole('heading', { name: 'fay’s server is not running' }).waitFor()
  await inspect(page, 'not-running-failed')

  await onStart(host, 'fay', '')
  await page.goto('/hub/spawn-pending/fay')
  await page.getByRole('button', { name: 'Start again' }).click()
  await arriveInLab(page, 'fay')
})

test('pages that are not there, and a service that is away, are told in words', async t => {
  const { page } = await browser.newPerson()
  assert.equal((await page.goto('/hub/nothing/here'))?.status(), 404)
  await page.getByRole('heading', { name: 'There is no such page' }).waitFor()
  await page.getByRole('link', { name: 'Log in' }).waitFor()
  await inspect(page, 'not-found')
  await logIn(page, 'gus')
  assert.equal((await page.goto('/hub/nothing/here'))?.status(), 404)
  await page.getByRole('main').getByRole('link', { name: 'Home' }).click()
  await page.waitForURL(`${product.url}/hub/home`)
  await page.goto('/user/ann/lab')
  await inspect(page, 'not-yours')

  const spawner = ['tljh-spawner.socket', 'tljh-spawner.service']
  t.after(() => host.run(['systemctl', 'start', ...spawner]))
  await host.run(['systemctl', 'stop', ...spawner])
  await page.getByRole('link', { name: 'tljh-ts' }).click()
  await page.getByRole('button', { name: 'Start my server' }).click()
  await page.getByText('Error 503').waitFor()
  await inspect(page, 'spawner-away')
  await host.run(['systemctl', 'start', ...spawner])
  await page.goto('/hub/home')
  await page.getByRole('button', { name: 'Start my server' }).click()
  await arriveInLab(page, 'gus')
})

test('without scripts a student logs in, waits, and arrives', async () => {
  const { page, complaints } = await browser.newPerson({ javaScriptEnabled: false })
  const gate = await makeGate(host, 'hana')
  await onStart(host, 'hana', gate.wait)
  await page.goto('/')
  await fillInLogin(page, 'hana')
  await page.getByRole('heading', { name: 'Starting your server' }).waitFor()
  await page.waitForResponse(response => response.url().endsWith('/hub/spawn-pending/hana'))
  await page.getByText('Starting JupyterLab').first().waitFor()
  assert.notEqual(await page.getByRole('progressbar').getAttribute('value'), '0')
  await screenshot(page, 'spawn-pending-without-script')
  assert.deepEqual(complaints(), [])

  await gate.open()
  await page.waitForURL(url => url.pathname === '/user/hana/lab')
  await page.goto('/hub/home')
  await page.getByRole('button', { name: 'Stop my server' }).click()
  await page.getByText('Not running').waitFor()
  await onStart(host, 'hana', dieAtOnce)
  await page.getByRole('button', { name: 'Start my server' }).click()
  await page.getByRole('heading', { name: 'Could not start your server' }).waitFor()
  await page.getByText('the class package is broken').waitFor()
})

test('no address that came with a link leads away from the hub', async () => {
  const { page, newPage } = await browser.newPerson()
  const hosts = new Set<string>()
  page.context().on('request', request => hosts.add(new URL(request.url()).host))
  const first = await newPage()
  await first.goto('/')
  await fillInLogin(first, 'ida')
  await arriveInLab(first, 'ida')
  await first.close()

  for (const next of elsewhere) {
    const query = `?next=${encodeURIComponent(next)}`
    await page.context().clearCookies()
    await page.goto(`/hub/login${query}`)
    await fillInLogin(page, 'ida')
    await arriveAtHost(page, next)
    for (const path of ['/hub/login', '/hub/spawn', '/hub/spawn-pending/ida']) {
      await page.goto(`${path}${query}`, { waitUntil: 'commit' })
      await arriveAtHost(page, next)
    }
  }
  assert.deepEqual([...hosts], [new URL(product.url).host])
})

/** What browsers and servers have been known to read differently. */
const elsewhere = [
  'https://evil.invalid/',
  '//evil.invalid/',
  '///evil.invalid/',
  '/\\evil.invalid/',
  '\\\\evil.invalid/',
  '/\t/evil.invalid/',
  '\n//evil.invalid/',
  '/.//evil.invalid/',
  '/hub/..//evil.invalid/',
  '/%2e%2e//evil.invalid',
  'javascript:alert(1)',
  '@evil.invalid/',
  '.evil.invalid/',
  'hub/home',
]

async function arriveAtHost(page: Page, next: string): Promise<void> {
  await page.waitForURL(url => !url.pathname.startsWith('/hub/login') && !url.pathname.startsWith('/hub/spawn'), {
    waitUntil: 'commit',
  })
  assert.equal(new URL(page.url()).origin, product.url, `next=${JSON.stringify(next)} leads to ${page.url()}`)
}

const dieAtOnce = `
import sys
print("the class package is broken: <b>numpy</b>")
print("a long line: " + "x" * 300)
print("last word", flush=True)
sys.exit(3)
`
