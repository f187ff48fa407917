/**
 * Releases, and the site that they come from: which there are, and one of them on the disk.
 *
 * Nothing of the site is believed unless it is signed with a key that the version in force came with (`release.pub`): not the
 * list of versions, not the checksums; an archive is what its checksum says. So a site, or a mirror, that was taken over can
 * keep new versions back, and nothing more: an upgrade never goes backwards.
 *
 * curl fetches, because it is there (it fetched us), it knows proxies and private certificates as the machine has them, and
 * it goes on where a download broke off. What was fetched lies in /var/cache/tljh-ts until the version is in force.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { lockFile } from '../../machine/lock-file.ts'
import { runProgram } from '../../machine/run-program.ts'
import { ProblemError } from '../../problem.ts'
import { unpackRelease } from './archive.ts'
import { isVersion } from './versions.ts'

export interface Site {
  /** All that were released. Throws `RELEASE_…`. */
  versions(): Promise<string[]>
  /** The size of what `fetch` would download, in bytes; 0 where the site does not tell. */
  size(version: string, arch: string): Promise<number>
  /**
   * Brings a version to VERSIONS/X.Y.Z, and answers that folder. What is there already is not fetched again; what broke off
   * is taken up. Throws `RELEASE_…`, and then calling it again goes on.
   */
  fetch(version: string, arch: string, versionsFolder: string): Promise<string>
}

const signer = 'tljh-ts'
const signatureNamespace = 'tljh-ts-release'
export const downloadsFolder = '/var/cache/tljh-ts'
/** A list of versions, checksums: nothing that takes long. */
const smallTimeoutMs = 60_000
const archiveTimeoutMs = 6 * 3600_000
/** Of downloads that break off, in a row: the network is bad, and a person should know. */
const mostBreaks = 5

/** Removes what was fetched, once it is in force. Folders there are not ours to remove: uv keeps its packages in one. */
export async function forgetDownloads(downloads = downloadsFolder): Promise<void> {
  const entries = await readdir(downloads, { withFileTypes: true }).catch(() => [])
  for (const entry of entries) if (entry.isFile()) await rm(join(downloads, entry.name), { force: true })
}

