import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { bootProduct, INSTALL, type Product, TLJH_TS } from '../../harness/product/product.ts'

interface Line {
  name: string
  health: 'good' | 'warning' | 'bad'
  text: string
  why?: string
  fix?: string
}

let product: Product

before(async () => {
  product = await bootProduct()
})
after(() => product[Symbol.asyncDispose]())

async function status(): Promise<{ code: number; lines: Line[] }> {
  const { code, stdout } = await product.host.run([...TLJH_TS, 'status', '--json'], { check: false })
  return { code, lines: JSON.parse(stdout).lines }
}

/** Breaks something, looks, and mends it. Answers the red lines. */
async function whileBroken(harm: string, remedy: string): Promise<Line[]> {
  await product.host.run(['sh', '-euc', harm])
  const { code, lines } = await status().finally(() => product.host.run(['sh', '-euc', remedy]))
  assert.equal(code, 1)
  const red = lines.filter(({ health }) => health === 'bad')
  for (const { text, why, fix } of red) assert.ok(why && fix, `${text} does not say what to do`)
  return red
}

function lineOf(lines: readonly Line[], name: string): Line {
  const line = lines.find(one => one.name === name)
  assert.ok(line, `${name} is not red: ${JSON.stringify(lines)}`)
  return line
}

test('on a fresh installation all is green, in words and for programs', async () => {
  const { code, lines } = await status()

  // Nobody sets the clock of a test host.
  const others = lines.filter(({ name, health }) => name !== 'clock' && health !== 'good')
  assert.deepEqual(others, [])
  assert.equal(code, 0)
  const { stdout } = await product.host.run([...TLJH_TS, 'status'])
  assert.match(stdout, /✔ tljh-hub\.service runs since /)
  assert.match(stdout, /✔ JupyterLab \d\S* in \/opt\/tljh\/user/)
  assert.ok(!stdout.includes('✖') && !stdout.includes('\x1b'), 'nothing is red, and no terminal is coloured')
})

test('a hub that was stopped is red, with the command that starts it', async () => {
  const red = await whileBroken(
    'systemctl stop tljh-hub.service tljh-hub.socket 2>&1',
    'systemctl start tljh-hub.socket tljh-hub.service',
  )

  assert.equal(lineOf(red, 'tljh-hub.service').fix, 'sudo systemctl start tljh-hub.service')
  assert.match(lineOf(red, 'hub').text, /does not answer at 127\.0\.0\.1:80/)
  assert.match(lineOf(red, 'hub').fix ?? '', /systemctl restart tljh-hub/)
})

test('a spawner that was killed and masked is red, and all the rest is still told of', async () => {
  const unit = '/etc/systemd/system/tljh-spawner.service'
  const red = await whileBroken(
    `mv ${unit} /root; systemctl mask tljh-spawner.service; systemctl kill --signal=KILL tljh-spawner; systemctl stop tljh-spawner`,
    `rm ${unit}; mv /root/tljh-spawner.service ${unit}; systemctl daemon-reload; systemctl start tljh-spawner.socket tljh-spawner`,
  )

  assert.match(lineOf(red, 'tljh-spawner.service').fix ?? '', /systemctl unmask tljh-spawner\.service/)
  assert.ok(!red.some(({ name }) => name === 'class-environment' || name === 'hub'))
})

test('a configuration that is not valid is red, with the line and the key', async () => {
  const file = '/opt/tljh/config/config.yaml'
  const red = await whileBroken(
    `cp --preserve ${file} /root; printf 'limits:\\n  memory: much\\n' >${file}`,
    `cp --preserve /root/config.yaml ${file}`,
  )

  assert.match(lineOf(red, 'configuration').why ?? '', /line 2: .*limits\.memory/)
  assert.match(lineOf(red, 'configuration').fix ?? '', /tljh-ts config edit/)
})

test('a class environment without JupyterLab, or that students can write, or cannot read, is red', async () => {
  const away = 'cd /opt/tljh/user/lib/python3*/site-packages'
  const gone = await whileBroken(`${away}; mv jupyterlab /root`, `${away}; mv /root/jupyterlab .`)
  assert.match(lineOf(gone, 'class-environment').why ?? '', /No module named 'jupyterlab'/)
  assert.match(lineOf(gone, 'class-environment').fix ?? '', /sudo tljh-ts install/)

  const open = await whileBroken('chmod o+w /opt/tljh/user/bin', 'chmod o-w /opt/tljh/user/bin')
  assert.match(lineOf(open, 'class-environment').why ?? '', /\/opt\/tljh\/user\/bin is theirs, or all may write it/)

  const closed = await whileBroken(`${away}; chmod -R go= nbgitpuller`, 'true')
  assert.match(lineOf(closed, 'class-environment').text, /students cannot read \d+ files and folders/)
  assert.match(lineOf(closed, 'class-environment').fix ?? '', /sudo tljh-ts install/)
  await product.host.run(INSTALL)
  assert.equal((await status()).lines.find(({ name }) => name === 'class-environment')?.health, 'good')
})

test('that the next upgrade of the system brings another Python is said before', async () => {
  const { host } = product
  await host.writeFile(
    '/srv/next/Packages',
    'Package: python3\nVersion: 3.99.1-1\nArchitecture: all\nFilename: none\nSize: 1\n',
  )
  await host.writeFile('/etc/apt/sources.list', 'deb [trusted=yes] file:/srv/next ./\n')
  await host.run(['apt-get', 'update'])

  const { code, lines } = await status()

  const line = lines.find(({ name }) => name === 'class-environment')
  assert.deepEqual([code, line?.health], [0, 'warning'])
  assert.match(line?.why ?? '', /made with Python 3\.\d+, and the next upgrade of this machine brings Python 3\.99/)
  assert.match(line?.fix ?? '', /After that upgrade: sudo tljh-ts install/)
})

test('a disk that is almost full is red, by the folder that is on it, with the homes that take most of it', async () => {
  const red = await whileBroken(
    'mount -t tmpfs -o size=150M tmpfs /home; mkdir /home/jupyter-ann /home/jupyter-bob; head -c 3M /dev/zero >/home/jupyter-bob/big',
    'umount /home',
  )

  assert.match(lineOf(red, 'disk').text, /147 MB of 150 MB are free on the disk of \/home/)
  assert.match(lineOf(red, 'disk').why ?? '', /The biggest homes: \/home\/jupyter-bob 3 MB, \/home\/jupyter-ann 0 MB/)
})

test('where systemd cannot be asked, each part that depends on it is red, and none is left out', async () => {
  const red = await whileBroken(
    'mv /usr/bin/systemctl /usr/bin/systemctl.away; mv /usr/bin/timedatectl /usr/bin/timedatectl.away',
    'mv /usr/bin/systemctl.away /usr/bin/systemctl; mv /usr/bin/timedatectl.away /usr/bin/timedatectl',
  )

  assert.ok(lineOf(red, 'units').why?.includes('systemctl'))
  assert.deepEqual(
    red.map(({ name }) => name),
    ['units', 'servers', 'ports', 'clock'],
  )
})

test('somebody who is not root is told to use sudo', async () => {
  const { code, stderr } = await product.host.run([...TLJH_TS, 'status'], { user: 'nobody', check: false })

  assert.equal(code, 1)
  assert.match(stderr, /Start it with sudo/)
})
