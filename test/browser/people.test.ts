/** The administrators' page of people: everything that the command line does with accounts, as far as the hub may. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Page } from 'playwright-core'
import { inspect, openBrowser } from '../harness/people/browser.ts'
import { fillInLogin, logIn, password } from '../harness/people/page-actions.ts'
import { bootProduct } from '../harness/product/product.ts'

const config = `users:
  allowed: [ann]
auth:
  type: [firstuse, native]
`
const product = await bootProduct({ config })
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

/** Does one of the things that can be done with somebody. */
async function change(page: Page, name: string, label: string): Promise<void> {
  const row = page.getByRole('row').filter({ has: page.getByRole('rowheader', { name, exact: true }) })
  await row.getByText('Change').click()
  await row.getByRole('button', { name: label }).click()
}

async function status(page: Page, text: string | RegExp): Promise<void> {
  await page.getByRole('status').filter({ hasText: text }).waitFor()
}

/** The administrator, who has just given the password: it counts for ten minutes. */
async function adminAnew(): Promise<Page> {
  const { page } = await browser.newPerson()
  await logIn(page, product.admin, product.adminPassword)
  await page.goto('/hub/confirm?next=/hub/admin')
  await page.getByLabel('Password').fill(product.adminPassword)
  await page.getByRole('button', { name: 'Go on' }).click()
  await page.getByRole('heading', { name: 'Everybody' }).waitFor()
  return page
}

async function file(): Promise<string> {
  return (await product.host.run(['cat', '/opt/tljh/config/config.yaml'])).stdout
}

test('the page wants the password before anything is done', async () => {
  const { page } = await browser.newPerson()
  await logIn(page, product.admin, product.adminPassword)
  await page.getByRole('link', { name: 'People' }).click()
  await inspect(page, 'people')
  await change(page, 'ann', 'New one-time code')
  await page.getByText('your password was given too long ago').waitFor()
  // In another tab: what was typed here stays.
  const opened = page.waitForEvent('popup')
  await page.getByRole('link', { name: 'give your password again' }).click()
  const other = await opened
  await inspect(other, 'confirm')
  await other.getByLabel('Password').fill('not the password')
  await other.getByRole('button', { name: 'Go on' }).click()
  await other.getByText('That is not your password').waitFor()
  await other.getByLabel('Password').fill(product.adminPassword)
  await other.getByRole('button', { name: 'Go on' }).click()
  await other.getByRole('heading', { name: 'Everybody' }).waitFor()
  await other.close()
  await page.goto('/hub/admin')
  await page.getByRole('heading', { name: 'Everybody' }).waitFor()
})

test('who is added gets a code, and comes in with it', async () => {
  const page = await adminAnew()
  await page.getByLabel('User names, one on each line').fill('ben\n Cleo ')
  await page.getByLabel('Group (may be empty)').fill('tutors')
  await page.getByRole('button', { name: 'Add them, and make one-time codes' }).click()
  await page.getByRole('heading', { name: 'One-time codes' }).waitFor()
  await inspect(page, 'credentials')
  const slip = page.getByRole('listitem').filter({ hasText: 'ben' })
  const code = (await slip.locator('code').first().textContent()) ?? ''
  assert.match(await file(), /cleo/)
  assert.match((await product.host.run(['tljh-ts', 'config', 'log'])).stdout, /admin.*add 2 people in the browser/)

  const ben = await browser.newPerson()
  await ben.page.goto('/hub/login?next=/hub/home')
  await fillInLogin(ben.page, 'ben', code)
  await ben.page.getByLabel('New password', { exact: true }).fill(password)
  await ben.page.getByLabel('New password, again').fill(password)
  await ben.page.getByRole('button', { name: 'Take this password' }).click()
  await ben.page.getByRole('heading', { name: 'Your server' }).waitFor()

  await page.goto('/hub/admin')
  await change(page, 'ben', 'Shut out')
  await status(page, 'ben may not enter any more')
  await ben.page.goto('/hub/home')
  await ben.page.getByRole('heading', { name: 'Log in' }).waitFor()
  await change(page, 'ben', 'Let in again')
  await status(page, 'ben may enter again')
  await fillInLogin(ben.page, 'ben')
  await ben.page.getByRole('heading', { name: 'Your server' }).waitFor()
})

test('an administrator is made and unmade, and cannot shut out himself', async () => {
  const page = await adminAnew()
  await change(page, 'cleo', 'Make administrator')
  await status(page, 'cleo is an administrator now')
  await change(page, 'cleo', 'No administrator any more')
  await status(page, 'cleo is no administrator any more')
  assert.doesNotMatch(await file(), /admin:.*cleo/)
  const row = page.getByRole('row').filter({ has: page.getByRole('rowheader', { name: product.admin, exact: true }) })
  await row.getByText('Change').click()
  assert.equal(await row.getByRole('button', { name: 'Shut out' }).count(), 0)
})

