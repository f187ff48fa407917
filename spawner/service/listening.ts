/**
 * Where the hub listens (systemd/hub-sockets.ts), and that it listens there again: an address that could not be had, because another program
 * had the port, is tried again until it is there. The rest of the hub runs meanwhile.
 */
import type { Config } from '../../config/meaning/config.ts'
import type { InTurn } from '../../machine/one-after-another.ts'
import { ProblemError } from '../../problem.ts'
import { placesOf, type SettleOptions, settleSockets } from '../../systemd/hub-sockets.ts'

export interface ListeningOptions {
  wanted(): Config
  /** One thing after the other, together with what else moves the hub. */
  inTurn: InTurn
  onRestart(): void
  log(line: string): void
}

export interface HubListening {
  /** Moves the hub to where the configuration says. Throws `HUB_ADDRESS` where an address is not to be had; it is tried again. */
  settle(options?: Pick<SettleOptions, 'restartsHub'>): Promise<void>
  /** Moves it where it is not as it should be. */
  look(): void
  /** The same, in a while: a socket that fails again and again must not keep this busy. */
  lookSoon(): void
  /** Breaks off what is going on, which may wait for the end of this process; the next spawner does the rest. */
  close(): void
}

const tryAgainMs = 10_000

export function createListening({ wanted, inTurn, onRestart, log }: ListeningOptions): HubListening {
  let timer: NodeJS.Timeout | undefined
  let said = ''
  const closing = new AbortController()
  const { signal } = closing

  async function settle({ restartsHub = false } = {}): Promise<void> {
    stopTimer()
    const problems = await settleSockets(placesNow(), { restartsHub, isRetry: said !== '', onRestart, signal }).catch(
      (problem: unknown) => {
        lookSoon()
        throw problem
      },
    )
    const [first] = problems
    const text = problems.map(({ what, why }) => `${what}: ${why}`).join('; ')
    if (text !== said) log(text || 'the hub listens at all its addresses again')
    said = text
    if (!first) return
    lookSoon()
    throw new ProblemError('HUB_ADDRESS', first)
  }

  function lookSoon(): void {
    if (!signal.aborted) timer ??= setTimeout(look, tryAgainMs)
  }

  function stopTimer(): void {
    clearTimeout(timer)
    timer = undefined
  }

  function look(): void {
    stopTimer()
    inTurn(settle).catch(error => {
      // What is not to be had has been said.
      if (signal.aborted) return
      if (!(error instanceof ProblemError && error.code === 'HUB_ADDRESS')) log(`sockets of the hub: ${error}`)
    })
  }

  function placesNow() {
    const { http, visitPort } = wanted()
    return placesOf({ ...http, visitPort })
  }

  function close(): void {
    closing.abort()
    stopTimer()
  }

  return { settle, look, lookSoon, close }
}
