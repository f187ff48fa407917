import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { versionOf } from '../../../config/meaning/config.ts'
import { connectSpawner } from '../../../spawner/client/client.ts'
import { said } from '../../harness/host/journal.ts'
import { startKernel } from '../../harness/people/kernel.ts'
import { visit } from '../../harness/people/visitor.ts'
import { type Classroom, claiming, openClassroom, studentPassword } from '../../harness/product/classroom.ts'

const users = `${claiming}users:\n  admin: [admin]\n  allowed: [ann, bob]\n`

/** A class whose file is edited by hand: `edit` resolves when hub and spawner run what was written. */
async function openEdited(t: TestContext) {
  const classroom = await openClassroom(t)
  const { host } = classroom
  const spawner = connectSpawner(join(host.rootPath, 'run/tljh/spawner.sock'))
  t.after(() => spawner.close())
  return {
    ...classroom,
    async edit(text: string) {
      await host.writeFile('/opt/tljh/config/config.yaml', text, { mode: 0o640, group: 'tljh-hub' })
      await spawner.services.reload({ isAtOnce: false })
      for (;;) {
        const { spawner: one, hub: other } = await spawner.services.status()
        if (one === versionOf(text) && other === one) return
        await delay(10)
      }
    },
  }
}

async function property({ host }: Classroom, unit: string, name: string): Promise<string> {
  return (await host.run(['systemctl', 'show', '--value', `--property=${name}`, unit])).stdout.trim()
}

test('a limit changes while the server runs, and its kernel keeps its variables', async t => {
  const classroom = await openEdited(t)
  const ann = await classroom.student('ann')
  using kernel = await startKernel(ann, 'ann')
  await kernel.run('kept = 42')

  await classroom.edit(`${users}limits:\n  memory: 1G\n  cpu: 0.5\n  tasks: 200\n`)

  assert.equal(await property(classroom, 'tljh-user-ann', 'MemoryMax'), String(1024 ** 3))
  assert.equal(await property(classroom, 'tljh-user-ann', 'CPUQuotaPerSecUSec'), '500ms')
  assert.equal(await property(classroom, 'tljh-user-ann', 'TasksMax'), '200')
  assert.equal((await kernel.run('kept')).text, '42')

  await classroom.edit(users)
  assert.equal(await property(classroom, 'tljh-user-ann', 'MemoryMax'), 'infinity')
})

test('a limit below what a server uses leaves it alive, and counts at its next start', async t => {
  const classroom = await openEdited(t)
  const ann = await classroom.student('ann')
  const bob = await classroom.student('bob')
  using kernel = await startKernel(ann, 'ann')
  await kernel.run('b = b"1" * (300 * 1024**2)')

  await classroom.edit(`${users}limits:\n  memory: 200M\n`)

  assert.equal(await property(classroom, 'tljh-user-ann', 'MemoryMax'), 'infinity')
  assert.equal(await property(classroom, 'tljh-user-bob', 'MemoryMax'), String(200 * 1024 ** 2))
  assert.equal((await kernel.run('len(b)')).text, String(300 * 1024 ** 2))
  await ann.post('/hub/stop')
  for await (const event of ann.progress('ann')) if (event.failed) break
  await ann.startServer()
  assert.equal(await property(classroom, 'tljh-user-ann', 'MemoryMax'), String(200 * 1024 ** 2))
  assert.equal((await bob.jupyter('GET', 'api/status')).status, 200)
})

test('a limit of one’s own is stronger than the group’s, and that than the default', async t => {
  const classroom = await openEdited(t)
  await classroom.student('ann')
  await classroom.student('bob')
  await classroom.edit(
    `${users}groups:\n  ml: {members: [ann, bob]}\nlimits:\n  memory: 1G\n  groups:\n    ml: {memory: 2G}\n  users:\n    bob: {memory: 3G}\n`,
  )
  assert.equal(await property(classroom, 'tljh-user-ann', 'MemoryMax'), String(2 * 1024 ** 3))
  assert.equal(await property(classroom, 'tljh-user-bob', 'MemoryMax'), String(3 * 1024 ** 3))
})

