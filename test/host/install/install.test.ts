import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { bootHost, type Host } from '../../harness/host/host.ts'
import { debian } from '../../harness/image/layers.ts'
import { difference, snapshot } from '../../harness/image/snapshot.ts'
import { visit } from '../../harness/people/visitor.ts'
import { holdInstallation } from '../../harness/product/paused-installation.ts'
import { INSTALL, TLJH_TS } from '../../harness/product/product.ts'
import { makeRelease, PLACED } from '../../harness/product/unpacked-release.ts'

const configFile = '/opt/tljh/config/config.yaml'
const password = 'a stapled battery'

/** Starts an installation, and kills it when the line of that step appears; anew, where it was over before the line was read. */
async function killAt(step: string, host: Host, argv: readonly string[]): Promise<void> {
  for (let code = 0; code === 0; ) {
    await using process = await host.start(argv)
    process.stdout.resume()
    for await (const line of createInterface({ input: process.stderr })) {
      if (line.startsWith(`${step}: `)) process.kill('SIGKILL')
    }
    code = await process.ended
    assert.ok(code === 0 || code === 137, `it was killed at ${step}`)
  }
}

/** Of a whole installation, as its lines name them. */
function stepsIn(stderr: string): string[] {
  return [...new Set([...stderr.matchAll(/^([a-z-]+): /gm)].map(([, name = '']) => name))]
}

/** Without what is another on each host: its name, and what the hub has counted. */
async function likeness(host: Host): Promise<Set<string>> {
  const lines = await snapshot(host)
  const own = /hub\.sqlite|\/config\/history|\/etc\/host|class-environment/
  return new Set([...lines].filter(line => !own.test(line)))
}

/** What systemd says of units of ours that had to be killed, or failed. */
async function troubles(host: Host): Promise<string[]> {
  const { stdout } = await host.run(['journalctl', '--no-pager', '--output=cat', '_PID=1'])
  return stdout.split('\n').filter(line => /^tljh-.*(timed out|Killing|Failed)/.test(line))
}

async function refusal(host: Host, ...args: string[]): Promise<string> {
  const { code, stderr } = await host.run([...INSTALL, ...args], { check: false })
  assert.equal(code, 1)
  return stderr
}

test('broken off at each step, the same command goes on, and ends as if nothing had been', async () => {
  await using straight = await bootHost()
  const install = [...INSTALL, '--admin', `prof:${password}`]
  const { stderr } = await straight.run(install)
  const steps = stepsIn(stderr)
  assert.ok(steps.length >= 10)

  await using broken = await bootHost()
  for (const step of steps) await killAt(step, broken, install)
  await broken.run(install)
  assert.deepEqual(difference(await likeness(straight), await likeness(broken)), [])
  const prof = visit(`http://${broken.address}`)
  assert.equal((await prof.logIn('prof', password)).status, 302)
})

test('installed twice, nothing changes, and nobody is interrupted', async () => {
  await using host = await bootHost()
  await host.run([...INSTALL, '--admin', `prof:${password}`])
  const services = ['systemctl', 'show', '--property=MainPID', 'tljh-hub', 'tljh-spawner']
  assert.deepEqual(await troubles(host), [], 'and each service started and stopped as it should')
  const before = { files: await snapshot(host), services: (await host.run(services)).stdout }
  const { stderr } = await host.run([...INSTALL, '--admin', `prof:${password}`])
  for (const step of stepsIn(stderr)) assert.match(stderr, new RegExp(`^${step}: as it was$`, 'm'))
  assert.deepEqual(difference(before.files, await snapshot(host)), [])
  assert.equal((await host.run(services)).stdout, before.services)

  await host.run([...INSTALL, '--admin', 'dean', '--admin', 'prof:another one of mine'])
  assert.match(await host.readFile(configFile), /admin: \[prof, dean\]|- prof\n\s+- dean/)
  const prof = visit(`http://${host.address}`)
  assert.equal((await prof.logIn('prof', password)).status, 302, 'a password that is there is not replaced')

  // Another version, which is not an upgrade just because it is started.
  await host.run(['ln', '--symbolic', '--force', '--no-dereference', 'versions/0.0.9', '/opt/tljh/hub/current'])
  await host.run(['mkdir', '/opt/tljh/hub/versions/0.0.9'])
  const own = '/opt/tljh/hub/versions/0.1.0'
  const program = [`${own}/node_modules/node/bin/node`, `${own}/tljh-ts.ts`, 'install', '--admin', 'prof']
  const refused = await host.run(program, { check: false })
  assert.match(refused.stderr, /version 0\.0\.9 is installed here[\s\S]*sudo tljh-ts upgrade/)
})

