/**
 * Signatures of releases, by ssh-keygen(1): it is on every machine that one logs in to, its keys are kept as people keep
 * theirs (in an agent, on a token), and an `allowed_signers` file says what a key may sign.
 */
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { runOrStop, stopped } from './programs.ts'

/** What a signature of ours is for: one that was made for something else is worth nothing here. */
const namespace = 'tljh-ts-release'

const principal = 'tljh-ts'

export interface Signer {
  /** A private key, or its public part where an agent holds the private one. */
  keyFile: string
  environment: NodeJS.ProcessEnv
}

/** Makes a key without a passphrase: for trying and for tests. */
export async function makeKey(keyFile: string, environment: NodeJS.ProcessEnv): Promise<void> {
  const options = ['-q', '-t', 'ed25519', '-N', '', '-C', 'tljh-ts release, for trying only', '-f', keyFile]
  await runOrStop('ssh-keygen', options, environment)
}

/** The allowed_signers file (one line) by which this key's signatures are known to be ours. */
export async function allowedSigners({ keyFile }: Signer): Promise<string> {
  const file = keyFile.endsWith('.pub') ? keyFile : `${keyFile}.pub`
  if (!existsSync(file))
    throw stopped(`there is no ${file}`, 'Name a key that ssh-keygen made, with its .pub beside it')
  const [kind = '', key = ''] = (await readFile(file, 'utf8')).trim().split(/\s+/)
  if (kind !== 'ssh-ed25519' || !/^[\w+/=]+$/.test(key)) {
    throw stopped(`${file} is no ed25519 key`, 'Make one: ssh-keygen -t ed25519 -f FILE')
  }
  return `${principal} namespaces="${namespace}" ${kind} ${key}\n`
}

/** Writes FILE.sig. */
export async function sign(file: string, { keyFile, environment }: Signer): Promise<void> {
  await rm(`${file}.sig`, { force: true })
  await runOrStop('ssh-keygen', ['-q', '-Y', 'sign', '-f', keyFile, '-n', namespace, file], environment)
}
