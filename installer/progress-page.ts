/**
 * The page that a browser sees at the hub's address while the hub is being installed: the steps, and which one is under way.
 *
 * Anybody may see it, so it says nothing but the steps' titles: no name, no output, no reason. It asks for news by itself, goes away
 * before the hub takes its address, and then leads to the hub as soon as that answers. Without script it is loaded again every few seconds.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

export interface ProgressPage {
  begins(title: string): void
  ends(title: string): void
  /** Says that the rest is in the terminal, and gives whoever looks a moment to see it; then closes. */
  fail(): Promise<void>
  /** The address is free when this resolves. */
  close(): Promise<void>
}

type State = 'waits' | 'runs' | 'done' | 'failed'

/** A page asks every second; one that has not for so long is not looked at any more. */
const lookedAtMs = 5_000
const lastLookMs = 3_000

/** Undefined where the address is taken, or cannot be had: an installation does not need it. */
export async function showProgressPage(
  titles: readonly string[],
  { address, port, baseUrl }: { address: string; port: number; baseUrl: string },
): Promise<ProgressPage | undefined> {
  const states = new Map<string, State>(titles.map(title => [title, 'waits']))
  const hasFailed = () => [...states.values()].includes('failed')
  let lookedAt = 0
  const page = pageFor(baseUrl)

  const server = createServer((request, response) => {
    lookedAt = Date.now()
    if (request.url === `${baseUrl}hub/health`) answer(response, 503, 'application/json', '{"status":"installing"}')
    else if (request.url === '/progress.json') {
      const steps = [...states].map(([title, state]) => ({ title, state }))
      answer(response, 200, 'application/json', JSON.stringify({ steps, failed: hasFailed() }))
    } else if (request.method !== 'GET' && request.method !== 'HEAD')
      answer(response, 503, 'text/plain', 'The hub is being installed.\n')
    else answer(response, 200, 'text/html', page.html(states), { 'content-security-policy': page.policy })
    if (hasFailed()) server.emit('failureSeen')
  })
  server.headersTimeout = 5_000
  server.requestTimeout = 5_000
  server.maxConnections = 200
  server.listen({ port, ...(address ? { host: address } : {}) })
  try {
    await once(server, 'listening')
  } catch {
    return undefined
  }
  // It never keeps an installation from ending.
  server.unref()

  const close = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  return {
    begins: title => void states.set(title, 'runs'),
    ends: title => void states.set(title, 'done'),
    async fail() {
      for (const [title, state] of states) if (state === 'runs') states.set(title, 'failed')
      if (server.listening && Date.now() - lookedAt < lookedAtMs) {
        await Promise.race([once(server, 'failureSeen').then(() => delay(100)), delay(lastLookMs)])
      }
      await close()
    },
    close,
  }
}

function answer(
  response: ServerResponse,
  status: number,
  type: string,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, {
    'content-type': `${type}; charset=utf-8`,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    connection: 'close',
    ...headers,
  })
  response.end(body)
}

const style = `
:root { color-scheme: light dark; font: 1.05rem/1.5 system-ui, sans-serif; }
body { max-width: 34rem; margin: 10vh auto; padding: 0 1rem; }
ol { list-style: none; padding: 0; }
li { padding: .25rem 0 .25rem 2rem; text-indent: -2rem; }
li::before { display: inline-block; width: 2rem; text-indent: 0; content: '·'; }
.runs { font-weight: 600; }
.runs::before { content: '→'; }
.done::before { content: '✓'; }
.failed { font-weight: 600; }
.failed::before { content: '✗'; }
`

const labels: Record<State, string> = { waits: 'waits', runs: 'under way', done: 'done', failed: 'failed' }
const underWay = 'This page leads to the login when the hub is ready. It takes a few minutes.'
const failure = 'The installation has stopped. The terminal in which it was started says why, and what to do.'

/** The same page as the server's, kept up to date. Runs in a browser. */
function script(baseUrl: string): string {
  return `
const list = document.querySelector('ol'), note = document.querySelector('p')
const labels = ${JSON.stringify(labels)}
let silent = 0
async function look() {
  try {
    const { steps, failed } = await (await fetch('/progress.json', { cache: 'no-store' })).json()
    silent = 0
    list.replaceChildren(...steps.map(({ title, state }) => {
      const item = document.createElement('li')
      item.className = state
      item.textContent = title
      item.setAttribute('aria-label', title + ': ' + labels[state])
      return item
    }))
    if (failed) return void (note.textContent = ${JSON.stringify(failure)})
  } catch {
    try {
      const health = await fetch(${JSON.stringify(`${baseUrl}hub/health`)}, { cache: 'no-store' })
      if ((await health.json()).status === 'ok') return void location.replace(${JSON.stringify(`${baseUrl}hub/login`)})
    } catch {}
    if (++silent === 60) note.textContent = ${JSON.stringify(failure)}
  }
  setTimeout(look, 1000)
}
look()
`
}

function pageFor(baseUrl: string): { html(states: ReadonlyMap<string, State>): string; policy: string } {
  const code = script(baseUrl)
  const policy = [
    "default-src 'none'",
    `script-src ${digest(code)}`,
    `style-src ${digest(style)}`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  const html = (states: ReadonlyMap<string, State>) => {
    const isFailed = [...states.values()].includes('failed')
    const items = [...states].map(
      ([title, state]) =>
        `<li class="${state}" aria-label="${escaped(title)}: ${labels[state]}">${escaped(title)}</li>`,
    )
    return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The hub is being installed</title>
${isFailed ? '' : '<noscript><meta http-equiv="refresh" content="3"></noscript>'}
<style>${style}</style>
</head>
<body>
<main>
<h1>The hub is being installed</h1>
<p role="status">${isFailed ? failure : underWay}</p>
<ol>
${items.join('\n')}
</ol>
</main>
<script>${code}</script>
</body>
</html>
`
  }
  return { html, policy }
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, character => `&#${character.charCodeAt(0)};`)
}

/** As a Content-Security-Policy names what it lets in. */
function digest(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}
