/** Logging in at a real provider of OpenID Connect, in a real browser. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import type { Page } from 'playwright-core'
import { inspect, openBrowser, type Person, type TestBrowser } from '../harness/people/browser.ts'
import { bootProduct, checkoutProgram, type Product, TLJH_TS } from '../harness/product/product.ts'

const port = 9500

const config = `
users: {allowed: [ann, bob], banned: [tutor-mallory]}
auth:
  type: [firstuse, generic-oauth, keycloak]
  GenericOAuthenticator:
    client_id: posting
    client_secret: 'known to hub & provider: 100%'
    issuer: http://127.0.0.1:${port}
    login_service: My School
    allowed_groups: [tutors]
  KeycloakOAuthenticator:
    client_id: basic
    client_secret: 'known to hub & provider: 100%'
    basic_auth: true
    issuer: http://127.0.0.1:${port}
`

let product: Product
let browser: TestBrowser

before(async () => {
  product = await bootProduct({ config })
  const callback = `${product.url}/hub/oauth_callback`
  const provider = await product.host.start([
    ...checkoutProgram('test/harness/peers/openid-provider.ts'),
    String(port),
    callback,
  ])
  const [line] = await once(provider.stdout, 'data')
  assert.match(String(line), /ready/)
  // As an instructor does who goes over to the school's accounts: the installer's password was for the beginning.
  await product.host.run([...TLJH_TS, 'config', 'set', 'auth.type', '[generic-oauth, keycloak]'])
  browser = await openBrowser(product)
})

after(async () => {
  await browser?.[Symbol.asyncDispose]()
  await product?.[Symbol.asyncDispose]()
})

/** The provider's own pages want a font from the internet, which a test host does not reach. */
function ownComplaints(person: Person): string[] {
  return person
    .complaints()
    .filter(text => !text.includes('fonts.googleapis.com') && !text.includes(`127.0.0.1:${port}`))
}

/** On the provider's pages. */
async function identify(page: Page, name: string): Promise<void> {
  await page.getByPlaceholder('Enter any login').fill(name)
  await page.getByPlaceholder('and password').fill('anything')
  await page.getByRole('button', { name: 'Sign-in' }).click()
  await page.getByRole('button', { name: 'Continue' }).click()
}

test('a student logs in at the school, and is at the hub’s home page', async () => {
  const ann = await browser.newPerson()
  await ann.page.goto('/hub/home')
  await ann.page.getByRole('link', { name: 'Log in with Keycloak' }).waitFor()
  assert.equal(
    await ann.page.getByLabel('Password', { exact: true }).count(),
    0,
    'there is nothing to type a password for',
  )
  await inspect(ann.page, 'external-login-1-buttons')
  await ann.page.getByRole('link', { name: 'Log in with My School' }).click()
  await identify(ann.page, 'ann')
  await ann.page.getByRole('heading', { name: 'Your server' }).waitFor()
  assert.equal(new URL(ann.page.url()).pathname, '/hub/home')
  assert.deepEqual(ownComplaints(ann), [])

  await ann.page.goto('/hub/logout')
  await ann.page.goto('/hub/login')
  assert.deepEqual(ownComplaints(ann), [])
})

test('the second login finds the same user, by a provider that wants the hub’s secret in a header', async () => {
  const bob = await browser.newPerson()
  for (const attempt of ['first', 'second']) {
    await bob.page.context().clearCookies()
    await bob.page.goto('/hub/login?next=/hub/home')
    await bob.page.getByRole('link', { name: 'Log in with Keycloak' }).click()
    await identify(bob.page, 'bob')
    await bob.page.getByRole('heading', { name: 'Your server' }).waitFor()
    assert.match((await bob.page.locator('header').textContent()) ?? '', /bob/, attempt)
  }
  assert.deepEqual(ownComplaints(bob), [])
})

test('whom only a group lets in gets in, by the way that names the group', async () => {
  const tess = await browser.newPerson()
  await tess.page.goto('/hub/login?next=/hub/home')
  await tess.page.getByRole('link', { name: 'Log in with Keycloak' }).click()
  await identify(tess.page, 'tutor-tess')
  await tess.page.getByRole('heading', { name: /You are "tutor-tess" at Keycloak, and may not enter/ }).waitFor()
  await inspect(tess.page, 'external-login-2-not-allowed')
  await tess.page.goto('/hub/login?next=/hub/home')
  await tess.page.getByRole('link', { name: 'Log in with My School' }).click()
  // The provider still knows her, and asks only whether the hub may.
  await tess.page.getByRole('button', { name: 'Continue' }).click()
  await tess.page.getByRole('heading', { name: 'Your server' }).waitFor()
})

test('whoever does not agree is not logged in, and reads why', async () => {
  const eve = await browser.newPerson()
  await eve.page.goto('/hub/login')
  await eve.page.getByRole('link', { name: 'Log in with My School' }).click()
  await eve.page.getByRole('link', { name: 'Cancel' }).click()
  await eve.page.getByText('did not agree that the hub learns who you are').waitFor()
  await eve.page.goto('/hub/home')
  assert.equal(new URL(eve.page.url()).pathname, '/hub/login')
})

test('the way back is good once: going back and forth in the browser logs nobody in', async () => {
  const ann = await browser.newPerson()
  const answers: string[] = []
  ann.page.on('request', request => {
    if (request.url().includes('/hub/oauth_callback')) answers.push(request.url())
  })
  await ann.page.goto('/hub/login?next=/hub/home')
  await ann.page.getByRole('link', { name: 'Log in with My School' }).click()
  await identify(ann.page, 'ann')
  await ann.page.getByRole('heading', { name: 'Your server' }).waitFor()
  const other = await browser.newPerson()
  await other.page.goto(answers[0] ?? '')
  await other.page.getByText('Error 400').waitFor()
  await other.page.goto('/hub/home')
  assert.equal(new URL(other.page.url()).pathname, '/hub/login')
})
