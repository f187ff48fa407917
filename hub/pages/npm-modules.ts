/**
 * The packages that scripts of pages import, such as CodeMirror: served as they are published, one file each, with the names
 * in their `import` lines replaced by addresses of ours. So there is no bundler, and what a browser runs is what npm
 * installed.
 *
 * What is served is found by walking the imports from our own scripts, at start. An address carries the `etag` of the file
 * behind it, and so the etag of a file depends on all that it imports. npm lays the packages side by side, one version of
 * each: two of CodeMirror's state would not work together anyway.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Makes a file that is served, and answers its etag. */
export type Serve = (name: string, script: string) => string

/** `import … from 'x'`, `import 'x'`, `export … from 'x'`, each from the start of a line. */
const importLine = /^(import\s*|(?:import|export)\b[^'"`;=]*?\bfrom\s*)(['"])([^'"\n]+)\2/gm

export interface Modules {
  /** The script, with addresses for the packages that it imports; those are served from now on. */
  link(script: string): string
}

export function createModules(serve: Serve): Modules {
  /** Undefined while a file is being read: then it imports itself in the end. */
  const addresses = new Map<string, string | undefined>()

  function link(script: string): string {
    return script.replace(importLine, (_line, head: string, quote: string, name: string) => {
      return `${head}${quote}./${addressOf(name)}${quote}`
    })
  }

  /** Throws where the package is not installed, and what the file system throws. */
  function addressOf(name: string): string {
    if (!addresses.has(name)) {
      addresses.set(name, undefined)
      const file = servedName(name)
      const script = readFileSync(fileURLToPath(import.meta.resolve(name)), 'utf8')
      addresses.set(name, `${file}?v=${serve(file, link(script))}`)
    }
    const address = addresses.get(name)
    if (address === undefined) throw new TypeError(`the package ${name} imports itself, over others`)
    return address
  }

  return { link }
}

/** `@codemirror/view` is served as `codemirror-view.js`. */
function servedName(name: string): string {
  if (!/^(?:@[a-z0-9-]+\/)?[a-z0-9-]+$/.test(name)) throw new TypeError(`a script imports ${name}, which is no package`)
  return `${name.replace(/^@/, '').replace('/', '-')}.js`
}
