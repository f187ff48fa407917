/**
 * Follows the start of a server on the page that waits for it.
 *
 * The hub sends an event for each step; the last one says `ready` or `failed`. What always holds:
 *
 * - Words of an event reach the page as text only, and no address in it is followed: where to go once the server is
 *   ready, the hub says when the page is asked for again. It knows what was asked for before the server ran.
 * - A hub that does not answer (it is being upgraded, the train is in a tunnel) is said so on the page, and asked
 *   again until it does. The browser repeats a broken connection by itself, but gives up after an answer that is no
 *   stream; then, as soon as the hub answers for this page again, the page is loaded anew and knows what is the case.
 * - A stream that was repeated tells its steps again: each is listed once.
 */

interface End {
  what: string
  why: string
  fix: string
  log: string[]
  /** A start without settings of the user's own may come about. */
  hasOwnSettings: boolean
}

interface Progress {
  /** 0 to 100. */
  progress: number
  message: string
  /** What it is without the details that change, such as the place in a queue. */
  step: string
  outcome: { kind: 'pending' } | { kind: 'ready' } | { kind: 'failed'; end: End }
}

const retryMs = 2000

const card = element('spawn', HTMLElement)
const heading = element('heading', HTMLElement)
const bar = element('progress', HTMLProgressElement)
const step = element('step', HTMLElement)
const steps = element('steps', HTMLElement)
const connection = element('connection', HTMLElement)

/** When the start was asked for, on the clock of `performance.now()`: the hub's clock need not be ours. */
const startedAt = performance.now() - Number(card.dataset.elapsedMs)
const listed = new Set([steps.querySelector('span')?.textContent])

follow(card.dataset.progressUrl ?? '')

function follow(url: string): void {
  const events = new EventSource(url)
  events.addEventListener('open', () => {
    connection.textContent = ''
  })
  events.addEventListener('message', event => {
    const progress = readProgress(String(event.data))
    if (progress === undefined) return
    if (progress.outcome.kind !== 'pending') events.close()
    show(progress)
  })
  events.addEventListener('error', () => {
    connection.textContent = 'The hub does not answer; trying again…'
    if (events.readyState === EventSource.CLOSED) setTimeout(reloadOnceAnswered, retryMs)
  })
}

/** Loading the page from a hub that is away would replace it by the browser's own error page, for good. */
async function reloadOnceAnswered(): Promise<void> {
  // A redirect counts as an answer: to the login page, or to the server that has become ready meanwhile.
  const status = await fetch(location.href, { redirect: 'manual' }).then(
    answer => answer.status,
    () => 503,
  )
  if (status < 500) location.reload()
  else setTimeout(reloadOnceAnswered, retryMs)
}

function show({ progress, message, step: name, outcome }: Progress): void {
  bar.value = Math.max(bar.value, progress)
  if (outcome.kind === 'failed') {
    showFailure(outcome.end)
    return
  }
  step.textContent = message
  list(name)
  if (outcome.kind === 'ready') goOn()
}

function list(message: string): void {
  if (listed.has(message)) return
  listed.add(message)
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  const time = document.createElement('time')
  time.dateTime = `PT${seconds}S`
  time.textContent = `${seconds} s`
  const words = document.createElement('span')
  words.textContent = message
  const item = document.createElement('li')
  item.append(time, ' ', words)
  steps.append(item)
}

/** The hub redirects. That replaces this page, so the browser's Back does not lead to one that waits for nothing. */
function goOn(): void {
  bar.value = bar.max
  location.reload()
}

function showFailure({ what, why, fix, log, hasOwnSettings }: End): void {
  const words = element('failure-words', HTMLTemplateElement).content.cloneNode(true)
  const failure = element('failure', HTMLElement)
  failure.hidden = false
  failure.append(words)
  write(failure, '.what', what)
  write(failure, '.why', why)
  write(failure, '.fix', fix)
  write(failure, 'pre', log.join('\n'))
  for (const details of failure.querySelectorAll('details')) details.hidden = log.length === 0
  element('waiting', HTMLElement).hidden = true
  element('after-failure', HTMLElement).hidden = false
  // The page of an administrator who watches has no such form.
  const withoutSettings = document.getElementById('without-settings')
  if (withoutSettings) withoutSettings.hidden = !hasOwnSettings
  heading.textContent = card.dataset.failedHeading ?? ''
  document.title = document.title.replace(/^[^·]*/, `${heading.textContent} `)
}

/** What has no words is left out, with its label. */
function write(parent: HTMLElement, selector: string, text: string): void {
  const place = parent.querySelector<HTMLElement>(selector)
  if (place === null) return
  place.textContent = text
  const row = place.closest<HTMLElement>('.why-and-fix > div')
  if (row !== null) row.hidden = text === ''
}

/** Reads one event; undefined for what is none. The hub's own words for a failure are its `end`; else its message. */
function readProgress(data: string): Progress | undefined {
  const event = readObject(data)
  if (event === undefined) return undefined
  const progress = Number(event.progress) || 0
  const message = text(event.message)
  const step = text(event.step) || message
  if (event.failed === true)
    return { progress, message, step, outcome: { kind: 'failed', end: readEnd(event.end, message) } }
  if (event.ready === true) return { progress, message, step, outcome: { kind: 'ready' } }
  return { progress, message, step, outcome: { kind: 'pending' } }
}

function readEnd(value: unknown, message: string): End {
  if (!isObject(value)) return { what: message, why: '', fix: '', log: [], hasOwnSettings: false }
  const log = Array.isArray(value.log) ? value.log.map(text) : []
  const hasOwnSettings = text(value.ownSettings) !== ''
  return { what: text(value.what) || message, why: text(value.why), fix: text(value.fix), log, hasOwnSettings }
}

function readObject(data: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(data)
    return isObject(value) ? value : undefined
  } catch {
    // Half an event, as from a connection that broke: the stream is repeated.
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** The page and this script come from one version of the hub, so what is missing is a mistake of ours. */
function element<E extends HTMLElement>(id: string, kind: new () => E): E {
  const found = document.getElementById(id)
  if (found instanceof kind) return found
  throw new Error(`the page has no ${kind.name} called ${id}`)
}
