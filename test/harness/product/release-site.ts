/**
 * A site of releases for tests, over HTTP: it stands for the place where releases are published, and for the network before it.
 *
 *   await using host = await bootHost({ isBare: true })
 *   await using site = await serveReleases({ versions: [{ version: '0.1.0' }], host })
 *   site.fault(/linux-x64/, { kind: 'cut', after: 1e6 })
 *   await host.run(['sh', '-c', `curl -fsSL ${site.url}/install.sh | bash -s -- --admin ann`])
 *
 * The versions are made of the checkout as it is now (release-tree.ts), signed with a key of the test's own. A fault holds
 * for one request if no other number is given. Nothing is left when it is disposed of.
 */

import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join, normalize } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { allowedSigners, makeKey } from '../../../installer/release/signing.ts'
import { archiveName, publish } from '../../../installer/release/site.ts'
import type { Host } from '../host/host.ts'
import { cacheFolders } from '../image/cache.ts'
import { packTestVersion, type TestVersion, testArch } from './release-tree.ts'

export type { TestVersion } from './release-tree.ts'

export interface SiteOptions {
  /** The oldest first. */
  versions: readonly TestVersion[]
  /** Who is to reach the site; without, this machine alone. */
  host?: Pick<Host, 'gateway'> | undefined
}

/** What goes wrong with an answer. Bytes count from the beginning of the file, also where a part of it was asked for. */
export type Fault =
  /** The connection ends before that byte. */
  | { kind: 'cut'; after: number }
  /** From that byte on, so many bytes a second; 0 is silence. */
  | { kind: 'slow'; after: number; bytesPerSecond: number }
  /** That byte is another one. */
  | { kind: 'corrupt'; at: number }
  | { kind: 'status'; status: number }

export interface SiteRequest {
  path: string
  /** The header `Range`. */
  range: string | undefined
  /** What the client calls itself. */
  agent: string | undefined
  status: number
  /** Of the body, given to the network so far. */
  bytes: number
}

export interface ReleaseSite extends AsyncDisposable {
  /** Without a slash at the end. */
  url: string
  /** Its files, to be looked at or spoilt. */
  folder: string
  /** The private key that signs its releases; its public part is beside it. */
  keyFile: string
  /** The allowed_signers file that knows the key. */
  signersFile: string
  /** All that were made, the oldest first. */
  requests: SiteRequest[]
  /** Of all bodies together. */
  bytes(): number
  /** The path of a version's archive on the site. */
  archivePath(version: string): string
  /** Lets the next requests for matching paths go wrong: one, if no other number is given. */
  fault(path: RegExp, fault: Fault, times?: number): void
  /** All is well again. */
  heal(): void
  /** Sets the clock of the site to so many milliseconds after (before, where negative) this machine's. */
  shiftClock(ms: number): void
  /** Publishes another version. */
  add(version: TestVersion): Promise<void>
}