/** @param signersFile in the form of allowed_signers (ssh-keygen(1)) @param environment for curl: its variables of proxies */
export function openSite(
  url: string,
  signersFile: string,
  environment: NodeJS.ProcessEnv,
  downloads = downloadsFolder,
): Site {
  const site = url.replace(/\/+$/, '')
  const env = curlEnvironment(environment)

  async function sums(version: string): Promise<Map<string, string>> {
    const text = await signed(`${version}/SHA256SUMS`)
    const lines = text.matchAll(/^([0-9a-f]{64}) [ *](\S+)$/gm)
    return new Map([...lines].map(([, sum = '', name = '']) => [name, sum]))
  }

  /** A small file of the site, believed. */
  async function signed(path: string): Promise<string> {
    const name = path.replaceAll('/', '-')
    const [file, signature] = [join(downloads, name), join(downloads, `${name}.sig`)]
    await mkdir(downloads, { recursive: true, mode: 0o755 })
    for (const [part, target] of [
      [path, file],
      [`${path}.sig`, signature],
    ] as const) {
      await rm(target, { force: true })
      await curl(`${site}/${part}`, ['--output', target], env, smallTimeoutMs)
    }
    const text = await readFile(file, 'utf8')
    await mustBeSigned(`${site}/${path}`, text, signature, signersFile)
    return text
  }

  async function download(version: string, name: string, sum: string): Promise<string> {
    const file = join(downloads, name)
    const part = `${file}.part`
    const isThere = async (path: string) => existsSync(path) && (await sha256(path)) === sum
    if (await isThere(file)) return file
    if (!(await isThere(part))) {
      const began = await sizeOf(part)
      await resume(`${site}/${version}/${name}`, part, env)
      if (!(await isThere(part))) {
        await rm(part, { force: true })
        // What lay there from before may have been of something else; what is whole and wrong is the site's.
        if (began > 0) return download(version, name, sum)
        throw problem(
          'RELEASE_CHECKSUM',
          `${site}/${version}/${name} was not used`,
          'it is not the file whose checksum was signed: it was damaged on its way, or somebody changed it',
          'Try again. If it stays so, tell whoever runs that site; nothing on this machine was changed',
        )
      }
    }
    await rename(part, file)
    return file
  }

  return {
    async versions() {
      const lines = (await signed('releases')).split('\n').filter(line => line.trim() !== '')
      const strange = lines.find(line => !isVersion(line))
      if (strange === undefined) return lines
      throw problem(
        'RELEASE_LIST',
        `${site}/releases was not used`,
        `${JSON.stringify(strange.slice(0, 80))} is not a version`,
        'Tell whoever runs that site',
      )
    },
    async size(version, arch) {
      const name = archiveName(version, arch)
      if (existsSync(join(downloads, name))) return 0
      const { stdout } = await curl(`${site}/${version}/${name}`, ['--head'], env, smallTimeoutMs)
      const length = Number(/^content-length:\s*(\d+)\s*$/gim.exec(stdout)?.[1] ?? 0)
      return Math.max(0, length - (await sizeOf(join(downloads, `${name}.part`))))
    },
    async fetch(version, arch, versionsFolder) {
      const target = join(versionsFolder, version)
      // It got this name when it was whole, and had been verified.
      if (existsSync(target)) return target
      const name = archiveName(version, arch)
      const sum = (await sums(version)).get(name)
      if (sum === undefined) {
        throw problem(
          'RELEASE_ARCH',
          `There is no ${version} for this machine`,
          `${site}/${version}/SHA256SUMS has no line for ${name}`,
          'Choose another version, or a machine of another kind',
        )
      }
      await unpackRelease(await download(version, name, sum), { version, arch }, target)
      return target
    },
  }
}

/** Throws `RELEASE_SIGNATURE`; `RELEASE_TOOL` where the machine has no ssh-keygen. */
async function mustBeSigned(what: string, text: string, signatureFile: string, signersFile: string): Promise<void> {
  const names = ['-f', signersFile, '-I', signer, '-n', signatureNamespace]
  const result = await runProgram('ssh-keygen', ['-Y', 'verify', ...names, '-s', signatureFile], { input: text }).catch(
    cause => {
      throw problem(
        'RELEASE_TOOL',
        `${what} was not used`,
        'its signature is checked by ssh-keygen, which this machine has not',
        'Install it: sudo apt-get install openssh-client',
        cause,
      )
    },
  )
  if (result.code === 0) return
  throw problem(
    'RELEASE_SIGNATURE',
    `${what} was not used`,
    `it is not signed by those who made the version in force (${result.stderr.split('\n').at(-1) || result.stdout.trim()})`,
    'Try again: it may have been damaged on its way. If it stays so, tell whoever runs that site; nothing on this machine was changed',
  )
}

/** Downloads what is missing of a file, again and again as long as that brings it forward. */
async function resume(url: string, part: string, env: Record<string, string>): Promise<void> {
  for (let breaks = 0; ; breaks++) {
    const before = await sizeOf(part)
    try {
      // Beside another one that was left behind by a process that was killed, both would write into the file.
      const wait = ['--no-fork', lockFile(`${part}.lock`), 'curl']
      await curl(url, ['--continue-at', '-', '--output', part], env, archiveTimeoutMs, wait)
      return
    } catch (error) {
      const after = await sizeOf(part)
      if (error instanceof DownloadProblem && error.isUseless) {
        // The site can't go on in the middle, or has no more: then it is whole (the checksum tells), or not to be used.
        if (before === 0 || error.isAtEnd) return
        await rm(part, { force: true })
      } else if (after <= before || breaks >= mostBreaks) throw error
    }
  }
}

