/** What one student makes the hub write. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { said } from '../harness/host/journal.ts'
import { startKernel } from '../harness/people/kernel.ts'
import type { Visitor } from '../harness/people/visitor.ts'
import { type Classroom, openClassroom } from '../harness/product/classroom.ts'

let classroom: Classroom
let bob: Visitor
before(async () => {
  classroom = await openClassroom(undefined)
  bob = await classroom.student('bob')
  await classroom.host.run(['mv', '/run/tljh/users/bob/socket', '/run/tljh/users/bob/kept'], { user: 'jupyter-bob' })
  await classroom.host.run(['systemctl', 'restart', 'tljh-hub'])
})
after(() => classroom?.[Symbol.asyncDispose]())

test('a line of the hub’s log is short, whatever address was asked for', async () => {
  await bob.request(`/user/bob/${'a'.repeat(12_000)}`)
  await said(classroom.host, 'tljh-hub', /\/user\/bob\/aaa/)
  const { stdout } = await classroom.host.run(['journalctl', '--no-pager', '--output=cat', '--identifier=tljh-hub'])
  const longest = Math.max(...stdout.split('\n').map(line => line.length))
  assert.ok(longest < 2000, `${longest} characters`)
})

test('a student who writes to the journal writes into one that has nothing else in it', async () => {
  const ann = await classroom.student('ann')
  using kernel = await startKernel(ann, 'ann')
  const code = 'import subprocess; subprocess.run(["logger", "a line of hers"]); '
  await kernel.run(code)
  const isWritten = 'until journalctl --namespace=tljh-users | grep "a line of hers"; do sleep 0.2; done'
  await classroom.host.run(['sh', '-c', isWritten])
  const { stdout } = await classroom.host.run(['journalctl', '--no-pager', '--output=cat'])
  assert.doesNotMatch(stdout, /a line of hers/)
})
