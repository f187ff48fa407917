/** The thread that `matchesBcrypt` makes: checks the one password that it was made for. */
import { parentPort, workerData } from 'node:worker_threads'
import { compareSync } from 'bcryptjs'

if (parentPort) {
  const { hash, password } = workerData as { hash: string; password: string }
  parentPort.postMessage(compareSync(password, hash))
}
