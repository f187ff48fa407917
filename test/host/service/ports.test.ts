/** The hub's ports: a student who waits for one gets none, and what cannot be had comes back by itself. One class, many moves. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { versionOf } from '../../../config/meaning/config.ts'
import { ProblemError } from '../../../problem.ts'
import { connectSpawner, type SpawnerClient } from '../../../spawner/client/client.ts'
import { receive } from '../../harness/people/steady-visitors.ts'
import { type Classroom, claiming, openClassroom } from '../../harness/product/classroom.ts'
import { TLJH_TS } from '../../harness/product/product.ts'

const users = `${claiming}users:\n  admin: [admin]\n  allowed: [ann, bob]\n`
const configFile = '/opt/tljh/config/config.yaml'

let classroom: Classroom
let spawner: SpawnerClient

before(async () => {
  classroom = await openClassroom(undefined)
  spawner = connectSpawner(join(classroom.host.rootPath, 'run/tljh/spawner.sock'))
  await classroom.student('ann')
  await classroom.host.writeFile('/home/jupyter-ann/catch.py', catcher, { owner: 'jupyter-ann' })
})
after(async () => {
  spawner.close()
  await classroom[Symbol.asyncDispose]()
})

/** Resolves when hub and spawner run what was written by hand. */
async function edit(more: string): Promise<void> {
  const text = users + more
  await write(text)
  // A busy machine takes longer to start a hub than anybody waits for an answer.
  while (!(await spawner.services.reload({ isAtOnce: false }).then(() => true, isTooLate))) await delay(50)
  for (;;) {
    const { spawner: one, hub: other } = await spawner.services.status()
    if (one === versionOf(text) && other === one) return
    await delay(50)
  }
}

function isTooLate(error: unknown): boolean {
  if (error instanceof ProblemError && error.code === 'SPAWNER_UNREACHABLE') return false
  throw error
}

/** Any answer: on the port for visits the hub has no pages of its own. */
async function isAnswering(port: number): Promise<boolean> {
  return (await fetch(`${classroom.url}:${port}/hub/health`).catch(() => undefined)) !== undefined
}

const write = (text: string) => classroom.host.writeFile(configFile, text, { mode: 0o640, group: 'tljh-hub' })

async function run(...command: string[]): Promise<string> {
  return (await classroom.host.run(command, { check: false })).stdout.trim()
}

interface Line {
  name: string
  health: string
  text: string
  why?: string
  fix?: string
}

async function statusOf(name: string): Promise<Line[]> {
  const { lines } = JSON.parse(await run(...TLJH_TS, 'status', '--json')) as { lines: Line[] }
  return lines.filter(line => line.name === name)
}

const restarts = () => run('systemctl', 'show', '--value', '--property=InvocationID', 'tljh-hub.service')

/** Tries each address of these ports again and again, and keeps what it gets. */
const catcher = `
import select, socket, sys
def attempts(ports):
    kept, isLast, count = [], False, 0
    while not isLast:
        isLast = bool(select.select([sys.stdin], [], [], 0)[0])
        for port in ports:
            for family, address in ((2, "0.0.0.0"), (2, "127.0.0.1"), (10, "::"), (10, "::1")):
                for option in (2, 15):
                    s = socket.socket(family)
                    s.setsockopt(socket.SOL_SOCKET, option, 1)
                    if family == 10: s.setsockopt(41, 26, 1)
                    try:
                        s.bind((address, port)); s.listen(5); print("caught", address, port, flush=True); kept.append(s)
                    except OSError: s.close()
        count += 1
        if count == 1: print("round", flush=True)
attempts([int(port) for port in sys.argv[1:]])
`

const ann = { user: 'jupyter-ann' }

/** Has ann try to get these ports while `work` is done. Answers what she got. */
async function whileCatching(ports: readonly number[], work: () => Promise<void>): Promise<string[]> {
  const program = ['python3', '/home/jupyter-ann/catch.py', ...ports.map(String)]
  await using catching = await classroom.host.start(program, ann)
  const said = createInterface({ input: catching.stdout })[Symbol.asyncIterator]()
  assert.equal((await said.next()).value, 'round')
  await work()
  // A whole round after that.
  const rest: string[] = []
  catching.stdin.end()
  for await (const line of { [Symbol.asyncIterator]: () => said }) rest.push(line)
  return rest
}

/** A program of ann's that listens until it is ended, and answers nobody. */
async function listening(address: string, port: number, { user } = ann) {
  const program = `import socket; s = socket.socket(); s.setsockopt(1, socket.SO_REUSEADDR, 1); s.bind(("${address}", ${port})); s.listen(); print("there", flush=True)\nwhile True: s.accept()[0].close()`
  const process = await classroom.host.start(['python3', '-c', program], { user })
  if (!(await process.stdout[Symbol.asyncIterator]().next()).value) throw new Error(String(await process.stderr.read()))
  return process
}

