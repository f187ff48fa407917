/**
 * What a hostile page tries on another origin, run by the page itself.
 */
import type { Page } from 'playwright-core'

/** Sends it. Whatever comes of it: what counts is what the server has done. */
export async function post(
  page: Page,
  url: string,
  { method = 'POST', mode = 'cors', type = 'application/json' }: { method?: string; mode?: string; type?: string },
): Promise<void> {
  const options = { method, mode, credentials: 'include', headers: { 'content-type': type }, body: '{}' }
  await page.evaluate(`fetch('${url}', ${JSON.stringify(options)}).then(() => {}, () => {})`)
}

export async function read(page: Page, url: string): Promise<unknown> {
  return page.evaluate(`fetch('${url}', { credentials: 'include' }).then(answer => answer.text(), () => 'nothing')`)
}

export async function sendForm(page: Page, url: string): Promise<void> {
  await page.evaluate(`new Promise(resolve => {
    const frame = document.createElement('iframe')
    frame.name = 'target'
    document.body.append(frame)
    const form = document.body.appendChild(document.createElement('form'))
    Object.assign(form, { action: '${url}', method: 'post', target: 'target' })
    frame.onload = () => { frame.remove(); form.remove(); resolve() }
    form.submit()
  })`)
}

export async function load(page: Page, element: 'img' | 'iframe', url: string): Promise<void> {
  await page.evaluate(`new Promise(resolve => {
    const element = document.createElement('${element}')
    element.onload = element.onerror = resolve
    element.referrerPolicy = 'no-referrer'
    element.src = '${url}'
    document.body.append(element)
  })`)
}

export async function openWebSocket(page: Page, url: string): Promise<unknown> {
  return page.evaluate(`new Promise(resolve => {
    const socket = new WebSocket('${url}')
    socket.onopen = () => { socket.close(); resolve('open') }
    socket.onerror = () => resolve('refused')
  })`)
}

/** What the page sees in a frame with that address: `nothing`, or the text. */
export async function frame(page: Page, url: string): Promise<unknown> {
  return page.evaluate(`new Promise(resolve => {
    const frame = document.createElement('iframe')
    frame.onload = () => {
      frame.onload = null
      try { resolve(frame.contentDocument.body.textContent || 'nothing') } catch { resolve('nothing') }
    }
    frame.src = '${url}'
    document.body.append(frame)
  })`)
}

/** Sets a cookie as a script does; a page in a sandbox cannot. */
export async function plantCookie(page: Page, cookie: string): Promise<void> {
  await page.evaluate(`(() => { try { document.cookie = '${cookie}' } catch {} })()`)
}
