import assert from 'node:assert/strict'
import { test } from 'node:test'
import { uvEnvironment } from '../../installer/class-environment.ts'

test('uv is told of the proxies, certificates and indexes that the machine has for pip', () => {
  const told = uvEnvironment(
    {
      https_proxy: 'http://proxy:3128',
      NO_PROXY: 'local',
      REQUESTS_CA_BUNDLE: '/etc/own.pem',
      PIP_INDEX_URL: 'https://a/simple',
    },
    '[global]\nindex-url = https://b/simple\nextra-index-url =\n    https://c/simple\n    https://d/simple\n[list]\nformat = columns\n',
  )
  assert.equal(told.https_proxy, 'http://proxy:3128')
  assert.equal(told.NO_PROXY, 'local')
  assert.equal(told.SSL_CERT_FILE, '/etc/own.pem')
  assert.equal(told.UV_DEFAULT_INDEX, 'https://a/simple', 'a variable is stronger than a file')
  assert.equal(told.UV_INDEX, 'https://c/simple https://d/simple')
})

test('what is said to uv itself is stronger than what is said to pip, and nothing else is passed on', () => {
  const told = uvEnvironment(
    { UV_INDEX_URL: 'https://uv/simple', PIP_INDEX_URL: 'https://pip/simple', SECRET: 'x' },
    '[list]\nindex-url = https://b/simple\n',
  )
  assert.equal(told.UV_DEFAULT_INDEX, 'https://uv/simple')
  assert.equal(told.UV_INDEX, undefined)
  assert.equal(told.SECRET, undefined)
  assert.equal(told.UV_PYTHON_DOWNLOADS, 'never')
})