test('who is taken off the file loses session, WebSocket and server at once', async t => {
  const classroom = await openEdited(t)
  const ann = await classroom.student('ann')
  const bob = await classroom.student('bob')
  using kernel = await startKernel(ann, 'ann')
  const closed = once(kernel.socket, 'close')

  await classroom.edit('users:\n  admin: [admin]\n  allowed: [bob]\n')

  await closed
  assert.equal((await ann.request('/hub/home')).status, 302)
  assert.equal((await visit(classroom.url).logIn('ann', studentPassword)).status, 403)
  while ((await property(classroom, 'tljh-user-ann', 'ActiveState')) !== 'inactive') await delay(50)
  assert.equal((await bob.jupyter('GET', 'api/status')).status, 200)

  await classroom.edit(users)
  assert.equal((await ann.request('/hub/home')).status, 302, 'an old session does not come to life again')
  assert.equal((await ann.logIn('ann', studentPassword)).status, 302)
})

test('administrators follow the file in both directions', async t => {
  const classroom = await openEdited(t)
  const { host } = classroom
  const ann = await classroom.student('ann')
  await classroom.student('bob')
  const groups = async () => (await host.run(['id', '-nG', 'jupyter-ann'])).stdout.trim().split(' ')

  const open = 'admins:\n  open_servers: true\n'
  await classroom.edit(`${claiming}users:\n  admin: [admin, ann]\n  allowed: [ann, bob]\n${open}`)
  assert.ok((await groups()).includes('jupyterhub-admins'))
  await ann.post('/hub/visit/bob')
  assert.equal((await ann.request('/user/bob/api')).status, 200)

  await classroom.edit(`${users}${open}`)
  assert.ok(!(await groups()).includes('jupyterhub-admins'))
  assert.equal((await ann.request('/user/bob/api')).status, 403)
})

test('sudo and groups of the machine end with the server that has them, which is said before', async t => {
  const classroom = await openEdited(t)
  const { host } = classroom
  const groupOf = (members: string) => `  extra_user_groups:\n    robots: [${members}]\n`
  const withRights = `${claiming}users:\n  admin: [admin, bob]\n  allowed: [ann, bob]\n${groupOf('ann')}`
  await host.run(['tljh-ts', 'user', 'passwd', 'bob'], { input: `${studentPassword}\n` })
  await classroom.edit(withRights)
  await classroom.student('ann')
  const bob = await classroom.student('bob')
  using kernel = await startKernel(bob, 'bob')
  const sudo =
    'import subprocess; print(subprocess.run(["sudo", "-n", "id", "-un"], capture_output=True, text=True).stdout)'
  assert.match((await kernel.run(sudo)).text, /^root$/m)
  // As root, and with another parent.
  await kernel.run('subprocess.run("sudo -n setsid sleep 4321 >/dev/null 2>&1 &", shell=True)')

  await host.writeFile('/root/fewer.yaml', `${users}${groupOf('')}`)
  const plan = await host.run(['tljh-ts', 'config', 'apply', '/root/fewer.yaml', '--dry-run'], { check: false })
  assert.match(plan.stdout, /bob’s server is stopped now, because bob is no longer an administrator/)
  assert.match(plan.stdout, /ann’s server is stopped now, because ann leaves a group of the machine/)

  await classroom.edit(`${users}${groupOf('')}`)
  for (const name of ['ann', 'bob']) {
    while ((await property(classroom, `tljh-user-${name}`, 'ActiveState')) !== 'inactive') await delay(50)
  }
  assert.notEqual((await host.run(['pgrep', '--full', 'sleep 4321'], { check: false })).code, 0)

  // And what changed while no spawner ran.
  await classroom.edit(withRights)
  await bob.startServer()
  await host.run(['systemctl', 'stop', 'tljh-spawner.socket', 'tljh-spawner.service'])
  await host.writeFile('/opt/tljh/config/config.yaml', users, { mode: 0o640, group: 'tljh-hub' })
  await host.run(['systemctl', 'start', 'tljh-spawner.socket', 'tljh-spawner.service'])
  while ((await property(classroom, 'tljh-user-bob', 'ActiveState')) !== 'inactive') await delay(50)
  assert.doesNotMatch((await host.run(['id', '-nG', 'jupyter-bob'])).stdout, /jupyterhub-admins/)
})

