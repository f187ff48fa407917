/** How a boot ended, as the unit test-host-state.service of the image tells it: a line in a file of the host. */
import { readFile, watch } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrorCode } from './process.ts'

/** `degraded` is a boot after which some unit has failed: whether that matters is for the test to say. */
const BOOTED = ['running', 'degraded']

export interface BootWatch {
  /** The host's /run/test-host, by the path that it has before systemd starts. */
  folder: string
  /** The host's root folder after that. */
  rootPath: string
  /** Resolves when the host's PID 1 has ended. */
  ended: Promise<unknown>
  timeoutMs: number
}

/** Waits for the end of the boot. To be called before systemd starts. Gives what went wrong, or nothing. */
export async function waitForBoot({ folder, rootPath, ended, timeoutMs }: BootWatch): Promise<string | undefined> {
  const end = new AbortController()
  let problem: string | undefined
  const timer = setTimeout(() => {
    problem = `it took longer than ${timeoutMs} ms`
    end.abort()
  }, timeoutMs)
  void ended.then(() => {
    problem = 'its PID 1 has ended'
    end.abort()
  })
  try {
    for await (const _event of watch(folder, { signal: end.signal })) {
      const state = await readState(join(rootPath, 'run/test-host/state'))
      if (BOOTED.includes(state)) return undefined
      if (state) return `systemd says "${state}"`
    }
    return problem
  } catch (error) {
    if (problem && isErrorCode(error, 'ABORT_ERR')) return problem
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** Empty while there is none, and when the host has died and taken its files with it: `ended` tells that. */
async function readState(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if (isErrorCode(error, 'ENOENT') || isErrorCode(error, 'ESRCH')) return ''
    throw error
  }
}
