/** Coming in for the first time, and one's own account: codes, passwords, the second factor, sign-up and visits without an account. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { Secret, TOTP } from 'otpauth'
import type { Page } from 'playwright-core'
import { inspect, openBrowser } from '../harness/people/browser.ts'
import { fillInLogin, password } from '../harness/people/page-actions.ts'
import { bootProduct } from '../harness/product/product.ts'

const config = `users:
  allowed: [ann, bob]
admins:
  second_factor: required
auth:
  type: [firstuse, native, tmp]
  NativeAuthenticator:
    ask_email_on_signup: true
    allowed_email_domains: [school.example]
`
const product = await bootProduct({ config })
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

async function invite(name: string): Promise<string> {
  const { stdout } = await product.host.run(['tljh-ts', 'user', 'invite', name])
  const code = /\b[a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4}\b/.exec(stdout)?.[0]
  assert.ok(code, stdout)
  return code
}

async function choosePassword(page: Page, typed = password): Promise<void> {
  await page.getByLabel('New password', { exact: true }).fill(typed)
  await page.getByLabel('New password, again').fill(typed)
  await page.getByRole('button', { name: 'Take this password' }).click()
}

async function logOut(page: Page): Promise<void> {
  await page.goto('/hub/home')
  await page.getByRole('link', { name: 'Log out' }).click()
  await page.getByRole('heading', { name: 'Log in' }).waitFor()
}

/** What the device shows now, once the code of that moment has not been used. */
function codeOf(key: string): string {
  return new TOTP({ secret: Secret.fromBase32(key) }).generate()
}

test('somebody new types the one-time code as the password, chooses a password, and is in', async () => {
  const { page } = await browser.newPerson()
  const code = await invite('ann')
  await page.goto('/hub/login?next=/hub/account')
  await inspect(page, 'login-doors')
  await fillInLogin(page, 'ann', password)
  await page.getByText('You are not logged in').waitFor()
  await fillInLogin(page, 'ann', code.toUpperCase().replaceAll('-', ' '))
  await page.getByRole('heading', { name: 'Choose your password' }).waitFor()
  await inspect(page, 'choose-password')
  await choosePassword(page, 'short')
  await page.getByText('you need at least').waitFor()
  await choosePassword(page)
  await page.getByRole('heading', { name: 'Your account' }).waitFor()
  await logOut(page)
  await fillInLogin(page, 'ann', code)
  await page.getByText('You are not logged in').waitFor()
})