test('a configuration is looked at as a whole before anything is changed, and never replaces another', async () => {
  await using host = await bootHost()
  const fresh = await snapshot(host)
  await host.writeFile('/root/bad.yaml', 'limits:\n  memory: banana\nhttp:\n  port: 99999\n')
  const bad = await refusal(host, '--admin', 'prof', '--config', '/root/bad.yaml')
  assert.match(bad, /limits\.memory is "banana"[\s\S]*http\.port is 99999|http\.port[\s\S]*limits\.memory/)
  assert.match(await refusal(host), /nobody would be an administrator/)
  assert.match(await refusal(host, '--admin', 'teacher:teacher'), /can’t be used[\s\S]*at least 10/)
  assert.match(
    await refusal(host, '--admin', 'teacher:teacher2026'),
    /can’t be used[\s\S]*a name that anyone here knows/,
  )
  assert.match(await refusal(host, '--admin', 'prof', '--prefix', '/home/tljh'), /kept out of homes/)
  await using web = await host.start(['python3', '-m', 'http.server', '80'])
  while (!(await host.run(['ss', '-ltnH', 'sport', '=', ':80'])).stdout) await delay(20)
  assert.match(await refusal(host, '--admin', 'prof'), /listens on port 80[\s\S]*--behind-proxy/)
  assert.deepEqual(
    difference(fresh, await snapshot(host)).filter(line => !line.includes('bad.yaml')),
    [],
  )

  await host.run([...INSTALL, '--admin', 'prof', '--behind-proxy'])
  assert.match(await host.readFile(configFile), /mode: behind-proxy\n {2}address: unix:\/run\/tljh\/front\.sock/)
  web.kill()
  await host.writeFile('/root/other.yaml', 'users:\n  admin: [dean]\n')
  assert.match(await refusal(host, '--config', '/root/other.yaml'), /sudo tljh-ts config apply \/root\/other\.yaml/)
})

test('a configuration of TLJH’s is one to begin with; its administrators get codes, and each other’s are kept', async () => {
  await using host = await bootHost()
  await host.writeFile('/root/tljh.yaml', 'users:\n  admin:\n  - dean\n  allowed: [ann]\nlimits:\n  memory: 1G\n')
  const { stdout } = await host.run([...INSTALL, '--config', '/root/tljh.yaml'])
  assert.match(stdout, /^administrator: dean\none-time code: \S+\nlink: http:\/\/\S+user=dean/m)
  assert.equal(await host.readFile(configFile), await host.readFile('/root/tljh.yaml'))
  await host.run([...INSTALL, '--config', '/root/tljh.yaml', '--admin', 'prof:with: a colon'])
  const prof = visit(`http://${host.address}`)
  assert.equal((await prof.logIn('prof', 'with: a colon')).status, 302)
  assert.equal((await host.run([...TLJH_TS, 'config', 'log'])).stdout.trim().split('\n').length, 2)
})

test('a full disk is said in words, and with room again the same command goes on', async () => {
  await using host = await bootHost()
  const small = '/usr/local/bin'
  await host.run(['mount', '-t', 'tmpfs', '-o', 'size=4k,nr_inodes=1', 'small', small])
  assert.match(await refusal(host, '--admin', 'prof'), /tljh-ts could not be changed\n.*the disk is full\n.*Make room/)
  await host.run(['umount', small])
  await host.run([...INSTALL, '--admin', 'prof'])
})

test('while it runs a browser sees the steps, and then the login page', async () => {
  await using host = await bootHost()
  const goOn = await holdInstallation(host)
  const install = INSTALL.filter(word => word !== '--no-progress-page')
  await using process = await host.start([...install, '--admin', 'prof'])
  process.stdout.resume()
  let page: { status: number; body: string } | undefined
  for await (const _ of createInterface({ input: process.stderr })) {
    if (page) continue
    const answer = await fetch(`http://${host.address}/index.html`)
    page = { status: answer.status, body: await answer.text() }
    await goOn()
  }
  assert.equal(page?.status, 200)
  assert.match(page.body, /The hub is being installed[\s\S]*class="runs"/)
  assert.equal(await process.ended, 0)
  assert.equal((await fetch(`http://${host.address}/hub/login`)).status, 200)
})

