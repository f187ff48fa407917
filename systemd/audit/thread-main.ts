/** The thread that `createAuditThread` makes: writes each entry that it is given, in their order, and answers each. */
import { parentPort } from 'node:worker_threads'
import { writeEntry } from './audit.ts'

parentPort?.on('message', (lines: string) => {
  writeEntry(lines).then(
    () => parentPort?.postMessage(undefined),
    (problem: unknown) => parentPort?.postMessage(String(problem)),
  )
})
