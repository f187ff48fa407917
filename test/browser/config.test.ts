/** The configuration in the browser, as administrators meet it. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Page } from 'playwright-core'
import { inspect, openBrowser, type Person, screenshot } from '../harness/people/browser.ts'
import { arriveInLab, fillInLogin, logIn } from '../harness/people/page-actions.ts'
import { claiming } from '../harness/product/classroom.ts'
import { bootProduct } from '../harness/product/product.ts'

const first = `# The class of 2026\nusers:\n  allowed: [ ann, bob ]\n  admin: [ admin ]\n${claiming}limits:\n  memory: 2G\n`
const configFile = '/opt/tljh/config/config.yaml'

const product = await bootProduct({ config: first })
const { host } = product
const browser = await openBrowser(product)
after(async () => {
  await browser[Symbol.asyncDispose]()
  await product[Symbol.asyncDispose]()
})

test('an administrator sees a mistake while typing, mends it, sees the plan, applies it, and it counts at once', async () => {
  const ann = await browser.newPerson()
  await ann.page.goto('/')
  await fillInLogin(ann.page, 'ann')
  await arriveInLab(ann.page, 'ann')
  const { page, complaints } = await openAsAdmin({ inspects: true })
  assert.equal(await written(page), await onDisk())
  await page.getByText('Nothing is changed yet.').waitFor()
  await inspect(page, 'config')

  await write(page, first.replace('memory: 2G', 'memroy: 1G'))
  const mistake = page.getByRole('listitem').filter({ hasText: 'limits.memroy is set' })
  await mistake.getByText('there is no such key').waitFor()
  await mistake.getByText('Did you mean limits.memory?').waitFor()
  await page.getByRole('status').getByText('There is 1 mistake.').waitFor()
  assert.equal(await page.locator('.cm-lintRange-error').textContent(), 'memroy:')
  await inspect(page, 'config-mistake')
  await mistake.getByRole('button', { name: 'error, line 7' }).click()
  await page.keyboard.press('F8')
  await page.locator('.cm-tooltip').getByText('Did you mean limits.memory?').waitFor()

  await write(page, first.replace('memory: 2G', 'memory: 1G'))
  const plan = page.getByRole('list').filter({ hasText: 'the server of ann gets its new limits at once' })
  await plan.getByText('the limits of each server become: 1 GB of memory').waitFor()
  await page.getByText('This is valid.').waitFor()
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByRole('heading', { name: 'Apply this?' }).waitFor()
  await page.getByText('the server of ann gets its new limits at once').waitFor()
  const difference = page.getByRole('region', { name: 'What changes in the file' })
  assert.match((await difference.textContent()) ?? '', /^- {2}memory: 2G\n\+ {2}memory: 1G$/m)
  await inspect(page, 'config-review')
  await page.getByRole('button', { name: 'Apply', exact: true }).click()

  await page.getByText('In force now').waitFor()
  assert.equal(await memoryMax('ann'), String(1024 ** 3))
  assert.equal(await onDisk(), first.replace('2G', '1G'))
  await page.getByText(/By admin, edit in the browser/).waitFor()
  await page.getByText('To go back').waitFor()
  await inspect(page, 'config-applied')

  await page.getByRole('link', { name: 'All versions' }).click()
  const newest = page.getByRole('listitem').filter({ hasText: 'in force' })
  await newest.getByText('admin, edit in the browser').waitFor()
  await inspect(page, 'config-history')
  await page.getByRole('link', { name: 'Version 1', exact: true }).click()
  await inspect(page, 'config-version')
  await page.getByRole('link', { name: 'Put this one in the editor' }).click()
  await page.getByText('Version 1, not applied yet').waitFor()
  assert.equal(await written(page), first)
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByRole('button', { name: 'Apply', exact: true }).click()
  await page.getByText('In force now').waitFor()
  assert.equal(await memoryMax('ann'), String(2 * 1024 ** 3))
  assert.deepEqual(complaints(), [])
})

test('keys are offered while an administrator types, each with what it is for', async () => {
  const { page, complaints } = await openAsAdmin()
  const before = await onDisk()
  await page.getByRole('textbox', { name: 'The file' }).press('Control+End')
  await page.keyboard.type('  sw')
  await page.getByRole('option', { name: 'swap' }).waitFor()
  await page.getByText('Swap that each user’s server may use').waitFor()
  await inspect(page, 'config-completion')
  await page.keyboard.press('Enter')
  await page.keyboard.type('1G')
  await page.getByText('This is valid.').waitFor()
  assert.equal(await written(page), `${before}  swap: 1G`)
  assert.deepEqual(complaints(), [])
})

test('a student gets neither the page nor the link to it', async () => {
  const { page } = await browser.newPerson()
  await logIn(page, 'bob')
  assert.equal(await page.getByRole('link', { name: 'Configuration' }).count(), 0)
  for (const path of ['', '/history', '/history/1']) {
    assert.equal((await page.goto(`/hub/admin/config${path}`))?.status(), 403)
    await page.getByRole('heading', { name: 'This page is for administrators' }).waitFor()
  }
  await inspect(page, 'config-student')
})

test('a wrong password opens nothing', async () => {
  const { page } = await browser.newPerson()
  await logIn(page, product.admin, product.adminPassword)
  await page.getByRole('link', { name: 'Configuration' }).click()
  await page.getByLabel('Password').fill('not the password')
  await page.getByRole('button', { name: 'Go on' }).click()
  await page.getByRole('alert').getByText('That is not your password').waitFor()
  await inspect(page, 'config-password-wrong')
  for (const path of ['', '/history', '/history/1']) {
    await page.goto(`/hub/admin/config${path}`)
    await page.getByRole('heading', { name: 'Your password, again' }).waitFor()
    assert.doesNotMatch(await page.content(), /2026/)
  }
})

test('without script it is a text field, and mistakes are told when it is sent', async () => {
  const { page, complaints } = await openAsAdmin({ javaScriptEnabled: false })
  const field = page.getByLabel('The file')
  assert.equal(await field.inputValue(), await onDisk())
  await field.fill(`${first}branding:\n  titel: Statistics\n`)
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByRole('alert').getByText('there is a mistake in the text').waitFor()
  await page.getByText('Did you mean branding.title?').waitFor()
  await screenshot(page, 'config-without-script')
  assert.equal(await field.inputValue(), `${first}branding:\n  titel: Statistics\n`)

  await field.fill(`${first}branding:\n  title: Statistics\n`)
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByText('title and message of the pages change now').waitFor()
  await page.getByRole('button', { name: 'Go on editing' }).click()
  assert.equal(await field.inputValue(), `${first}branding:\n  title: Statistics\n`)
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByRole('button', { name: 'Apply', exact: true }).click()
  await page.getByText('In force now').waitFor()
  assert.equal(await onDisk(), `${first}branding:\n  title: Statistics\n`)
  await page.getByRole('link', { name: 'Statistics' }).waitFor()
  assert.deepEqual(
    complaints().filter(text => !/422/.test(text)),
    [],
  )
})

test('what somebody else has changed meanwhile is not overwritten, and what was typed is not lost', async () => {
  const { page } = await openAsAdmin()
  const mine = `${await onDisk()}state:\n  history: 50\n`
  await write(page, mine)
  await page.getByText('This is valid.').waitFor()
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByText('50 earlier configurations are kept').waitFor()

  const theirs = `${await onDisk()}  # mind the projector\n`
  await host.writeFile(configFile, theirs, { mode: 0o640, group: 'tljh-hub' })
  await page.getByRole('button', { name: 'Apply', exact: true }).click()

  await page.getByRole('alert').getByText('somebody else has changed the configuration').waitFor()
  assert.equal(await onDisk(), theirs)
  assert.equal(await written(page), mine)
  const theirText = page.getByRole('region', { name: 'The file as it is now', exact: true })
  assert.equal(await theirText.textContent(), theirs)
  await inspect(page, 'config-stale')

  await write(page, `${theirs}state:\n  history: 50\n`)
  await page.getByText('This is valid.').waitFor()
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByRole('button', { name: 'Apply', exact: true }).click()
  await page.getByText('In force now').waitFor()
  assert.equal(await onDisk(), `${theirs}state:\n  history: 50\n`)
})

test('a form that comes when the password is asked for again keeps the text', async () => {
  const { page } = await openAsAdmin()
  const mine = `${await onDisk()}# one more line\n`
  await write(page, mine)
  // A hub that was started anew has forgotten who has given a password.
  await host.run(['systemctl', 'restart', 'tljh-hub.service'])
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByText('What you have typed is kept.').waitFor()
  await inspect(page, 'config-password-kept')
  await givePassword(page)
  await page.getByRole('heading', { name: 'Apply this?' }).waitFor()
  await page.getByRole('button', { name: 'Go on editing' }).click()
  assert.equal(await written(page), mine)
})

test('who works with the keyboard alone reaches everything, and leaves the editor with Tab', async () => {
  const { page } = await openAsAdmin()
  await page.getByRole('link', { name: 'Earlier versions' }).focus()
  await page.keyboard.press('Tab')
  await page.keyboard.press('Control+End')
  await page.keyboard.type('# by hand')
  await page.getByText('This is valid.').waitFor()
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Apply this?' }).waitFor()
})

test('what cannot be applied just now is said with the reason, and kept', async t => {
  const { page } = await openAsAdmin()
  const before = await onDisk()
  const mine = `${before}# and one more\n`
  await write(page, mine)
  await page.getByRole('button', { name: 'Review and apply' }).click()
  const lock = '/opt/tljh/config/config.lock'
  t.after(() => host.run(['systemctl', 'stop', 'holder'], { check: false }))
  await host.run(['systemd-run', '--unit=holder', 'flock', lock, 'sleep', 'infinity'])
  await host.run(['sh', '-euc', 'while flock --nonblock "$1" true; do sleep 0.05; done', 'sh', lock])
  await page.getByRole('button', { name: 'Apply', exact: true }).click()
  await page.getByRole('alert').getByText('The configuration cannot be changed just now').waitFor()
  assert.equal(await written(page), mine)
  assert.equal(await onDisk(), before)

  await host.run(['systemctl', 'stop', 'holder'])
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByRole('button', { name: 'Apply', exact: true }).click()
  await page.getByText('In force now').waitFor()
  assert.equal(await onDisk(), mine)
})

test('a hub that moves to another port says where it goes before it does', async () => {
  const { page } = await openAsAdmin()
  await write(page, `${first}http:\n  port: 8080\n`)
  await page.getByText('the hub moves from').waitFor()
  await page.getByRole('button', { name: 'Review and apply' }).click()
  await page.getByRole('button', { name: 'Apply', exact: true }).click()
  await page.getByRole('heading', { name: 'The hub moves' }).waitFor()
  await page.getByText('it answers at port 8080 below /').waitFor()
  await inspect(page, 'config-moving')
  await host.run(['sh', '-euc', 'until curl --silent --fail --output /dev/null "$1"; do sleep 0.1; done', 'sh', moved])
})

const moved = 'http://127.0.0.1:8080/hub/login'

interface Opening {
  javaScriptEnabled?: boolean
  /** Looks at the page that asks for the password, too. */
  inspects?: boolean
}