test('from nothing but a release: the network goes, a kill comes, and the class gets its environment all the same', async () => {
  await using release = await makeRelease()
  await using host = await bootHost({ isBare: true, registries: true, layers: [debian()] })
  await release.place(host)
  const install = [...PLACED, 'install', '--no-self-test', '--no-progress-page', '--admin', `prof:${password}`]
  const nowhere = { https_proxy: 'http://127.0.0.1:9', http_proxy: 'http://127.0.0.1:9' }
  const refused = await host.run(install, { check: false, env: nowhere })
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /environment of the class was not made\n.*could not be reached[\s\S]*same command again/)

  await using first = await host.start(install)
  first.stdout.resume()
  first.stderr.resume()
  const jupyter = join(host.rootPath, 'opt/tljh/user/bin/pip')
  while (!existsSync(jupyter)) await delay(20)
  first.kill('SIGKILL')
  await first.ended
  await host.writeFile('/root/more.txt', 'cowsay==6.1\n')
  await host.run([...install, '--requirements', '/root/more.txt'], { timeoutMs: 300_000 })
  await host.run(['/opt/tljh/user/bin/python', '-c', 'import cowsay'])
  await isMended(host, install)

  await host.writeFile('/root/none.txt', 'a-package-that-nobody-has-made==7\n')
  const without = await host.run([...install, '--requirements', '/root/none.txt'], { timeoutMs: 300_000 })
  assert.match(
    without.stderr,
    /!! What \/root\/none\.txt asks for is not in[\s\S]*does not have a package[\s\S]*try again/,
  )
  assert.match(without.stdout, /^address: /m)

  await isAsTljhsUsersKnowIt(host)
  for (const [service, account] of [
    ['hub', 'tljh-hub'],
    ['spawner', 'root'],
  ] as const)
    await isPrepared(host, service, account)
  const prof = visit(`http://${host.address}`)
  assert.equal((await prof.logIn('prof', password)).status, 302)
  assert.notEqual((await visit(`http://${host.address}`).logIn('dean', '')).status, 302)
  await prof.startServer()
  await hasNoTypesToTakeOut(host)
  await comesBackWithAnotherPython(host, install, nowhere)
})

/**
 * The system was upgraded to its next release: /usr/bin/python3 is another one than the one that the class environment was made with.
 * The environment is made to look older, as a machine's Python cannot be exchanged in seconds.
 */
async function comesBackWithAnotherPython(
  host: Host,
  install: readonly string[],
  nowhere: Record<string, string>,
): Promise<void> {
  const age = `
    cd /opt/tljh/user
    mv lib/python3.* lib/python3.9
    sed -i 's/^version_info = .*/version_info = 3.9.2/' pyvenv.cfg
    mkdir -p share/jupyter/kernels/own && echo '{}' >share/jupyter/kernels/own/kernel.json`
  await host.run(['sh', '-euc', age])
  const status = async () => (await host.run(['tljh-ts', 'status'], { check: false })).stdout
  const told =
    /✖ JupyterLab does not start.*\n.*made with Python 3\.9, and this machine has Python 3\.\d+ now\n.*sudo tljh-ts install/
  assert.match(await status(), told)

  assert.equal((await host.run(install, { check: false, env: nowhere })).code, 1, 'the network is away')
  await host.run(install, { timeoutMs: 300_000 })

  assert.match(await status(), /✔ JupyterLab /)
  await host.run(['/opt/tljh/user/bin/python', '-c', 'import cowsay, pip'])
  const left = await host.run(['sh', '-c', 'cd /opt/tljh; ls -d user* user/lib/* user/share/jupyter/kernels/own'])
  assert.match(left.stdout, /^user\nuser\/lib\/python3\.1\d\nuser\/share\/jupyter\/kernels\/own\n$/)
}

/** What a teacher's pip, editor or umask did to what JupyterLab needs is made right, and what was added beside it stays. */
async function isMended(host: Host, install: readonly string[]): Promise<void> {
  await host.run(
    [
      ...['sh', '-euc'],
      `pip() { /opt/tljh/user/bin/python -m pip "$@"; }
      pip install --quiet --no-deps 'traitlets==4.3.3'
      pip uninstall --quiet --yes nbclient
      cd /opt/tljh/user/lib/python3*/site-packages
      rm jupyterlab/labapp.py
      echo '# cut' >notebook/app.py
      chmod -R go= cowsay /opt/tljh/user/etc/jupyter`,
    ],
    { timeoutMs: 300_000 },
  )
  const asStudents = ['runuser', '-u', 'nobody', '--', '/opt/tljh/user/bin/python', '-c']
  const lab =
    'import jupyterlab.labapp, notebook.app, nbclient, cowsay; cowsay.cow; print(open("/opt/tljh/user/etc/jupyter/jupyter_server_config.d/jupyterlab.json").read())'
  assert.notEqual((await host.run([...asStudents, lab], { check: false })).code, 0)

  const { stderr } = await host.run(install, { timeoutMs: 300_000 })

  assert.doesNotMatch(stderr, /class-environment: as it was/)
  await host.run([...asStudents, lab])
  assert.match((await host.run(install)).stderr, /class-environment: as it was/)
}

