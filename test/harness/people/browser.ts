/**
 * A real Chromium with somebody in front of it.
 *
 *   await using browser = await openBrowser(product)
 *   const ann = await browser.newPerson()
 *   await ann.page.goto('/hub/login')
 *
 * Each person has cookies and a window of their own. What the browser complains of (a script's error, something that the
 * Content-Security-Policy forbids, an answer that never came) is kept, so that a test can say that there was nothing.
 */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { AxeBuilder } from '@axe-core/playwright'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { cacheFolders } from '../image/cache.ts'
import type { Product } from '../product/product.ts'

export interface Person {
  page: Page
  /** What the browser has complained of since the last call. */
  complaints(): string[]
  /** Another window of the same person: the same cookies. */
  newPage(): Promise<Page>
}

export interface TestBrowser extends AsyncDisposable {
  newPerson(options?: BrowserContextOptions): Promise<Person>
}

/** A busy machine takes seconds for what takes milliseconds otherwise. What is waited for is an event, never this time. */
const patienceMs = 180_000

/** Addresses without a host are those of the product. The browser stands in the host's network. */
export async function openBrowser(
  { host, url }: Pick<Product, 'host' | 'url'>,
  args: readonly string[] = [],
): Promise<TestBrowser> {
  const browser: Browser = await chromium.launch({
    executablePath: join(import.meta.dirname, 'chromium.sh'),
    env: { ...process.env, TLJH_TEST_HOST_PID: String(host.pid) },
    // Tests run as root, where Chromium's sandbox does not start. No proxy leads to a test host.
    args: ['--no-sandbox', '--no-proxy-server', ...args],
    timeout: patienceMs,
  })

  return {
    async newPerson(options = {}) {
      const context = await browser.newContext({ baseURL: url, ...options })
      context.setDefaultTimeout(patienceMs)
      let heard: string[] = []
      context.on('console', message => {
        if (message.type() === 'error' && !isAboutPlainHttp(message.text()))
          heard.push(`${message.text()} (${message.location().url})`)
      })
      context.on('weberror', problem => void heard.push(String(problem.error().stack)))
      context.on('requestfailed', request => {
        const reason = request.failure()?.errorText ?? ''
        // A page that is left gives up what it was still loading.
        if (reason !== 'net::ERR_ABORTED') heard.push(`${request.method()} ${request.url()}: ${reason}`)
      })
      const complaints = () => {
        const all = heard
        heard = []
        return all
      }
      return { page: await context.newPage(), complaints, newPage: () => context.newPage() }
    },
    [Symbol.asyncDispose]: () => browser.close(),
  }
}

/** Test hosts have no certificate, and some of the hub's headers are for https alone. */
function isAboutPlainHttp(text: string): boolean {
  return text.startsWith('The Cross-Origin-Opener-Policy header has been ignored, because the URL')
}

/** Keeps a picture of the page, outside the repository: in $TLJH_TEST_SCREENSHOTS, or in the cache of the test hosts. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const folder = process.env.TLJH_TEST_SCREENSHOTS || join(dirname(cacheFolders().images), 'screenshots')
  mkdirSync(folder, { recursive: true })
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true, animations: 'disabled' })
}

const desk = { width: 1024, height: 720 }
/** The narrowest telephone that is still about. */
const phone = { width: 360, height: 720 }

/**
 * Looks at a page of ours as everybody does who has to: in light and in dark, on a screen and on a telephone, and with the
 * rules of accessibility. Keeps pictures. The page stays as it was found.
 */
export async function inspect(page: Page, name: string): Promise<void> {
  // A click that leads to another page ends when that begins to come; a new window is told of sooner still.
  await page.waitForLoadState()
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    for (const [kind, size] of Object.entries({ desk, phone })) {
      await page.setViewportSize(size)
      const { violations } = await new AxeBuilder({ page }).analyze()
      const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(node => node.html).join(' ')}`)
      assert.deepEqual(found, [], `${name}, ${colorScheme}, ${kind}`)
      const isTooWide = await page.evaluate('document.documentElement.scrollWidth > innerWidth')
      assert.equal(isTooWide, false, `${name} must be scrolled sideways on a ${kind}`)
      await screenshot(page, `${name}-${colorScheme}-${kind}`)
    }
  }
  await page.emulateMedia({ colorScheme: null, reducedMotion: null })
  await page.setViewportSize(desk)
}
