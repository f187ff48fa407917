/**
 * The files that pages load: a style sheet, a logo, a script for each page that has one, and the packages that scripts
 * import (hub/pages/npm-modules.ts).
 *
 * They are read once, at start, and served from memory: an upgrade that takes this version's folder away while
 * the old hub still answers breaks no page. Browsers get the scripts in JavaScript, by removing the types from
 * `hub/browser/*.ts`, so that line numbers in a browser's console are those of the source. A release has them without
 * types already (installer/release/tree.ts): what takes them out stays in a process that has used it, with 20 MB.
 *
 * An asset's address carries its `etag`, which changes with its content, so it may be cached for ever. A name that is
 * not a key of the map does not exist: no path is ever made from a request.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { extname, join, parse } from 'node:path'
import { createModules } from './npm-modules.ts'

export interface Asset {
  body: Buffer
  /** For the header Content-Type. */
  type: string
  /** Letters, digits, `-` and `_`, without the quotes that the header ETag wants. */
  etag: string
}

/** By file name: `hub.css`, `logo.svg`, `login.js`, … */
export type Assets = Map<string, Asset>

const contentTypes = new Map([
  ['.css', 'text/css; charset=utf-8'],
  ['.svg', 'image/svg+xml'],
])

/** Reads all assets from `static` and `browser`. Throws what the file system throws, and where a package is missing. */
export function loadAssets(): Assets {
  return new Map([
    ...staticFiles(join(import.meta.dirname, 'static')),
    ...scripts(join(import.meta.dirname, 'browser')),
  ])
}

function* staticFiles(folder: string): Iterable<[string, Asset]> {
  for (const name of readdirSync(folder)) {
    const type = contentTypes.get(extname(name))
    if (type !== undefined) yield [name, asset(readFileSync(join(folder, name)), type)]
  }
}

function scripts(folder: string): Assets {
  const assets: Assets = new Map()
  const serve = (name: string, script: string) => {
    const made = asset(Buffer.from(script), 'text/javascript; charset=utf-8')
    assets.set(name, made)
    return made.etag
  }
  const modules = createModules(serve)
  for (const file of readdirSync(folder)) {
    const { name, ext } = parse(file)
    if (ext !== '.ts' && ext !== '.js') continue
    const source = readFileSync(join(folder, file), 'utf8')
    serve(`${name}.js`, modules.link(ext === '.ts' ? stripTypeScriptTypes(source) : source))
  }
  return assets
}

function asset(body: Buffer, type: string): Asset {
  return { body, type, etag: createHash('sha256').update(body).digest('base64url').slice(0, 16) }
}
