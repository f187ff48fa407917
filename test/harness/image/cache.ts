/**
 * Where the test hosts keep their files, outside the checkout: images that are worth keeping, and what running hosts
 * need while they run.
 *
 *   images/NAME-KEY/    finished layers, never changed once they are there
 *   downloads/          what package clients keep to be faster the next time
 *   run/                one record and one folder for each running host
 *
 * Everything in it can be deleted while no host runs: it is made again. The environment is read here and nowhere else
 * in this folder.
 */
import { mkdirSync, readFileSync, statfsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The releases of Debian that test hosts and virtual machines can be made of. */
export const SUITES = ['bookworm', 'trixie'] as const

export type Suite = (typeof SUITES)[number]

const DEFAULT_SUITE: Suite = 'trixie'

/** The root of the checkout that is tested. */
export const CHECKOUT = dirname(dirname(dirname(import.meta.dirname)))

/** From statfs(2): the file system of most containers, which cannot hold the upper folder of another overlay. */
const OVERLAYFS_MAGIC = 0x794c7630

export interface CacheFolders {
  images: string
  downloads: string
  run: string
}

/** The folders of the cache, made where they are missing. */
export function cacheFolders(): CacheFolders {
  const base = process.env.TLJH_TEST_CACHE || '/var/cache/tljh-ts'
  mkdirSync(base, { recursive: true, mode: 0o755 })
  const canHoldUpper = statfsSync(base).type !== OVERLAYFS_MAGIC
  const folders = {
    images: join(base, 'images'),
    downloads: join(base, 'downloads'),
    run: canHoldUpper ? join(base, 'run') : '/dev/shm/tljh-ts-run',
  }
  for (const folder of Object.values(folders)) mkdirSync(folder, { recursive: true, mode: 0o755 })
  return folders
}

/** The release of Debian that hosts are made of where a test names none: TLJH_TEST_SUITE, or the default. */
export function testSuite(): Suite {
  const name = process.env.TLJH_TEST_SUITE || DEFAULT_SUITE
  const suite = SUITES.find(one => one === name)
  if (!suite) throw new Error(`TLJH_TEST_SUITE is ${JSON.stringify(name)}; write ${SUITES.join(' or ')}`)
  return suite
}

/** Whether somebody has chosen the release. Otherwise some tests run on an older one as well. */
export function isSuiteChosen(): boolean {
  return Boolean(process.env.TLJH_TEST_SUITE)
}

/** The version of the checkout, as its package.json has it. */
export function checkoutVersion(): string {
  const { version } = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')) as { version: string }
  return version
}
