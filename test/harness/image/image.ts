/**
 * Images: the pristine root folders that test hosts are copies of, made once and kept in the cache.
 *
 * An image is a pile of layers, each the difference that its build made to the ones below (the upper folder of an
 * overlay). What always holds:
 *   - a layer's folder is named by a hash of everything that goes into it, the layers below included, and never
 *     changes once it has that name: it is built beside and renamed when it is whole;
 *   - one process builds at a time (a lock that the kernel gives back), others wait and find the layer there;
 *   - a build leaves nothing on the machine when it is killed: its mounts are in a namespace that dies with it, and
 *     the folder it worked in is removed by the next build;
 *   - layers that nobody used for two weeks are removed.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { cacheFolders } from './cache.ts'
import { takeLock } from './cache-lock.ts'
import { type BuildRoot, openBuildRoot } from './image-root.ts'
import { clientSettings } from './package-registries.ts'

/** To be raised when the way in which layers are put together changes. */
const IMAGE_FORMAT = 1

const KEEP_UNUSED_MS = 14 * 24 * 3600 * 1000

/** A layer in the making starts with this; no finished one does. */
const BUILDING = '.building-'

export interface Layer {
  /** A word, for the folder's name and for messages. */
  name: string
  /** All that decides what the build makes: a change of it makes a new layer. Anything that JSON can write. */
  inputs: unknown
  /** Makes the layer in `root`, which holds the layers below. */
  build(root: BuildRoot): Promise<void>
}

export interface Image {
  /** The same key, the same content. */
  key: string
  /** The layers' root folders, the lowest first. Read-only for everybody. */
  folders: string[]
}

export interface ImageOptions {
  /** The lowest first. */
  layers: readonly Layer[]
  /** Told one line when something takes long. */
  report?: (line: string) => void
}

/** Gives the image with these layers, and builds those that the cache does not have. */
export async function image({ layers, report = () => {} }: ImageOptions): Promise<Image> {
  const { images, downloads } = cacheFolders()
  const folders: string[] = []
  let key = ''
  for (const layer of layers) {
    key = createHash('sha256')
      .update(JSON.stringify([IMAGE_FORMAT, process.arch, key, layer.name, layer.inputs]))
      .digest('hex')
      .slice(0, 16)
    const folder = join(images, `${layer.name}-${key}`)
    if (!existsSync(folder)) await buildOnce(layer, { folder, below: folders, downloads, report })
    const now = new Date()
    await utimes(folder, now, now)
    folders.push(join(folder, 'root'))
  }
  return { key, folders }
}

interface Place {
  folder: string
  below: readonly string[]
  downloads: string
  report: (line: string) => void
}

async function buildOnce(layer: Layer, { folder, below, downloads, report }: Place): Promise<void> {
  const images = dirname(folder)
  await using _lock = await takeLock(join(images, 'lock'))
  if (existsSync(folder)) return
  await removeStale(images)

  report(`making the image layer '${layer.name}' (kept in ${folder})`)
  const start = performance.now()
  const work = await mkdtemp(join(images, BUILDING))
  for (const name of ['root', 'work', 'merged', 'scratch']) await mkdir(join(work, name), { mode: 0o755 })
  const settings = clientSettings()
  for (const [path, content] of settings.files) {
    await mkdir(dirname(join(work, 'settings', path)), { recursive: true, mode: 0o755 })
    await writeFile(join(work, 'settings', path), content)
  }
  {
    await using root = await openBuildRoot({ work, below, downloads, env: settings.env })
    await layer.build(root)
  }
  for (const name of ['work', 'merged', 'scratch', 'settings'])
    await rm(join(work, name), { recursive: true, force: true })
  await rename(work, folder)
  report(`made '${layer.name}' in ${((performance.now() - start) / 1000).toFixed(1)} s`)
}

/** Removes what a killed build left, and layers that have not been used for long. To be called with the lock held. */
async function removeStale(images: string): Promise<void> {
  for (const name of await readdir(images)) {
    const path = join(images, name)
    const entry = await stat(path)
    if (!entry.isDirectory()) continue
    if (name.startsWith(BUILDING) || Date.now() - entry.mtimeMs > KEEP_UNUSED_MS)
      await rm(path, { recursive: true, force: true })
  }
}
