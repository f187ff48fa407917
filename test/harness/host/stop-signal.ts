/** The wish of a person (Ctrl-C) or a program (SIGTERM) that this process ends, as a promise and not as a sudden end. */
import { constants } from 'node:os'

export interface Stop {
  signal: NodeJS.Signals
  /** As a shell would report it. */
  exitCode: number
}

/** From now on these signals no longer end the process: it has to wait for the promise and end by itself. */
export function handleStop(): Promise<Stop> {
  const { promise, resolve } = Promise.withResolvers<Stop>()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => resolve({ signal, exitCode: 128 + constants.signals[signal] }))
  return promise
}
