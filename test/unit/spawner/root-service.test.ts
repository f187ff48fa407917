/** How much code runs as root as long as the machine does: what `tljh-ts spawner` has loaded before it does anything. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { test } from 'node:test'

const checkout = resolve(import.meta.dirname, '../../..')

/** What it may have. To be made smaller with what becomes smaller, and never bigger. */
const mostLines = 9_600
const packages = [
  'ajv',
  'dbus-native',
  'fast-deep-equal',
  'fast-uri',
  'fastest-levenshtein',
  'json-schema-traverse',
  'yaml',
]

const report = `
const loaded = []
require('node:module').registerHooks({
  load(url, context, next) {
    loaded.push(url)
    return next(url, context)
  },
})
import('./spawner/service/spawner.ts').then(() => console.log(JSON.stringify(loaded)))
`

test('the root service loads no more code of ours, and no more packages, than it is known to need', t => {
  const options = { cwd: checkout, encoding: 'utf8' } as const
  const loaded = JSON.parse(
    execFileSync(process.execPath, ['--disable-warning=ExperimentalWarning', '--eval', report], options),
  ) as string[]
  const files = loaded.flatMap(url => (url.startsWith('file:') ? [new URL(url).pathname] : []))
  const own = files.filter(file => !file.includes('/node_modules/'))
  const lines = own.reduce((sum, file) => sum + readFileSync(file, 'utf8').split('\n').length, 0)
  const found = new Set(files.map(file => /\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? ''))
  found.delete('')
  t.diagnostic(`${own.length} files of ours with ${lines} lines, and ${found.size} packages: ${[...found].join(', ')}`)
  assert.ok(own.some(file => file.endsWith('/spawner/service/verbs.ts')) && own.length > 20)
  assert.ok(lines <= mostLines, `${lines} lines: what has come is to go elsewhere, or to another process`)
  assert.deepEqual([...found].toSorted(), packages)
})
