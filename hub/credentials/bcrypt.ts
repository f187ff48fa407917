/**
 * Passwords that came from another hub as bcrypt hashes (tljh-ts import-tljh): checked once, at the first login, and replaced by a hash of
 * our own then. One check takes a third of a second of a processor, so each is made by a thread of its own, and the hub goes on.
 */
import { Worker } from 'node:worker_threads'

export function matchesBcrypt(hash: string, password: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>()
  const worker = new Worker(new URL('./bcrypt-thread.ts', import.meta.url), { workerData: { hash, password } })
  worker.on('message', (isRight: boolean) => resolve(isRight))
  worker.on('error', reject)
  worker.on('exit', code => reject(new Error(`the thread that checks a password ended with code ${code}`)))
  return promise
}
