import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { classEnvironment, uvEnvironment } from '../../../installer/environment/class-environment.ts'
import { layoutIn } from '../../../machine/layout.ts'

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

/** An environment that lacks a package, and a program in uv's place, whose work is the script. It writes down how it was called, and where. */
function lackingEnvironment(t: TestContext) {
  const prefix = mkdtempSync(join(tmpdir(), 'tljh-'))
  t.after(() => rmSync(prefix, { recursive: true }))
  const layout = layoutIn(prefix)
  const note = `${layout.classEnvironment}.unfinished`
  const [uv, calls, python] = [join(prefix, 'uv'), join(prefix, 'calls'), join(prefix, 'user/bin/python')]
  const program = (path: string, script: string) => {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, `#!/bin/sh\n${script}\n`)
    chmodSync(path, 0o755)
  }
  mkdirSync(layout.versions, { recursive: true })
  program(python, 'echo notebook')
  return {
    ...{ prefix, layout, note },
    has: (missing: string) => program(python, `echo ${missing}`),
    environment(work: string) {
      program(uv, `echo "$PWD $*" >>${calls}\n${work}`)
      return classEnvironment(layout, {}, uv)
    },
    called: () => readFileSync(calls, 'utf8').trim().split('\n'),
  }
}

test('uv stands in the root folder, so no uv.toml of a student is obeyed, and alone, by a lock that is root’s', async t => {
  const { environment, called, prefix } = lackingEnvironment(t)

  assert.equal(await environment('true').ensure(), true)

  assert.match(called()[0] ?? '', /^\/ .*pip install/)
  assert.equal(statSync(join(prefix, 'hub/uv.lock')).mode & 0o777, 0o600)
})

test('a change that was broken off is known, and the next run puts all of it in anew, and throws nothing away', async t => {
  const { environment, called, note, has, prefix } = lackingEnvironment(t)
  writeFileSync(join(prefix, 'user/of-the-class'), '')
  await assert.rejects(environment('kill -9 $$').ensure())
  assert.ok(existsSync(note))
  // What is known to be there need not be there whole.
  has('')

  assert.equal(await environment('true').ensure(), true)

  assert.deepEqual(
    called().map(call => /--reinstall( |$)/.test(call)),
    [false, true],
  )
  assert.ok(existsSync(join(prefix, 'user/of-the-class')))
  assert.equal(existsSync(note), false)
  assert.equal(await environment('true').ensure(), false)
})

test('packages that were asked for leave a note where they failed to be put in place, and none where they were not found', async t => {
  const { environment, note, prefix } = lackingEnvironment(t)
  const file = join(prefix, 'requirements.txt')
  writeFileSync(file, 'cowsay\n')

  const notFound = environment('echo "No solution found" >&2; exit 1')
  await assert.rejects(notFound.add(file), { code: 'INSTALL_REQUIREMENTS' })
  assert.equal(existsSync(note), false)

  const full = environment('echo "Resolved 1 package in 2ms" >&2; echo "No space left on device" >&2; exit 2')
  await assert.rejects(full.add(file), { code: 'INSTALL_REQUIREMENTS' })
  assert.equal(existsSync(note), true)
})

test('an environment whose making was broken off is made from the beginning', async t => {
  const { environment, note, prefix, layout } = lackingEnvironment(t)
  writeFileSync(note, '')
  writeFileSync(join(prefix, 'user/half'), '')

  await environment(`mkdir -p ${layout.classEnvironment}`).ensure()

  assert.equal(existsSync(join(prefix, 'user/half')), false)
  assert.equal(existsSync(note), false)
})
