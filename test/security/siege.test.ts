/** One student uses everything against the hub at once, and the class works on. `npm run bench -- siege` says how well. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { footprint } from '../bench/measure/footprint.ts'
import { besiege, bootBesieged, others, restartsOf, workAllTheWhile } from '../bench/measure/siege.ts'
import type { Product } from '../harness/product/product.ts'

const seconds = 40
const mostHubBytes = 400 * 1024 ** 2

let product: Product
before(async () => {
  product = await bootBesieged()
})
after(() => product?.[Symbol.asyncDispose]())

test('while a student attacks in every way at once, nine others log in, start and run cells, and the hub stays small', async t => {
  const over = new AbortController()
  await besiege(product, seconds)
  const timer = setTimeout(() => over.abort(), seconds * 1000)
  t.after(() => clearTimeout(timer))

  const { logins, cells, failures } = await workAllTheWhile(product, over.signal)

  assert.deepEqual(failures, [])
  assert.ok(logins >= others.length && cells >= others.length, `${logins} logins, ${cells} cells`)
  for (const unit of ['tljh-hub', 'tljh-spawner']) assert.equal(await restartsOf(product.host, unit), 0, unit)
  const hub = await footprint(product.host, ['tljh-hub.service']).peakBytes()
  assert.ok(hub < mostHubBytes, `the hub held ${(hub / 1024 ** 2).toFixed(0)} MB`)
})
