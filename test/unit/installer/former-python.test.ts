import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { addedPackages } from '../../../installer/environment/former-python.ts'

test('of an environment whose Python has gone, what a teacher added is found, and not what came with it', t => {
  const sitePackages = mkdtempSync(join(tmpdir(), 'tljh-'))
  t.after(() => rmSync(sitePackages, { recursive: true }))
  const has = (name: string, version: string, needs: readonly string[] = [], origin?: object) => {
    const folder = join(sitePackages, `${name}-${version}.dist-info`)
    const lines = ['Metadata-Version: 2.4', `Name: ${name}`, `Version: ${version}`]
    mkdirSync(folder)
    const head = [...lines, ...needs.map(need => `Requires-Dist: ${need}`)].join('\n')
    writeFileSync(join(folder, 'METADATA'), `${head}\n\nRequires-Dist: words-in-the-description\n`)
    if (origin) writeFileSync(join(folder, 'direct_url.json'), JSON.stringify(origin))
  }
  has('pip', '23.0')
  has('jupyterlab', '4.4.1', ['Jupyter_Server>=2', 'pytest; extra == "test"'])
  has('jupyter_server', '2.15')
  has('pytest', '8.0', ['iniconfig'])
  has('iniconfig', '2.0')
  has('Own.Tool', '1', [], { url: 'https://example.org/tool', vcs_info: { vcs: 'git', commit_id: 'abc' } })
  mkdirSync(join(sitePackages, 'broken-1.dist-info'))

  const list = addedPackages({ version: '3.11', now: '3.13', sitePackages }, '# ours\njupyterlab>=4.4,<5\n')

  assert.deepEqual(list.split('\n').slice(1), [
    'git+https://example.org/tool@abc  # 1 with Python 3.11',
    'pytest  # 8.0 with Python 3.11',
    '',
  ])
})