test('a student who waits for the hub’s ports catches none in ten moves, and an address that stays is never closed', async () => {
  const { url } = classroom
  const at = (address: string) => edit(`http: {address: "${address}", port: 8080}\nadmins: {visit_port: 8081}\n`)
  await at('')
  const byAddress = await whileCatching([8080, 8081], async () => {
    for (const address of ['127.0.0.1', '', '0.0.0.0', '127.0.0.1', '::1', '']) await at(address)
  })
  assert.deepEqual(byAddress, [])

  // One address stays, and the other moves.
  const ask = async () => {
    const answer = await fetch(`${url}:8080/hub/login`, { headers: { connection: 'close' } })
    return { status: answer.status, body: await answer.text() }
  }
  const { answered, refused } = await receive(4, ask, async () => {
    const byPort = await whileCatching([8080], async () => {
      for (const port of [8082, 8083, 8084, 8081]) await edit(`http: {port: 8080}\nadmins: {visit_port: ${port}}\n`)
    })
    assert.deepEqual(byPort, [])
  })
  assert.deepEqual(refused, [])
  assert.ok(answered > 4)
  assert.ok(await isAnswering(8081))
})

test('a hub whose sockets root closes for a while leaves its ports to no student', async () => {
  const { host } = classroom
  await edit('http: {port: 8080}\nadmins: {visit_port: 8081}\n')
  await host.run(['systemctl', 'stop', 'tljh-hub.socket', 'tljh-hub-visit.socket', 'tljh-hub.service'])
  assert.deepEqual(await whileCatching([8080, 8081], async () => undefined), [])
  await host.run(['systemctl', 'start', 'tljh-hub.socket', 'tljh-hub-visit.socket', 'tljh-hub.service'])
  assert.ok(await isAnswering(8081))
})

test('a port that a student has is not taken up, with the reason in status; it is as soon as it is free', async () => {
  const { url } = classroom
  await edit('')
  await using mine = await listening('127.0.0.1', 8085)
  const same = await restarts()

  await write(`${users}admins: {visit_port: 8085}\n`)
  await assert.rejects(
    spawner.services.reload({ isAtOnce: false }),
    /cannot listen on port 8085 \(admins\.visit_port\)/,
  )

  assert.equal(await restarts(), same, 'the hub was not disturbed')
  assert.equal((await fetch(`${url}/hub/login`)).status, 200)
  const [line] = await statusOf('ports')
  assert.equal(line?.health, 'bad')
  assert.match(line?.text ?? '', /cannot listen on port 8085/)
  assert.match(line?.why ?? '', /^python\S* \(process \d+\) of jupyter-ann listens there$/)
  assert.match(line?.fix ?? '', /the hub takes the port by itself.*config set admins\.visit_port/)

  mine.kill()
  while (!(await isAnswering(8085))) await delay(100)
  assert.deepEqual(
    (await statusOf('ports')).map(({ health }) => health),
    ['good'],
  )
})

test('what the holder of the ports says is not lost where others start it anew meanwhile', async () => {
  const { host, url } = classroom
  await edit('')
  await using mine = await listening('127.0.0.1', 8088)
  const same = await restarts()
  await using others = await host.start(['sh', '-c', 'while systemctl restart tljh-ports; do echo; done'])
  await once(others.stdout, 'data')
  others.stdout.resume()

  await write(`${users}admins: {visit_port: 8088}\n`)
  for (let count = 0; count < 4; count++) {
    await assert.rejects(
      spawner.services.reload({ isAtOnce: false }),
      /cannot listen on port 8088 \(admins\.visit_port\)/,
    )
  }
  others.kill()
  await others.ended
  assert.equal(await restarts(), same, 'the hub was not disturbed')
  assert.equal((await fetch(`${url}/hub/login`)).status, 200)
  mine.kill()
  while (!(await isAnswering(8088))) await delay(100)
})

test('the hub does not move to an address whose port another program has, and does as soon as it can', async () => {
  const { host, url } = classroom
  for (const { port, startOther, user } of [
    { port: 80, startOther: () => listening('127.0.0.1', 80, { user: 'root' }), user: 'root' },
    { port: 8089, startOther: () => listening('127.0.0.1', 8089), user: 'jupyter-ann' },
  ]) {
    await edit(`http: {address: "${host.address}", port: ${port}}\n`)
    // As on a machine where the other was there first.
    await host.run(['systemctl', 'stop', 'tljh-ports.service'])
    await using other = await startOther()
    const same = await restarts()

    const change = await host.run([...TLJH_TS, 'config', 'set', 'http.address', '0.0.0.0'], { check: false })
    assert.match(
      change.stdout + change.stderr,
      new RegExp(`another program of this machine listens there \\(127\\.0\\.0\\.1:${port}\\)`),
    )
    // As where it came between the look and the move.
    await write(`${users}http: {port: ${port}}\n`)
    const refusal = new RegExp(`cannot listen on port ${port} \\(http\\.port\\)`)
    await assert.rejects(spawner.services.reload({ isAtOnce: false }), refusal)

    assert.equal(await restarts(), same, 'the hub was not disturbed')
    assert.equal((await fetch(`${url}:${port}/hub/login`)).status, 200)
    const [line] = await statusOf('ports')
    assert.match(line?.text ?? '', refusal)
    assert.match(line?.why ?? '', new RegExp(`^python\\S* \\(process \\d+\\) of ${user} listens there$`))

    other.kill()
    while (!(await run('ss', '-ltnH', 'src', `[::]:${port}`))) await delay(100)
    assert.equal((await fetch(`${url}:${port}/hub/login`)).status, 200)
  }
  await edit('')
})

