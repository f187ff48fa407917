/** What it takes to check a configuration and to say what it would do. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Composer } from 'yaml'
import { propose } from '../../../config/change/proposal.ts'
import { parseConfig } from '../../../config/meaning/config.ts'

const machine = { memoryBytes: 1024 ** 3, own: [], others: [], groups: new Map(), hubGid: 0, now: 0 }
const situation = { inForce: parseConfig(''), running: [], machine }

for (const [what, text] of [
  ['that is right', 'users: { allowed: [ann], admin: [teacher] }\nlimits: { memory: 500M }\n'],
  ['that is empty', ''],
  ['that does not fit the machine', 'spawner: { memory_reserve: 2G }\n'],
  ['with the mask of a secret', 'metrics: { token: (secret) }\n'],
  ['that is not YAML', 'users: [\n'],
  ['with a key that nobody knows', 'user: {}\n'],
] as const) {
  test(`a text ${what} goes through YAML once`, t => {
    const compose = t.mock.method(Composer.prototype, 'compose')
    const { findings, plan } = propose(text, situation, { isAtOnce: false })
    assert.equal(compose.mock.callCount(), 1)
    assert.equal(
      plan === undefined,
      findings.some(({ severity }) => severity === 'error'),
    )
    assert.equal(plan !== undefined, what === 'that is right')
  })
}
