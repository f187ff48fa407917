import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import { referenceText } from '../../../config/schema/reference.ts'
import { schema } from '../../../config/schema/schema.ts'
import { allKeys } from '../../../config/text/read.ts'

test('the reference page is what the schema says, and names every key', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/configuration.md'), 'utf8')
  assert.equal(page, referenceText(), 'make it anew: node tljh-ts.ts config schema --markdown >docs/configuration.md')
  const named = allKeys().filter(key => !key.startsWith('traefik_api.'))
  for (const key of named) assert.ok(page.includes(`\`${key}`), key)
})

test('C11: the schema is itself valid', () => {
  assert.equal(new Ajv({ strict: false, validateFormats: false }).validateSchema(schema), true)
})
