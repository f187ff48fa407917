/** Names of units are made as systemd makes them: the program itself is asked. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { escapeUnitName } from '../../../systemd/names.ts'
import { bootHostBus } from '../../harness/host/bare-host.ts'

test('text is escaped as systemd-escape does it', async () => {
  await using machine = await bootHostBus()
  // A program's arguments end at a zero byte, and systemd-escape takes no empty text.
  const text = fc
    .oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom('.', '/', '-', '\\', '_', ':', '@', ' ', 'a', 'Z', '0', 'ü', '\n') }),
    )
    .filter(value => value !== '' && !value.includes('\0') && value.isWellFormed())
  await fc.assert(
    fc.asyncProperty(fc.array(text, { minLength: 50, maxLength: 100 }), async texts => {
      const { stdout } = await machine.host.run(['systemd-escape', '--', ...texts])
      assert.equal(`${texts.map(escapeUnitName).join(' ')}\n`, stdout)
    }),
    { numRuns: 30 },
  )
})
