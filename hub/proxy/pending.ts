/**
 * Whoever asks a user's server on behalf of a browser, until one of the two has gone.
 *
 * What always holds: `done` or `failed` is called once. A browser that goes takes the request to its server with it, and a server that breaks
 * off in its answer has the browser's connection broken, so that half an answer is seen to be one.
 */
import type { Connection, Failure } from './upstream.ts'

/** How it ended for `hub/proxy/proxy.ts`. */
export interface Outcome {
  /** The answer has been given, or nobody is there to take it. */
  done(): void
  /** Nothing has been answered. */
  failed(failure: Failure): void
}

/** Where the answer goes. */
interface Browser {
  readonly destroyed: boolean
  destroy(): unknown
}

export abstract class OnBehalf<To extends Browser, Told extends Outcome> {
  /** As long as it asks. */
  protected connection: Connection | undefined
  protected readonly browser: To
  protected readonly outcome: Told

  constructor(browser: To, outcome: Told) {
    this.browser = browser
    this.outcome = outcome
  }

  /** Whether the browser has been told anything. */
  protected abstract isAnswered(): boolean

  /** The browser has gone. */
  abandon(): void {
    const { connection } = this
    if (!connection) return
    this.connection = undefined
    connection.abandon()
    this.outcome.done()
  }

  onConnection(connection: Connection): void {
    this.connection = connection
    if (this.browser.destroyed) this.abandon()
  }

  onError(failure: Failure): void {
    this.connection = undefined
    if (!this.isAnswered()) return void this.outcome.failed(failure)
    // Half an answer cannot be mended.
    this.browser.destroy()
    this.outcome.done()
  }

  /** The connection is asked for nothing any more. */
  protected finish(): void {
    this.connection = undefined
    this.outcome.done()
  }
}
