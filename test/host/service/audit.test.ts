/** The audit log: who did what, as only the hub and root can write it. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { auditMessageId } from '../../../systemd/audit/audit.ts'
import type { AuditRecord } from '../../../systemd/audit/read.ts'
import { startKernel } from '../../harness/people/kernel.ts'
import { visit } from '../../harness/people/visitor.ts'
import { type Classroom, openClassroom, studentPassword } from '../../harness/product/classroom.ts'
import { bootProduct, INSTALL, TLJH_TS } from '../../harness/product/product.ts'

let classroom: Classroom
before(async () => {
  classroom = await openClassroom(undefined)
})
after(() => classroom[Symbol.asyncDispose]())

/** Entries are written beside the answers: waits until one is as wanted, and gives all. */
async function until(isThere: (record: AuditRecord) => boolean, ...args: string[]): Promise<AuditRecord[]> {
  for (;;) {
    const { stdout } = await classroom.host.run([...TLJH_TS, 'audit', '--json', ...args])
    const records = JSON.parse(stdout) as AuditRecord[]
    if (records.some(isThere)) return records
    await delay(50)
  }
}

test('a login, a refusal and a logout are there, in their order, with who, from where and why', async () => {
  const bob = visit(classroom.url)
  await bob.logIn('bob', studentPassword)
  await visit(classroom.url).logIn('bob', 'not his password')
  await bob.post('/hub/logout')
  const records = await until(({ kind }) => kind === 'logout', '--user', 'bob')
  assert.deepEqual(
    records.map(({ kind, who, reason }) => [kind, who, reason]),
    [
      ['login', 'bob', undefined],
      ['login-refused', 'bob', 'LOGIN_REFUSED'],
      ['logout', 'bob', undefined],
    ],
  )
  const { stdout: shown } = await classroom.host.run([...TLJH_TS, 'audit', '--kind', 'login-refused', '--lines', '1'])
  assert.match(shown, /^\d{4}-\d\d-\d\d .* UTC +login-refused +login refused \(LOGIN_REFUSED\) from [\d.]+ for "bob"$/m)
})

test('a quiet hub keeps no thread for entries, and writes the next one all the same', async () => {
  const { host, url } = classroom
  const refuse = async (name: string) => {
    await visit(url).logIn(name, 'not a password')
    await until(({ kind, who }) => kind === 'login-refused' && who === name)
  }
  const hasThread = async () => {
    const comms = 'cat /proc/$(systemctl show --property=MainPID --value tljh-hub)/task/*/comm'
    return /^WorkerThread/m.test((await host.run(['sh', '-c', comms])).stdout)
  }
  await refuse('dora')
  assert.ok(await hasThread())
  while (await hasThread()) await delay(200)
  await refuse('emil')
})

test('a change of the configuration is there with who made it and what it does, on the command line and by hand', async () => {
  const { host } = classroom
  await host.run([...TLJH_TS, 'config', 'add-item', 'users.allowed', 'cleo'])
  const [made] = (await until(({ message }) => message.includes('cleo'), '--kind', 'config')).slice(-1)
  assert.match(made?.message ?? '', /^root changed the configuration \(.*version \d+\): cleo may log in from now on/)
  const text = await host.readFile('/opt/tljh/config/config.yaml')
  await host.writeFile('/opt/tljh/config/config.yaml', `${text}branding: {title: By hand}\n`, { mode: 0o640 })
  await until(({ message }) => /^somebody changed the configuration \(by hand\)/.test(message), '--kind', 'config')
})

test('what accounts are done to on the command line is there, with who did it', async () => {
  await classroom.host.run([...TLJH_TS, 'user', 'invite', 'cleo'])
  const records = await until(({ kind }) => kind === 'code', '--user', 'cleo')
  assert.deepEqual(records.map(({ who, whom, message }) => [who, whom, message]).at(-1), [
    'root',
    'cleo',
    'root made a one-time code for cleo',
  ])
})

test('a student cannot write into it', async () => {
  const ann = await classroom.student('ann')
  using kernel = await startKernel(ann, 'ann')
  const fields = `MESSAGE=admin logged in\\nMESSAGE_ID=${auditMessageId}\\nTLJH_EVENT=login\\nTLJH_WHO=admin\\n_UID=0\\n`
  const { text } = await kernel.run(
    `import subprocess; print(subprocess.run(["logger", "--journald"], input="${fields}", text=True).returncode)`,
  )
  assert.equal(text.trim(), '0', 'the journal takes it, as it does from everybody')
  await classroom.host.run([
    'timeout',
    '100',
    'sh',
    '-c',
    'until journalctl TLJH_WHO=admin | grep "admin logged in"; do sleep 0.1; done',
  ])
  const records = await until(({ who }) => who === 'ann')
  assert.deepEqual(
    records.filter(({ message }) => message === 'admin logged in'),
    [],
  )
})

test('a flood of refusals keeps no login out of the log, and its count is there after a restart', async () => {
  const { host, url } = classroom
  const flood = visit(url)
  const refuse = () =>
    flood.request('/hub/login', {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'username=flood&password=x',
    })
  for (let round = 0; round < 20; round++) await Promise.all(Array.from({ length: 40 }, refuse))
  await Promise.all(Array.from({ length: 40 }, refuse).concat([visit(url).logIn('bob', studentPassword)]))
  await host.run(['systemctl', 'restart', 'tljh-hub.service'])
  const records = await until(({ kind, count }) => kind === 'login-refused' && (count ?? 0) > 500)
  const [joined] = records.filter(({ count }) => count !== undefined).slice(-1)
  assert.match(
    joined?.message ?? '',
    /^login refused \(FORM_STALE\) from [\d.]+, \d+ more within a minute, for "flood"$/,
  )
  assert.equal(joined?.who, 'flood')
  assert.ok(records.some(({ message }) => /^bob logged in/.test(message)))
  assert.deepEqual(
    records.filter(({ kind }) => kind === 'lost'),
    [],
  )
})

test('what somebody types cannot begin a line or a field', async () => {
  const typed = 'x\nTLJH_WHO=admin\nMESSAGE=admin logged in\u001b[31m'
  await visit(classroom.url).logIn(typed, 'some password')
  const records = await until(({ message }) => message.includes('TLJH_WHO=admin'), '--kind', 'login-refused')
  const entry = records.find(({ message }) => message.includes('TLJH_WHO=admin'))
  assert.equal(entry?.who, 'x?TLJH_WHO=admin?MESSAGE=admin logged in?[31m')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
  assert.doesNotMatch(entry?.message ?? '', /[\x00-\x1f]/)
})

test('the password that was given at the installation logs in, and another name without one does not', async () => {
  await using product = await bootProduct()
  await product.host.run([...INSTALL, '--admin', 'teacher:with: a colon'])
  assert.equal((await visit(product.url).logIn('teacher', 'with: a colon')).status, 302)
  assert.equal((await visit(product.url).logIn('somebody', '')).status, 403)
})