/** Node.js's program for that stays where it was once loaded, with 20 MB. */
async function hasNoTypesToTakeOut(host: Host): Promise<void> {
  await host.run(['systemctl', 'kill', '--kill-whom=main', '--signal=USR1', 'tljh-hub'])
  const [node = ''] = PLACED
  const ask = `
    const list = () => fetch('http://127.0.0.1:9229/json/list').catch(() => setTimeout(100).then(list))
    const [{ webSocketDebuggerUrl }] = await (await list()).json()
    const socket = new WebSocket(webSocketDebuggerUrl)
    const params = { expression: 'process.moduleLoadList.join()' }
    socket.onopen = () => socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params }))
    socket.onmessage = ({ data }) => {
      console.log(JSON.parse(data).result.result.value)
      process.exit()
    }`
  const program = `import { setTimeout } from 'node:timers/promises';${ask}`
  const { stdout } = await host.run([node, '--input-type=module', '--eval', program], { timeoutMs: 30_000 })
  assert.match(stdout, /internal\/modules\/typescript/)
  assert.doesNotMatch(stdout, /amaro/)
}

/** The service finds all of its code in the compile cache, and can change nothing there. */
async function isPrepared(host: Host, service: string, account: string): Promise<void> {
  const { stdout } = await host.run(['systemctl', 'cat', `tljh-${service}`])
  const [, command = ''] = /^ExecStart=(.*)$/m.exec(stdout) ?? []
  const [, cache = ''] = /^Environment=NODE_COMPILE_CACHE=(.*)$/m.exec(stdout) ?? []
  const environment = ['env', `NODE_COMPILE_CACHE=${cache}`, 'NODE_DEBUG_NATIVE=COMPILE_CACHE']
  const load = command.replace(/tljh-ts\.ts .*$/, `tljh-ts.ts load ${service}`).split(' ')
  const identity = [`--reuid=${account}`, '--clear-groups', '--bounding-set=-all', '--inh-caps=-all']
  // Into a file: where a pipe is full for a moment, what Node.js says of its cache is lost.
  const intoFile = ['sh', '-c', 'exec "$@" >/root/told 2>&1', 'sh']
  await host.run([...intoFile, 'setpriv', ...identity, ...environment, ...load])
  const lines = (await host.readFile('/root/told')).split('\n')
  const accepted = lines.filter(line => /V8 code cache for .* was accepted/.test(line))
  assert.ok(accepted.length > 100, lines.slice(0, 20).join('\n'))
  assert.deepEqual(
    lines.filter(line => /was rejected|reading cache from .*\.\.\. (?!success)/.test(line.replace(/\[.*\]/, ''))),
    [],
  )
  const test = ['!', '-user', 'root', '-o', '-perm', '/022']
  assert.equal((await host.run(['find', cache, ...test])).stdout, '')
}

/** I1 to I8, E1 and E2 of ../shared/TLJH.md. */
async function isAsTljhsUsersKnowIt(host: Host): Promise<void> {
  await host.run(['getent', 'group', 'jupyterhub-admins', 'jupyterhub-users'])
  assert.equal((await host.run(['stat', '--format=%U %a', '/opt/tljh/hub/changes.jsonl'])).stdout, 'root 600\n')
  for (const group of ['jupyterhub-users', 'jupyterhub-admins']) {
    await host.run(['useradd', '--gid', group, `member-of-${group}`])
  }
  const user = 'member-of-jupyterhub-users'
  const find = (...test: string[]) => host.run(['find', '/opt/tljh/user', ...test, '-print', '-quit'], { user })
  for (const member of [user, 'member-of-jupyterhub-admins']) {
    const all = await host.run(['find', '/opt/tljh/user', '!', '-readable', '-print', '-quit'], { user: member })
    assert.equal(all.stdout, '')
    const { code } = await host.run(['ls', '/opt/tljh/state'], { user: member, check: false })
    assert.notEqual(code, 0)
  }
  assert.equal((await find('!', '-type', 'l', '-writable')).stdout, '')
  const owned = await host.run(['find', '/opt/tljh', '!', '-type', 'l', '-writable', '-print'], { user, check: false })
  assert.equal(owned.stdout, '')
  const pip = ['/opt/tljh/user/bin/pip', 'install', '--no-user', '--no-deps', '--upgrade', 'cowsay==6.0']
  assert.notEqual((await host.run(pip, { user, check: false })).code, 0)
  await host.run(['test', '-x', '/usr/bin/tljh-config'])

  const jupyter = async (...args: string[]) => {
    const { stdout, stderr } = await host.run(['/opt/tljh/user/bin/jupyter', ...args])
    return stdout + stderr
  }
  const server = await jupyter('server', 'extension', 'list', '--sys-prefix')
  for (const name of ['jupyterlab', 'nbgitpuller', 'jupyter_resource_usage'])
    assert.match(server, new RegExp(`${name}.*enabled`))
  const lab = await jupyter('labextension', 'list')
  for (const name of ['@jupyter-server/resource-usage', '@jupyter-widgets/jupyterlab-manager']) {
    assert.match(lab, new RegExp(`${name} .*enabled.*OK`))
  }
}