/** Logs the administrator in, and opens the editor. */
async function openAsAdmin({ javaScriptEnabled = true, inspects = false }: Opening = {}): Promise<Person> {
  const person = await browser.newPerson({ javaScriptEnabled })
  await logIn(person.page, product.admin, product.adminPassword)
  await person.page.getByRole('link', { name: 'Configuration' }).click()
  if (inspects) await inspect(person.page, 'config-password')
  await givePassword(person.page)
  await person.page.getByRole('heading', { name: 'Configuration', exact: true }).waitFor()
  if (javaScriptEnabled) await person.page.locator('.cm-editor').waitFor()
  return person
}

async function givePassword(page: Page): Promise<void> {
  await page.getByLabel('Password').fill(product.adminPassword)
  await page.getByRole('button', { name: 'Go on' }).click()
}

/** Replaces what is in the editor, as a person does. */
async function write(page: Page, text: string): Promise<void> {
  const editor = page.getByRole('textbox', { name: 'The file' })
  await editor.press('Control+a')
  await editor.press('Delete')
  await page.keyboard.insertText(text)
}

/** What the form would send. */
function written(page: Page): Promise<string> {
  return page.locator('#config-text').inputValue()
}

function onDisk(): Promise<string> {
  return host.run(['cat', configFile]).then(({ stdout }) => stdout)
}

async function memoryMax(user: string): Promise<string> {
  const unit = `tljh-user-${user}.service`
  return (await host.run(['systemctl', 'show', '--value', '--property=MemoryMax', unit])).stdout.trim()
}