test('a change whose port is caught at the last moment leaves the hub where it was', async () => {
  const { host, url } = classroom
  await edit('')
  await using mine = await listening('', 8086)
  const change = await host.run([...TLJH_TS, 'config', 'set', 'http.port', '8086'], { check: false })
  assert.match(change.stdout + change.stderr, /http\.port is 8086[\s\S]*another program of this machine listens there/)
  // As where it came between the look and the move.
  await write(`${users}http: {port: 8086}\n`)
  await assert.rejects(spawner.services.reload({ isAtOnce: false }), /cannot listen on port 8086 \(http\.port\)/)
  assert.equal((await fetch(`${url}/hub/login`)).status, 200)
  mine.kill()
  await edit('')
})

test('a socket that failed comes back when its port is free, and port 80 is there all the while', async () => {
  const { host, url } = classroom
  await edit('admins: {visit_port: 8087}\n')
  await host.run(['systemctl', 'stop', 'tljh-hub-visit.socket', 'tljh-ports.service', 'tljh-hub.service'])
  await using other = await host.start(['python3', '-m', 'http.server', '8087'])
  while (!(await run('ss', '-ltnH', 'sport', '=', ':8087'))) await delay(20)
  await host.run(['systemctl', 'start', 'tljh-hub-visit.socket'], { check: false })

  assert.equal((await fetch(`${url}/hub/login`)).status, 200)
  assert.match((await statusOf('ports'))[0]?.why ?? '', /^python3 .* of root listens there/)
  other.kill()
  while (!(await isAnswering(8087))) await delay(100)
  // The hub answers before the port is held anew.
  while (!/held: 8087/.test(await run('systemctl', 'show', '--property=StatusText', 'tljh-ports'))) await delay(100)
})

test('a spawner that moves the hub stops at once, and the next one goes on', async () => {
  const { host, url } = classroom
  const folder = '/etc/systemd/system/tljh-ports.service.d'
  await host.writeFile(`${folder}/slow.conf`, '[Service]\nExecStartPre=/bin/sleep 2\n')
  // As one leaves it that is killed while it writes.
  await host.writeFile(`${folder}/ports.env.new`, 'TLJH_STR')
  await run('systemctl', 'daemon-reload')
  const before = await restarts()
  await host.writeFile(`${folder}/moving`, '')
  await run('systemctl', 'restart', 'tljh-spawner.service')
  while ((await run('systemctl', 'is-active', 'tljh-ports.service')) !== 'activating') await delay(20)
  // While the spawner waits for systemd: systemd must not wait for the spawner.
  await host.run(['systemctl', 'restart', 'tljh-spawner.service'])
  assert.equal(await run('systemctl', 'show', '--value', '--property=Result', 'tljh-spawner.service'), 'success')
  assert.doesNotMatch(
    await run('journalctl', '--no-pager', '--output=cat', '_PID=1'),
    /tljh-spawner.*timed out|tljh-spawner.*SIGKILL/,
  )
  while ((await restarts()) === before || (await run('ls', folder)).split('\n').includes('moving')) await delay(100)
  assert.equal((await fetch(`${url}/hub/login`)).status, 200)
  assert.doesNotMatch(await run('ls', folder), /new$/m)
  await run('rm', `${folder}/slow.conf`)
  await run('systemctl', 'daemon-reload')
})

test('an installation and a spawner that starts do not move the hub at the same time', async () => {
  const { host } = classroom
  const began = await run('date', '+%s.%N')
  await host.run([...TLJH_TS, 'install', '--no-self-test', '--no-progress-page'])
  await host.writeFile('/etc/systemd/system/tljh-ports.service.d/moving', '')
  await Promise.all([
    host.run(['systemctl', 'restart', 'tljh-spawner.service']),
    host.run([...TLJH_TS, 'install', '--no-self-test', '--no-progress-page']),
  ])
  while ((await run('ls', '/etc/systemd/system/tljh-ports.service.d')).includes('moving')) await delay(50)
  const journal = await run('journalctl', '--no-pager', '--output=cat', '_PID=1', `--since=@${began}`)
  assert.doesNotMatch(journal, /^tljh-.*(timed out|Killing|Failed)/m)
})

test('a machine on which everybody may listen below 1024 is told of', async () => {
  const { host } = classroom
  const setting = 'net.ipv4.ip_unprivileged_port_start'
  await host.run(['sysctl', '--quiet', '--write', `${setting}=80`])
  const lines = await statusOf('first-port').finally(() =>
    host.run(['sysctl', '--quiet', '--write', `${setting}=1024`]),
  )
  assert.match(lines[0]?.text ?? '', /may listen on port 80/)
  assert.deepEqual(await statusOf('first-port'), [])
})