/** Makes and serves releases. */
export async function serveReleases({ versions, host }: SiteOptions): Promise<ReleaseSite> {
  const base = join(cacheFolders().downloads, 'releases')
  await mkdir(base, { recursive: true })
  const root = await mkdtemp(join(base, '.site-'))
  const folder = join(root, 'site')
  await mkdir(folder)
  const keyFile = join(root, 'key')
  await makeKey(keyFile, process.env)
  const signer = { keyFile, environment: process.env }
  const signers = await allowedSigners(signer)
  const signersFile = join(root, 'release.pub')
  await writeFile(signersFile, signers)

  const faults: { path: RegExp; fault: Fault; times: number }[] = []
  const requests: SiteRequest[] = []
  let clockShiftMs = 0
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://site').pathname))
    const made = { path, range: request.headers.range, agent: request.headers['user-agent'], status: 0, bytes: 0 }
    requests.push(made)
    const found = faults.find(({ path: pattern, times }) => times > 0 && pattern.test(path))
    if (found) found.times -= 1
    response.setHeader('Date', new Date(Date.now() + clockShiftMs).toUTCString())
    void answer({ request, response, file: join(folder, path), fault: found?.fault, made })
  })
  server.listen(0, host ? '0.0.0.0' : '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = address && typeof address === 'object' ? address.port : 0
  const url = `http://${host?.gateway ?? '127.0.0.1'}:${port}`

  const add = async (version: TestVersion) => {
    await mkdir(join(folder, version.version), { recursive: true })
    const file = join(folder, version.version, archiveName(version.version, testArch))
    await packTestVersion(version, { site: url, signers, file })
    await publish({ folder, url, signer }, version.version)
  }
  const close = async () => {
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
    await rm(root, { recursive: true, force: true })
  }
  try {
    for (const version of versions) await add(version)
  } catch (error) {
    await close()
    throw error
  }
  return {
    ...{ url, folder, keyFile, signersFile, requests, add },
    bytes: () => requests.reduce((sum, { bytes }) => sum + bytes, 0),
    archivePath: version => `/${version}/${archiveName(version, testArch)}`,
    fault: (path, fault, times = 1) => void faults.push({ path, fault, times }),
    heal: () => void faults.splice(0),
    shiftClock(ms) {
      clockShiftMs = ms
    },
    [Symbol.asyncDispose]: close,
  }
}

interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  file: string
  fault: Fault | undefined
  made: SiteRequest
}

async function answer({ request, response, file, fault, made }: Exchange): Promise<void> {
  const status = (code: number) => {
    made.status = code
    response.statusCode = code
  }
  const found = await stat(file).catch(() => undefined)
  if (fault?.kind === 'status' || !found?.isFile()) {
    status(fault?.kind === 'status' ? fault.status : 404)
    response.end()
    return
  }
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  response.setHeader('Accept-Ranges', 'bytes')
  if (start >= found.size && start > 0) {
    status(416)
    response.setHeader('Content-Range', `bytes */${found.size}`)
    response.end()
    return
  }
  status(start > 0 ? 206 : 200)
  if (start > 0) response.setHeader('Content-Range', `bytes ${start}-${found.size - 1}/${found.size}`)
  response.setHeader('Content-Length', found.size - start)
  // A connection that is cut is not used again.
  if (fault?.kind === 'cut') response.setHeader('Connection', 'close')
  const end = fault?.kind === 'cut' ? Math.min(found.size, fault.after) - 1 : found.size - 1
  response.flushHeaders()
  if (request.method === 'HEAD' || end < start) {
    response.end()
    return
  }
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      made.bytes += chunk.length
      done(null, chunk)
    },
  })
  // Who goes away in the middle is no mistake of the site's.
  await pipeline(createReadStream(file, { start, end }), spoil(fault, start), count, response).catch(() => undefined)
}

/** Lets bytes through as the fault has it. `position` is that of the first one in the file. */
function spoil(fault: Fault | undefined, position: number): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const begin = position
      position += chunk.length
      if (fault?.kind === 'corrupt' && begin <= fault.at && fault.at < position) {
        chunk[fault.at - begin] = (chunk[fault.at - begin] ?? 0) ^ 0xff
      }
      if (fault?.kind === 'slow' && position > fault.after) {
        const whole = Math.max(0, fault.after - begin)
        this.push(chunk.subarray(0, whole))
        drip(chunk.subarray(whole), fault.bytesPerSecond, part => this.push(part), done)
        return
      }
      done(null, chunk)
    },
  })
}

/** Ten times a second a little. */
function drip(chunk: Buffer, bytesPerSecond: number, push: (part: Buffer) => void, done: () => void): void {
  if (bytesPerSecond === 0) return
  const size = Math.max(1, Math.ceil(bytesPerSecond / 10))
  let offset = 0
  const timer = setInterval(() => {
    push(chunk.subarray(offset, offset + size))
    offset += size
    if (offset < chunk.length) return
    clearInterval(timer)
    done()
  }, 100)
  timer.unref()
}
