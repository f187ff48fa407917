/**
 * What browsers are answered while the hub cannot start: a page that says so, and for programs the same as JSON. systemd holds the sockets, so
 * without an answer they would wait without a word.
 *
 * It needs neither the database nor a template: those may be what is broken. It ends when the hub is to be tried again, by systemd.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openConfigFile } from '../config/change/in-force.ts'
import type { Layout } from '../machine/layout.ts'
import { ownVersion } from '../machine/version.ts'
import { ProblemError } from '../problem.ts'
import { createNotifier } from '../systemd/notify.ts'
import { createDoor, mostConnections } from './bounds/door.ts'
import { createTurnstile, mostWaiting } from './bounds/turnstile.ts'
import { listen, socketNames } from './listeners.ts'
import { openState } from './state/database.ts'
import { createTls } from './tls/tls.ts'
import { isNavigation } from './web/request.ts'

export interface OutOfServiceOptions {
  layout: Layout
  environment: NodeJS.ProcessEnv
  log: (line: string) => void
  /** What kept the hub from starting. */
  reason: unknown
}

const lookEveryMs = 2_000
/** The cause may be gone, and nothing tells of it. */
const tryAgainMs = 5_000

/** Resolves when the hub is to be tried again, or told to stop. Throws where not even this can be answered. */
export async function serveOutOfService({ layout, environment, log, reason }: OutOfServiceOptions): Promise<void> {
  const config = openConfigFile(layout.configFile, () => undefined)
  const { http, visitPort } = config.current()
  const text = textFor(reason)
  const server = createServer((request, response) => answer(request, response, text))
  const most = mostConnections()
  const { admit } = createDoor({ most, mostEach: Math.floor(most / 2), isIdle: () => true })
  const turnstile = createTurnstile({ mostWaiting: mostWaiting(most) })
  const tls = http.tls && createTls({ config: config.current, folder: join(layout.state, 'certificates'), log })
  await listen(server, { sockets: socketNames(environment), http, visitPort, tls, admit, turnstile, log })
  using notifier = createNotifier(environment)
  // The services are up, as far as systemd is concerned: it has nothing better to do about it.
  await notifier.ready()
  await notifier.status(`out of service: ${text.why}`)
  notifier.startWatchdog(() => true)
  const ended = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
  await Promise.race([ended, isDatabase(reason) ? databaseIsBack(layout) : delay(tryAgainMs)])
}

/** It is not closed: with the last one that closes it goes its log, and the room for that (hub/state/reserve.ts). */
async function databaseIsBack({ state }: Layout): Promise<void> {
  for (;;) {
    await delay(lookEveryMs)
    try {
      openState(join(state, 'hub.sqlite'))
      return
    } catch {
      // Not yet.
    }
  }
}

interface Text {
  what: string
  why: string
  fix: string
}

function isDatabase(reason: unknown): boolean {
  return reason instanceof ProblemError && reason.code === 'STATE_UNUSABLE'
}

/** For students. Administrators find the rest in `tljh-ts status`. */
function textFor(reason: unknown): Text {
  return {
    what: 'The hub is out of service',
    why: isDatabase(reason) ? 'its database can’t be used' : 'it could not start',
    fix: 'Tell your teacher. Your files are safe, and this page tries again by itself',
  }
}

function answer(request: IncomingMessage, response: ServerResponse, { what, why, fix }: Text): void {
  const isPage = isNavigation(request)
  const facts = { status: 503, code: 'OUT_OF_SERVICE', message: `${what}: ${why}. ${fix}`, what, why, fix }
  const body = isPage
    ? `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${what}</title>
<h1>${what}</h1>
<p>Why: ${why}.</p>
<p>What to do: ${fix}.</p>
</html>
`
    : JSON.stringify({ ...facts, version: ownVersion() })
  response.writeHead(503, {
    'content-type': isPage ? 'text/html; charset=utf-8' : 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cache-control': 'no-store',
    'retry-after': '10',
    ...(isPage ? { refresh: '10' } : {}),
    // What was sent with it is not read.
    connection: 'close',
  })
  response.end(body)
}