test('the link that comes with a code leads to the same page', async () => {
  const { page } = await browser.newPerson()
  const code = await invite('bob')
  await page.goto(`/hub/welcome?user=bob&code=${code}`)
  await choosePassword(page)
  await page.waitForURL(/\/hub\/spawn-pending\/bob|\/user\/bob\//)
})

test('a student switches the second factor on, needs it from then on, and switches it off', async () => {
  const { page } = await browser.newPerson()
  await page.goto('/hub/login?next=/hub/account')
  await fillInLogin(page, 'ann')
  await page.getByRole('heading', { name: 'Your account' }).waitFor()
  await inspect(page, 'account')
  await page.locator('#on-password').fill('not the password')
  await page.getByRole('button', { name: 'Set it up' }).click()
  await page.getByText('That is not your password').waitFor()
  await page.locator('#on-password').fill(password)
  await page.getByRole('button', { name: 'Set it up' }).click()
  await page.getByRole('heading', { name: 'Set up a second factor' }).waitFor()
  await inspect(page, 'new-second-factor')
  const key = ((await page.locator('.key code').textContent()) ?? '').replaceAll(' ', '')
  await page.getByRole('textbox', { name: 'Code' }).fill('000000')
  await page.getByRole('button', { name: 'Switch it on' }).click()
  await page.getByText('That code is not right').waitFor()
  assert.equal(((await page.locator('.key code').textContent()) ?? '').replaceAll(' ', ''), key, 'the same key')
  await page.getByRole('textbox', { name: 'Code' }).fill(codeOf(key))
  await page.getByRole('button', { name: 'Switch it on' }).click()
  await page.getByRole('heading', { name: 'Keep these codes' }).waitFor()
  await inspect(page, 'recovery-codes')
  const [recovery = '', another = ''] = await page.locator('.codes code').allTextContents()
  await page.getByRole('link', { name: 'I have kept them' }).click()

  await logOut(page)
  await page.goto('/hub/login?next=/hub/home')
  await fillInLogin(page, 'ann')
  await page.getByRole('heading', { name: 'Your code' }).waitFor()
  await inspect(page, 'second-factor')
  const home = await page.request.get('/hub/home', { maxRedirects: 0, headers: { accept: 'text/html' } })
  assert.equal(home.status(), 302, 'in between, she is nobody')
  await page.getByRole('textbox', { name: 'Code' }).fill('123456')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByText('That code is not right').waitFor()
  await page.getByRole('textbox', { name: 'Code' }).fill(recovery)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('heading', { name: 'Your server' }).waitFor()

  await logOut(page)
  await page.goto('/hub/login?next=/hub/home')
  await fillInLogin(page, 'ann')
  await page.getByRole('textbox', { name: 'Code' }).fill(recovery)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByText('That code is not right').waitFor()
  await page.getByRole('textbox', { name: 'Code' }).fill(another)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('heading', { name: 'Your server' }).waitFor()
})

test('a changed password ends every other session, and not this one', async () => {
  const here = await browser.newPerson()
  const elsewhere = await browser.newPerson()
  for (const { page } of [here, elsewhere]) {
    await page.goto('/hub/login?next=/hub/account')
    await fillInLogin(page, 'bob')
    await page.getByRole('heading', { name: 'Your account' }).waitFor()
  }
  await here.page.getByLabel('Password now').fill(password)
  await here.page.getByLabel('New password', { exact: true }).fill('another good password')
  await here.page.getByLabel('New password, again').fill('another good password')
  await here.page.getByRole('button', { name: 'Change the password' }).click()
  await here.page.getByText('Your password is changed').waitFor()
  await elsewhere.page.goto('/hub/home')
  await elsewhere.page.getByRole('heading', { name: 'Log in' }).waitFor()
})

test('an administrator who must have a second factor sets one up at the login', async () => {
  const { page } = await browser.newPerson()
  await page.goto('/hub/login?next=/hub/home')
  await fillInLogin(page, product.admin, product.adminPassword)
  await page.getByRole('heading', { name: 'Set up a second factor' }).waitFor()
  const key = ((await page.locator('.key code').textContent()) ?? '').replaceAll(' ', '')
  await page.getByRole('textbox', { name: 'Code' }).fill(codeOf(key))
  await page.getByRole('button', { name: 'Switch it on' }).click()
  await page.getByRole('link', { name: 'I have kept them' }).click()
  await page.getByRole('heading', { name: 'Your server' }).waitFor()
})

test('somebody signs up: with a password that everybody has, not; with an address of another school, not; then waits', async () => {
  const { page } = await browser.newPerson()
  const signUp = async (email: string, typed: string) => {
    await page.getByLabel('User name').fill('zoe')
    await page.getByLabel('E-mail address').fill(email)
    await page.getByLabel('Password', { exact: true }).fill(typed)
    await page.getByLabel('Password, again').fill(typed)
    await page.getByRole('button', { name: 'Sign up' }).click()
  }
  await page.goto('/hub/login')
  await page.getByRole('link', { name: 'Sign up for an account' }).click()
  await inspect(page, 'sign-up')
  await signUp('zoe@school.example', 'password1')
  await page.getByText('very many people have').waitFor()
  await signUp('zoe@elsewhere.example', password)
  await page.getByText('addresses of elsewhere.example are not taken here').waitFor()
  await signUp('zoe@school.example', password)
  await page.getByRole('heading', { name: 'Thank you' }).waitFor()
  await inspect(page, 'signed-up')
  await page.goto('/hub/login')
  await fillInLogin(page, 'zoe')
  await page.getByText('You are not logged in').waitFor()
})

test('a visit without an account has a server, and goes with the visit', async () => {
  const { page } = await browser.newPerson()
  await page.goto('/hub/login')
  await page.getByRole('button', { name: 'Start without an account' }).click()
  await page.waitForURL(/\/user\/tmp-/)
  const name = /\/user\/(tmp-[a-z0-9]{8})\//.exec(page.url())?.[1]
  assert.ok(name)
  await product.host.run(['test', '-d', `/home/jupyter-${name}`])
  await logOut(page)
  const isGone = `while getent passwd jupyter-${name} || test -e /home/jupyter-${name}; do sleep 0.2; done`
  // What could not be done at once is looked at again after a minute.
  await product.host.run(['sh', '-c', isGone], { timeoutMs: 5 * 60_000 })
})
