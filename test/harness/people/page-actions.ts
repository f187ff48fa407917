/**
 * What people do at the hub and in JupyterLab, in a browser: they find things by what is written on them.
 */
import type { Page } from 'playwright-core'

export const password = 'correct horse battery'

/** Fills in the form on the page and sends it. */
export async function fillInLogin(page: Page, username: string, typed = password): Promise<void> {
  await page.getByLabel('User name').fill(username)
  await page.getByLabel('Password', { exact: true }).fill(typed)
  await page.getByRole('button', { name: 'Log in' }).click()
}

/** Logs in, and stays on the home page. */
export async function logIn(page: Page, username: string, typed = password): Promise<void> {
  await page.goto('/hub/login?next=/hub/home')
  await fillInLogin(page, username, typed)
  await page.getByRole('heading', { name: 'Your server' }).waitFor()
}

/** Waits until JupyterLab can be used. */
export async function arriveInLab(page: Page, username: string): Promise<void> {
  await page.waitForURL(url => url.pathname.startsWith(`/user/${username}/lab`))
  await page.locator('.jp-Launcher').waitFor()
}

/** Opens a new notebook from the launcher, and waits for its kernel. */
export async function newNotebook(page: Page): Promise<void> {
  await page.locator('.jp-LauncherCard[data-category="Notebook"]').first().click()
  // In the status bar. Before, JupyterLab takes code and forgets it.
  await page.getByText('Python 3 (ipykernel) | Idle').waitFor()
}

/** Types code into the last cell, runs it, and gives what it wrote. */
export async function runCell(page: Page, code: string): Promise<string> {
  const cells = page.locator('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell')
  const cell = cells.nth((await cells.count()) - 1)
  await cell.locator('.cm-content').fill(code)
  await page.keyboard.press('Shift+Enter')
  await cell.locator('.jp-InputPrompt', { hasText: /\[\d+\]/ }).waitFor()
  // The places of its outputs are there now; what is written in them comes with a frame.
  await page.evaluate('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))')
  const outputs = cell.locator('.jp-OutputArea-output')
  for (const output of await outputs.all()) await output.filter({ hasText: /\S/ }).waitFor()
  return (await outputs.allInnerTexts()).join('\n').trim()
}