class DownloadProblem extends ProblemError {
  /** The part that is there can't be continued. */
  readonly isUseless: boolean
  readonly isAtEnd: boolean
  constructor(url: string, exitCode: number, said: string) {
    const [why, fix] = reasonOf(exitCode, said)
    super('RELEASE_DOWNLOAD', { what: `${url} could not be fetched`, why, fix })
    this.isAtEnd = exitCode === 22 && said.includes('416')
    this.isUseless = this.isAtEnd || exitCode === 33
  }
}

/** @param wait what stands before `curl`: arguments of flock(1), which end with `curl` */
async function curl(
  url: string,
  args: readonly string[],
  env: Record<string, string>,
  timeoutMs: number,
  wait?: readonly string[],
) {
  // A connection that says nothing for half a minute is dead. A redirect may not lead from https to http.
  const limits = ['--connect-timeout', '20', '--speed-limit', '100', '--speed-time', '30', '--max-redirs', '5']
  const protocols = url.startsWith('https:') ? '=https' : '=http,https'
  const manners = ['--silent', '--show-error', '--fail', '--location', '--proto', protocols, '--proto-redir', protocols]
  const call = [...manners, ...limits, ...args, '--', url]
  const [file, all] = wait ? ['flock', [...wait, ...call]] : ['curl', call]
  const result = await runProgram(file, all, { env, timeoutMs }).catch(cause => {
    throw problem(
      'RELEASE_TOOL',
      `${url} could not be fetched`,
      cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
        ? `this machine has no ${file}`
        : 'it took too long',
      'Install curl (sudo apt-get install curl), see whether the network is there, and try again',
      cause,
    )
  })
  if (result.code !== 0) throw new DownloadProblem(url, result.code, result.stderr)
  return result
}

/** curl's exit codes (curl(1), EXIT CODES) as sentences. */
function reasonOf(exitCode: number, said: string): [why: string, fix: string] {
  const again = 'What has arrived is kept: the same command goes on from there'
  const words = said.replace(/^curl: \(\d+\) /, '').split('\n')[0] ?? ''
  switch (exitCode) {
    case 5:
    case 97:
      return [`the proxy is not reached: ${words}`, `See what https_proxy says, then try again. ${again}`]
    case 6:
      return [
        'its name was not found: this machine has no network, no name server, or needs a proxy',
        `See: getent hosts NAME. Behind a proxy: sudo https_proxy=http://PROXY:PORT tljh-ts upgrade. ${again}`,
      ]
    case 7:
      return [`nothing answers there: ${words}`, `See whether the network is there, then try again. ${again}`]
    case 22:
      return [words, 'Try again later. If it stays so, tell whoever runs that site']
    case 23:
      return [
        'it could not be written: the disk is full, or read-only',
        `Make room (df -h /var), then try again. ${again}`,
      ]
    case 28:
      return ['it was too slow, or nothing came any more', `Try again. ${again}`]
    case 35:
    case 60:
      return [
        `the site could not prove that it is what it says: ${words}`,
        'See whether the clock is right (timedatectl) and ca-certificates is installed, then try again',
      ]
    default:
      return [`the connection broke: ${words || `curl ended with code ${exitCode}`}`, `Try again. ${again}`]
  }
}

/** The variables that curl(1) reads. sudo hands few of them on, so they must be written behind it. */
function curlEnvironment(environment: NodeJS.ProcessEnv): Record<string, string> {
  const names = ['http_proxy', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY', 'no_proxy', 'NO_PROXY']
  const certificates = ['CURL_CA_BUNDLE', 'SSL_CERT_FILE', 'SSL_CERT_DIR']
  return Object.fromEntries(
    [...names, ...certificates].flatMap(name => {
      const value = environment[name]
      return value === undefined ? [] : [[name, value]]
    }),
  )
}

function archiveName(version: string, arch: string): string {
  return `tljh-ts-${version}-linux-${arch}.tar.gz`
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => undefined))?.size ?? 0
}

function problem(code: string, what: string, why: string, fix: string, cause?: unknown): ProblemError {
  return new ProblemError(code, { what, why, fix, ...(cause === undefined ? {} : { cause }) })
}