test('the hub moves to another port, and another path, and students’ kernels run on', async t => {
  const classroom = await openEdited(t)
  const { host, url } = classroom
  await classroom.student('ann')
  const pid = await property(classroom, 'tljh-user-ann', 'MainPID')

  await classroom.edit(`${users}http:\n  port: 8080\n`)
  assert.equal((await fetch(`${url}:8080/hub/login`)).status, 200)
  await assert.rejects(fetch(`${url}/hub/login`))
  assert.equal(await property(classroom, 'tljh-user-ann', 'MainPID'), pid)

  await classroom.edit(`${users}http:\n  address: 127.0.0.1\n`)
  await assert.rejects(fetch(`${url}/hub/login`))
  assert.match((await host.run(['curl', '-s', 'http://127.0.0.1/hub/health'])).stdout, /ok/)

  await classroom.edit(`${users}base_url: /class/\n`)
  assert.equal((await fetch(`${url}/class/hub/login`)).status, 200)
  await host.reboot()
  assert.equal((await fetch(`${url}/class/hub/login`)).status, 200, 'and after a reboot')
})

test('a file that is empty, missing, unreadable or no text stops nobody', async t => {
  const classroom = await openEdited(t)
  const { host, url } = classroom
  const ann = await classroom.student('ann')
  const file = '/opt/tljh/config/config.yaml'
  const broken = [
    // As an editor does for a moment when it saves.
    ['sh', '-c', `: >${file}`],
    ['sh', '-c', `rm ${file}`],
    ['sh', '-c', `touch ${file}; chmod 700 /opt/tljh/config; chown root:root /opt/tljh/config`],
    ['sh', '-c', 'chmod 750 /opt/tljh/config; chown root:tljh-hub /opt/tljh/config'],
    ['sh', '-c', `printf 'users:\\n  allowed: [ann\\n' >${file}`],
    ['sh', '-c', `printf '\\377\\376\\000' >${file}`],
    ['sh', '-c', `rm ${file}; mkdir ${file}`],
    ['sh', '-c', `rmdir ${file}; head -c 3000000 /dev/zero >${file}`],
    ['sh', '-c', `printf 'limits: {memory: 1GB}\\n' >${file}; chmod 600 ${file}`],
  ]
  for (const command of broken) {
    await host.run(command)
    assert.equal((await ann.request('/hub/home')).status, 200, command.join(' '))
  }
  await said(host, 'tljh-*', /the configuration file is not in force: .*1GB|not in force.*permission/i)
  await host.run(['systemctl', 'restart', 'tljh-hub', 'tljh-spawner'])
  assert.equal((await fetch(`${url}/hub/login`)).status, 200, 'nor a start with it')
  assert.equal(await property(classroom, 'tljh-hub', 'NRestarts'), '0')
})

test('title, message and the least length of a password change at once, and an administrator sees what is not in force', async t => {
  const classroom = await openEdited(t)
  const { host, url } = classroom
  const admin = await classroom.administrator()
  await classroom.edit(
    `${users.replace(': true ', ': true, min_password_length: 12 ')}branding:\n  title: Physics <1>\n  message: Bring your own questions\n`,
  )
  const login = await visit(url).request('/hub/login')
  assert.match(login.body, /Physics &lt;1&gt;/)
  assert.match(login.body, /Bring your own questions/)
  const bob = visit(url)
  assert.match((await bob.logIn('bob', 'elevenchars')).body, /at least 12/)

  await host.writeFile('/opt/tljh/config/config.yaml', `${users}limits:\n  memroy: 1G\n`, {
    mode: 0o640,
    group: 'tljh-hub',
  })
  assert.match(
    (await admin.request('/hub/home')).body,
    /not in force: limits\.memroy is set \(line 6\).*limits\.memory/s,
  )
  assert.equal((await bob.logIn('bob', 'twelve chars')).status, 302)
  assert.doesNotMatch((await bob.request('/hub/home')).body, /not in force/)
})

test('groups of the machine follow the file in both directions', async t => {
  const classroom = await openEdited(t)
  const { host } = classroom
  await classroom.student('ann')
  const groups = async (name: string) => (await host.run(['id', '-nG', `jupyter-${name}`])).stdout.trim().split(' ')
  const withGroups = (text: string) =>
    `${claiming}users:\n  admin: [admin]\n  allowed: [ann, bob]\n  extra_user_groups:\n${text}`

  await classroom.edit(withGroups('    robots: [ann, bob]\n'))
  assert.ok((await groups('ann')).includes('robots'), 'a group that was not there is made')
  await classroom.student('bob')
  assert.ok((await groups('bob')).includes('robots'), 'an account that is made later is in it')

  await classroom.edit(withGroups('    robots: [bob]\n'))
  assert.ok(!(await groups('ann')).includes('robots'))
  await classroom.edit(users)
  assert.ok(!(await groups('bob')).includes('robots'))
})
