import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AuditEntry, createAudit } from '../../../systemd/audit/audit.ts'

const login = (who: string): AuditEntry => ({ kind: 'login', message: `${who} logged in`, who })

function refusal(who: string, address = '192.0.2.7', reason = 'FORM_STALE'): AuditEntry {
  const message = `login refused (${reason}) from ${address} for ${JSON.stringify(who)}`
  return { kind: 'login-refused', message, who, address, reason }
}

/** A log whose writer takes one entry when it is told to. */
function openLog() {
  const written: string[] = []
  const gate = Promise.withResolvers<void>()
  const audit = createAudit(assert.ifError, async lines => {
    await gate.promise
    written.push(lines)
  })
  const messages = () => written.map(lines => /^MESSAGE=(.*)$/m.exec(lines)?.[1] ?? '')
  return { audit, written, messages, open: gate.resolve }
}

test('a flood of refusals keeps nothing else out of the log, and is an entry with a count', async () => {
  const { audit, written, messages, open } = openLog()
  for (let count = 0; count < 50_000; count++) {
    audit.record(refusal('x'))
    if (count % 5_000 === 0) audit.record(login(`ann${count}`))
  }
  audit.record({ kind: 'config', message: 'root changed the configuration', who: 'root' })
  open()
  await audit.flush()
  const logins = messages().filter(message => / logged in$/.test(message))
  assert.equal(logins.length, 10)
  assert.ok(messages().includes('root changed the configuration'))
  assert.deepEqual(
    messages().filter(message => /too fast/.test(message)),
    [],
  )
  const refusals = messages().filter(message => message.startsWith('login refused'))
  assert.equal(refusals.length, 11, 'ten alone, and the others together')
  assert.equal(refusals.at(-1), 'login refused (FORM_STALE) from 192.0.2.7, 49990 more within a minute, for "x"')
  assert.match(written.at(-1) ?? '', /^TLJH_COUNT=49990$/m)
})

test('whose names were tried is in the joined entry, for the first few', async () => {
  const { audit, written, messages, open } = openLog()
  for (let count = 0; count < 30; count++) audit.record(refusal(`name${count}`))
  open()
  await audit.flush()
  const wanted = Array.from({ length: 8 }, (_, index) => `name${index + 10}`)
  assert.ok(
    messages()
      .at(-1)
      ?.endsWith(`for ${wanted.map(name => `"${name}"`).join(', ')} and others`),
  )
  assert.deepEqual(
    [...(written.at(-1) ?? '').matchAll(/^TLJH_WHO=(.*)$/gm)].map(([, name]) => name),
    wanted,
  )
})

test('refusals from very many addresses are all counted, in few entries', async () => {
  const { audit, messages, open, written } = openLog()
  for (let count = 0; count < 20_000; count++) audit.record(refusal('x', `2001:db8::${count.toString(16)}`))
  open()
  await audit.flush()
  assert.ok(messages().length < 600, String(messages().length))
  const counts = written.map(lines => Number(/^TLJH_COUNT=(\d+)$/m.exec(lines)?.[1] ?? 1))
  assert.equal(
    counts.reduce((sum, count) => sum + count, 0),
    20_000,
  )
})

test('a count is written after a minute, while the hub goes on', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { audit, messages, open } = openLog()
  open()
  for (let count = 0; count < 12; count++) audit.record(refusal('x'))
  t.mock.timers.tick(60_000)
  while (!messages().at(-1)?.includes('2 more')) await new Promise(resolve => setImmediate(resolve))
  await audit.flush()
  audit.record(refusal('x'))
  await audit.flush()
  assert.equal(messages().length, 12)
})