test('who signs up waits, is approved, and comes in with the password chosen then', async () => {
  const zoe = await browser.newPerson()
  await zoe.page.goto('/hub/signup')
  await zoe.page.getByLabel('User name').fill('zoe')
  await zoe.page.getByLabel('Password', { exact: true }).fill(password)
  await zoe.page.getByLabel('Password, again').fill(password)
  await zoe.page.getByRole('button', { name: 'Sign up' }).click()
  await zoe.page.getByRole('heading', { name: 'Thank you' }).waitFor()

  const page = await adminAnew()
  await inspect(page, 'people-waiting')
  await page.getByRole('button', { name: 'Approve: zoe' }).click()
  await status(page, 'zoe may enter')
  await zoe.page.goto('/hub/login?next=/hub/home')
  await fillInLogin(zoe.page, 'zoe')
  await zoe.page.getByRole('heading', { name: 'Your server' }).waitFor()
})

test('a sign-up under a name that the file has gets nothing, whoever approves it', async () => {
  const thief = await browser.newPerson()
  await thief.page.goto('/hub/signup')
  await thief.page.getByLabel('User name').fill('ann')
  await thief.page.getByLabel('Password', { exact: true }).fill(password)
  await thief.page.getByLabel('Password, again').fill(password)
  await thief.page.getByRole('button', { name: 'Sign up' }).click()
  await thief.page.getByRole('heading', { name: 'Thank you' }).waitFor()
  const page = await adminAnew()
  assert.equal(await page.getByRole('button', { name: 'Approve: ann' }).count(), 0)
  await thief.page.goto('/hub/login')
  await fillInLogin(thief.page, 'ann')
  await thief.page.getByText('You are not logged in').waitFor()
})

test('a class list is shown as it will be, then imported', async () => {
  const page = await adminAnew()
  await page.goto('/hub/admin/import')
  await page.getByLabel('A file').setInputFiles({
    name: 'class.csv',
    mimeType: 'text/csv',
    buffer: Buffer.from('Nachname;Vorname\r\nMüller;Jörg\r\nGroß;Zoë\r\n', 'latin1'),
  })
  await page.getByLabel('Group (may be empty)').fill('class-7b')
  await page.getByRole('button', { name: 'Show what will happen' }).click()
  await page.getByText('Nothing has happened yet').waitFor()
  await inspect(page, 'import-list')
  await page.getByRole('row').filter({ hasText: 'Jörg Müller' }).waitFor()
  assert.doesNotMatch(await file(), /class-7b/)
  await page.getByRole('button', { name: 'Let them in, and make one-time codes' }).click()
  await page.getByRole('heading', { name: 'One-time codes' }).waitFor()
  assert.match(await file(), /class-7b/)
  const slips = page.getByRole('listitem').filter({ hasText: 'Code:' })
  await slips.nth(1).waitFor()
  assert.equal(await slips.count(), 2)
})

test('somebody is archived and deleted', async () => {
  const zoe = await browser.newPerson()
  await zoe.page.goto('/hub/login')
  await fillInLogin(zoe.page, 'zoe')
  await zoe.page.waitForURL(/\/user\/zoe\/lab/)
  const page = await adminAnew()
  await change(page, 'zoe', 'Archive and delete')
  await inspect(page, 'archive')
  await page.getByRole('button', { name: 'Archive and delete' }).click()
  // After twenty seconds, the page does not wait for the end of it.
  await status(page, /zoe is (gone|out)/)
  // It is written when all is done, and a moment later than it is told.
  const isWritten = 'until tljh-ts audit --user zoe | grep "admin deleted the account of zoe"; do sleep 0.2; done'
  await product.host.run(['sh', '-c', isWritten], { timeoutMs: 5 * 60_000 })
  const { code } = await product.host.run(['getent', 'passwd', 'jupyter-zoe'], { check: false })
  assert.notEqual(code, 0)
  assert.match((await product.host.run(['ls', '/opt/tljh/archives'])).stdout, /^zoe-.*\.tar\.zst$/m)
})

test('a student sees nothing of it', async () => {
  const ben = await browser.newPerson()
  await logIn(ben.page, 'ben')
  assert.equal(await ben.page.getByRole('link', { name: 'People' }).count(), 0)
  for (const path of ['/hub/admin', '/hub/admin/import', '/hub/admin/config']) {
    assert.equal((await ben.page.goto(path))?.status(), 403, path)
  }
})
