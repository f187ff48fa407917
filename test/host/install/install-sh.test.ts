import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer, request as send } from 'node:http'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { bootHost, type Host } from '../../harness/host/host.ts'
import type { CommandResult } from '../../harness/host/run-program.ts'
import { debian, opensshClient } from '../../harness/image/layers.ts'
import { type ReleaseSite, serveReleases } from '../../harness/product/release-site.ts'

/** What install.sh hands over to, in these tests: it notes how it was called. */
const recorder = '#!/bin/sh\nprintf "%s\\n" "$@" >/root/handed-over\nenv >/root/environment\necho handed over\n'

/** As on a machine that one logs in to over the network. */

let host: Host
let site: ReleaseSite

before(async () => {
  host = await bootHost({ isBare: true, layers: [debian(), opensshClient()] })
  const small = async (folder: string) => {
    for (const name of ['bin', 'node_modules']) await rm(join(folder, name), { recursive: true })
    const node = join(folder, 'recorder')
    await writeFile(node, recorder, { mode: 0o755 })
    await mkdir(join(folder, 'node_modules/node/bin'), { recursive: true })
    await symlink('../../../recorder', join(folder, 'node_modules/node/bin/node'))
  }
  const versions = ['1.0.0', '1.2.1', '1.2.2', '1.5.0', '2.0.0', '2.3.1', '2.4.0-rc.1', '10.0.0-rc.1']
  site = await serveReleases({ versions: versions.map(version => ({ version, change: small })), host })
})
after(async () => {
  await host?.close()
  await site?.[Symbol.asyncDispose]()
})
afterEach(forget)

/** Runs the script as the one line does. */
async function install(
  args: readonly string[],
  { user, env = {} }: { user?: string; env?: Record<string, string> } = {},
): Promise<CommandResult> {
  const script = await readFile(join(site.folder, 'install.sh'))
  const command = ['bash', '-s', '--', ...args]
  return host.run(command, {
    input: script,
    check: false,
    env: { TLJH_TS_PATIENCE: '20', ...env },
    ...(user ? { user } : {}),
  })
}

async function handedOver(): Promise<string[]> {
  const args = (await host.readFile('/root/handed-over')).trim().split('\n')
  await host.run(['rm', '/root/handed-over'])
  return args
}

/** Takes back what tests change of the machine beside that. */
const asItWas = `
rm -f /usr/local/bin/apt-get /usr/local/bin/curl /etc/systemd/system/jupyterhub.service
[ ! -e /root/status ] || mv /root/status /var/lib/dpkg/status
! mountpoint -q /small || umount /small
`

/** Removes what a test, or a part of one, has left. */
async function forget(): Promise<void> {
  site.heal()
  site.shiftClock(0)
  site.requests.length = 0
  await host.run(['rm', '-rf', '/opt/tljh', '/var/cache/tljh-ts', '/root/handed-over'])
  await host.run(['sh', '-euc', asItWas])
}

async function isThere(path: string): Promise<boolean> {
  return (await host.run(['test', '-e', path], { check: false })).code === 0
}

test('a script that was cut off anywhere does nothing', async () => {
  const script = await readFile(join(site.folder, 'install.sh'))
  await host.writeFile('/root/install.sh', script)
  site.requests.length = 0
  const lineEnds = [...script.keys()].filter(index => script[index] === 0x0a)
  const some = lineEnds.slice(0, -1).filter((_, index) => index % 5 === 0)
  const last = Array.from({ length: 40 }, (_, index) => script.length - 3 - index)
  const loop =
    'for at; do head -c "$at" /root/install.sh | bash -s -- --admin ann 2>&1; done | grep -v "^bash: line "; true'

  const { stdout } = await host.run(['sh', '-c', loop, 'sh', ...[...some, ...last].map(String)])

  // Bash itself complains of what is not closed.
  assert.equal(stdout, '')
  assert.equal(site.requests.length, 0)
  for (const path of ['/opt/tljh', '/var/cache/tljh-ts', '/root/handed-over']) assert.equal(await isThere(path), false)
})

/** What stands in the way, and how it goes away again. */
interface Obstacle {
  name: string
  make?: string
  undo?: string
  args?: string[]
  user?: string
  says: RegExp[]
}

const system = (text: string) => `mv /etc/os-release /root/os-release; printf '${text}' >/etc/os-release`
const ownSystem = 'mv /root/os-release /etc/os-release'
const fake = (name: string, says: string) =>
  `printf '#!/bin/sh\\necho "${says}"\\n' >/usr/local/bin/${name}; chmod 755 /usr/local/bin/${name}`
const shadow = (path: string, text: string) => `printf '${text}' >/root/shadow; mount --bind /root/shadow ${path}`
const toTljh = 'touch /etc/systemd/system/jupyterhub.service'
const nginx = '[Service]\\nExecStart=true\\n[Install]\\nWantedBy=multi-user.target\\n'
const toNginx = `printf '${nginx}' >/etc/systemd/system/nginx.service; systemctl enable nginx`

const obstacles: Obstacle[] = [
  { name: 'nobody', args: [], says: [/no administrator was named/, /--admin NAME/] },
  { name: 'an unknown option', args: ['--admin', 'ann', '--plugin', 'x'], says: [/there is no option --plugin/] },
  { name: 'no name', args: ['--admin', '-ann:secret'], says: [/--admin is -ann, which cannot be a user name/] },
  { name: 'another name’s file', args: ['--admin', 'a..b'], says: [/--admin is a\.\.b, which/] },
  ...['/srv', '/tmp/hub', '/home/eve/hub', '/usr/local', '/var/hub', 'srv/hub', '/srv/../etc/x', '/srv/a b'].map(
    place => ({
      name: `a prefix like ${place}`,
      args: ['--admin', 'ann', '--prefix', place],
      says: [new RegExp(`--prefix is ${place.replaceAll('.', '\\.')}`), /--prefix \/srv\/tljh/],
    }),
  ),
  { name: 'no root', user: 'nobody', says: [/you are not root/, /sudo bash/] },
  {
    name: 'Ubuntu 20.04',
    make: system('ID=ubuntu\\nVERSION_ID="20.04"\\nPRETTY_NAME="Ubuntu 20.04.6 LTS"\\n'),
    undo: ownSystem,
    says: [/this is Ubuntu 20\.04\.6 LTS/, /too old/],
  },
  {
    name: 'Debian 11',
    make: system('ID=debian\\nVERSION_ID="11"\\nPRETTY_NAME="Debian GNU/Linux 11"\\n'),
    undo: ownSystem,
    says: [/this is Debian GNU\/Linux 11/, /too old/],
  },
  {
    name: 'Fedora',
    make: system('ID=fedora\\nVERSION_ID=43\\nPRETTY_NAME="Fedora Linux 43"\\n'),
    undo: ownSystem,
    says: [/this is Fedora Linux 43/, /neither Debian nor Ubuntu/],
  },
  {
    name: 'Mint',
    make: system('ID=linuxmint\\nID_LIKE="ubuntu debian"\\nVERSION_ID="22"\\nPRETTY_NAME="Linux Mint 22"\\n'),
    undo: ownSystem,
    says: [/Linux Mint 22/, /--untested-system/],
  },
  {
    name: 'Ubuntu 25.10',
    make: system('ID=ubuntu\\nVERSION_ID="25.10"\\nPRETTY_NAME="Ubuntu 25.10"\\n'),
    undo: ownSystem,
    says: [/no release that is kept up/],
  },
  {
    name: 'a 32 bit machine',
    make: fake('uname', 'armv7l'),
    undo: 'rm /usr/local/bin/uname',
    says: [/armv7l/, /x86_64 and aarch64/],
  },
  {
    name: 'another first process',
    make: shadow('/proc/1/comm', 'init\\n'),
    undo: 'umount /proc/1/comm',
    says: [/systemd does not run this machine/, /first process is init/],
  },
  {
    name: 'a container',
    make: `touch /.dockerenv; ${shadow('/proc/1/comm', 'bash\\n')}`,
    undo: 'umount /proc/1/comm; rm /.dockerenv',
    says: [/container without systemd/],
  },
  {
    name: 'an old systemd',
    make: fake('systemctl', 'systemd 247 (247.3-7)'),
    undo: 'rm /usr/local/bin/systemctl',
    says: [/systemd 247/, /249 or newer/],
  },
  {
    name: 'little memory',
    make: shadow('/proc/meminfo', 'MemTotal: 500000 kB\\n'),
    undo: 'umount /proc/meminfo',
    says: [/488 MB of memory/, /1 GB/],
  },
  {
    name: 'a small disk',
    make: 'mkdir /small; mount -t tmpfs -o size=100M tmpfs /small',
    undo: 'umount /small',
    args: ['--admin', 'ann', '--prefix', '/small/tljh'],
    says: [/\/small has 100 MB free/, /3 GB/],
  },
  {
    name: 'a small disk for what is downloaded',
    make: 'mount -t tmpfs -o size=100M tmpfs /var/cache',
    undo: 'umount /var/cache',
    says: [/\/var\/cache has 100 MB free/, /200 MB/],
  },
  {
    name: 'TLJH',
    make: toTljh,
    undo: 'rm /etc/systemd/system/jupyterhub.service',
    says: [/Littlest JupyterHub is installed/, /--import-tljh/],
  },
  {
    name: 'nginx that sleeps',
    make: toNginx,
    undo: 'systemctl disable nginx; rm /etc/systemd/system/nginx.service',
    says: [/nginx starts with this machine/, /--behind-proxy/, /systemctl disable/, /--config/],
  },
]

for (const { name, make = 'true', undo = 'true', args = ['--admin', 'ann'], user, says } of obstacles) {
  test(`it refuses, with a reason and a way out, and changes nothing: ${name}`, async () => {
    await host.run(['sh', '-c', make])
    try {
      const { code, stderr } = await install(args, user ? { user } : {})

      assert.equal(code, 1, stderr)
      for (const text of [/^tljh-ts was not installed: /m, /^ {2}why: \S/m, /^ {2}what to do: \S/m, ...says]) {
        assert.match(stderr, text)
      }
      for (const path of ['/opt/tljh', '/var/cache/tljh-ts']) assert.equal(await isThere(path), false)
    } finally {
      await host.run(['sh', '-c', undo])
    }
  })
}

test('it names the program that has port 80, and goes on behind it if told to', async () => {
  await using _server = await host.start(['python3', '-m', 'http.server', '80'])
  await host.run(['sh', '-c', 'until ss -ltnH "sport = :80" | grep -q .; do sleep 0.05; done'])

  const refused = await install(['--admin', 'ann'])
  assert.match(refused.stderr, /port 80 is in use by python3/)

  const { code, stderr } = await install(['--admin', 'ann', '--behind-proxy'])
  assert.equal(code, 0, stderr)
  assert.deepEqual((await handedOver()).slice(2), ['install', '--admin', 'ann', '--behind-proxy'])
})

test('it tells both times where the clock is wrong', async () => {
  site.shiftClock(-3 * 24 * 3600 * 1000)
  const { stderr } = await install(['--admin', 'ann'])

  assert.match(stderr, /the clock of this machine says 20\S+ \S+ UTC, and http\S+ says 20\S+ \S+ UTC/)
  assert.match(stderr, /timedatectl/)
})

test('what is missing is installed, and remembered by a run that follows one that was cut off', async () => {
  await host.run(['cp', '/var/lib/dpkg/status', '/root/status'])
  await host.run(['sed', '-i', '/^Package: procps$/,/^$/s/ installed$/ not-installed/', '/var/lib/dpkg/status'])
  await host.run(['sh', '-c', `${fake('apt-get', '$@')}; echo 'echo "$@" >>/root/apt; false' >>/usr/local/bin/apt-get`])
  const broken = await install(['--admin', 'ann'])
  assert.match(broken.stderr, /apt-get update has failed three times/)
  assert.equal(await isThere('/root/handed-over'), false)

  await host.run(['sed', '-i', 's/; false//', '/usr/local/bin/apt-get'])
  const { code, stderr } = await install(['--admin', 'ann'])
  await host.run(['rm', '/usr/local/bin/apt-get'])

  assert.equal(code, 0, stderr)
  assert.match(await host.readFile('/root/apt'), /install --no-install-recommends procps$/m)
  const args = await handedOver()
  const [packages = ''] = args.slice(args.indexOf('--installed-packages') + 1)
  assert.deepEqual([...new Set(packages.trim().split(' '))], ['procps'])
  const offline = await install(['--admin', 'ann', '--offline', '/root/install.sh'])
  assert.match(offline.stderr, /these packages are missing: procps/)
})

test('a version is found by a part of its number, and preliminary ones only by all of it', async () => {
  const expected: Record<string, string> = {
    ...{ '1': '1.5.0', '1.0': '1.0.0', '1.2': '1.2.2', '2.0.0': '2.0.0', latest: '2.3.1', '2.4.0-rc.1': '2.4.0-rc.1' },
  }
  for (const [wanted, version] of Object.entries(expected)) {
    const { code, stderr } = await install(['--admin', 'ann', '--version', wanted])
    assert.equal(code, 0, stderr)
    assert.equal((await handedOver())[1], `/opt/tljh/hub/versions/${version}/tljh-ts.ts`)
  }
  for (const wanted of ['1.100', '2.4', '10', '1.5.0.', '.*']) {
    const { code, stderr } = await install(['--admin', 'ann', '--version', wanted])
    assert.equal(code, 1)
    assert.ok(stderr.includes(`there is no version ${wanted}`), stderr)
  }
})

test('options are passed on as they were given', async () => {
  const args = [
    '--admin',
    'ann:a b',
    '--admin=bob',
    '--requirements',
    'https://x/y.txt',
    '--no-self-test',
    '--prefix',
    '/srv/hub',
  ]
  const { code, stderr } = await install(args)
  assert.equal(code, 0, stderr)
  const [, program, ...rest] = await handedOver()
  assert.equal(program, '/srv/hub/hub/versions/2.3.1/tljh-ts.ts')
  assert.deepEqual(rest, [
    ...['install', '--admin', 'ann:a b', '--admin', 'bob', '--requirements', 'https://x/y.txt', '--no-self-test'],
    ...['--prefix', '/srv/hub'],
  ])
  await host.run(['rm', '-rf', '/srv/hub'])
})

test('a download that is cut is told in a sentence, and the same command goes on where it was', async () => {
  site.fault(/tar\.gz$/, { kind: 'cut', after: 100_000 }, 3)
  const broken = await install(['--admin', 'ann'])
  assert.equal(broken.code, 1)
  assert.match(broken.stderr, /the download of \S+tar\.gz was broken off/)
  assert.match(broken.stderr, /curl says: \(18\)/)
  assert.match(broken.stderr, /it goes on where it was/)

  const { code, stderr } = await install(['--admin', 'ann'])
  assert.equal(code, 0, stderr)
  const ranges = site.requests.filter(({ path }) => path.endsWith('.tar.gz')).map(({ range }) => range)
  assert.deepEqual(ranges, [undefined, 'bytes=100000-', 'bytes=100000-', 'bytes=100000-'])
})

test('a connection that falls silent is given up, and another one goes on', async () => {
  site.fault(/tar\.gz$/, { kind: 'slow', after: 50_000, bytesPerSecond: 0 })
  const { code, stderr } = await install(['--admin', 'ann'], { env: { TLJH_TS_PATIENCE: '10' } })
  assert.equal(code, 0, stderr)
  const ranges = site.requests.filter(({ path }) => path.endsWith('.tar.gz')).map(({ range }) => range)
  assert.deepEqual(ranges, [undefined, 'bytes=50000-'])
})

test('a release that comes damaged is fetched once more, and never run', async () => {
  site.fault(/tar\.gz$/, { kind: 'corrupt', at: 1000 })
  const first = await install(['--admin', 'ann'])
  assert.equal(first.code, 0, first.stderr)
  await forget()

  site.fault(/tar\.gz$/, { kind: 'corrupt', at: 1000 }, 2)
  const twice = await install(['--admin', 'ann'])
  assert.equal(twice.code, 1)
  assert.match(twice.stderr, /came damaged twice/)
  assert.equal((await host.run(['ls', '-A', '/opt/tljh/hub/versions'])).stdout, '')
  assert.doesNotMatch((await host.run(['ls', '/var/cache/tljh-ts'])).stdout, /tar\.gz/)
})

test('a list of releases, or checksums, that others have signed are refused', async () => {
  for (const name of ['releases', '2.3.1/SHA256SUMS']) {
    const file = join(site.folder, name)
    const whole = await readFile(file, 'utf8')
    await writeFile(
      file,
      whole.replace(/\d/, digit => (digit === '9' ? '0' : '9')),
    )
    const { code, stderr } = await install(['--admin', 'ann'])
    await writeFile(file, whole)
    assert.equal(code, 1)
    assert.match(stderr, /has no valid signature/)
    assert.equal(await isThere('/root/handed-over'), false)
  }
})

test('a site that is not there, or lacks a file, is told as such', async () => {
  site.fault(/^\/releases$/, { kind: 'status', status: 500 }, 9)
  assert.match((await install(['--admin', 'ann'])).stderr, /cannot be had now\.\n {2}why: The site.* answers 500/)
  site.heal()
  site.fault(/^\/releases$/, { kind: 'status', status: 407 })
  assert.match((await install(['--admin', 'ann'])).stderr, /the proxy wants a password.*[\s\S]*http:\/\/NAME:PASSWORD@/)
  site.fault(/SHA256SUMS$/, { kind: 'status', status: 429 }, 3)
  assert.match((await install(['--admin', 'ann'])).stderr, /SHA256SUMS cannot be had now[\s\S]*later/)
  site.fault(/SHA256SUMS$/, { kind: 'status', status: 404 })
  assert.match((await install(['--admin', 'ann'])).stderr, /SHA256SUMS is not there/)
})

test('a site that does not answer a question for the time is used all the same, and a cache’s old answer is no wrong clock', async () => {
  site.fault(/^\/releases$/, { kind: 'status', status: 405 })
  const untold = await install(['--admin', 'ann'])
  assert.equal(untold.code, 0, untold.stderr)
  assert.match(untold.stderr, /does not tell the time/)

  const days = 3 * 24 * 3600
  const head = `HTTP/1.1 200 OK\\r\\nDate: $(date --utc --date="-3 days" "+%a, %d %b %Y %T GMT")\\r\\nAge: ${days}\\r\\n\\r\\n`
  const cached = `#!/bin/sh\ncase "$*" in\n*--head*no-cache*) printf "${head}" ;;\n*) exec /usr/bin/curl "$@" ;;\nesac\n`
  await host.writeFile('/usr/local/bin/curl', cached, { mode: 0o755 })
  const old = await install(['--admin', 'ann'])
  assert.equal(old.code, 0, old.stderr)
})

test('another apt is waited for, and it says so', async () => {
  await host.run(['cp', '/var/lib/dpkg/status', '/root/status'])
  await host.run(['sed', '-i', '/^Package: procps$/,/^$/s/ installed$/ not-installed/', '/var/lib/dpkg/status'])
  const busy =
    '#!/bin/sh\n[ ! -e /root/busy ] || { rm /root/busy; echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"; exit 100; }\n'
  await host.writeFile('/usr/local/bin/apt-get', busy, { mode: 0o755 })
  await host.run(['touch', '/root/busy'])
  const { code, stderr } = await install(['--admin', 'ann'])
  assert.equal(code, 0, stderr)
  assert.equal(stderr.match(/Another program uses apt\. Waiting/g)?.length, 1)
})

test('what was broken off goes on with less room than a new one needs', async () => {
  await host.run(['sh', '-ec', 'mkdir -p /small; mount -t tmpfs -o size=600M tmpfs /small; mkdir -p /small/tljh/hub'])
  const small = ['--admin', 'ann', '--prefix', '/small/tljh']
  assert.match((await install(small)).stderr, /\/small\/tljh has 600 MB free\.\n {2}why: It needs 3 GB/)
  await host.run(['touch', '/small/tljh/hub/installing'])
  const { code, stderr } = await install(small)
  assert.equal(code, 0, stderr)
})

test('an installation of another version is left to upgrade, and a half one is none', async () => {
  await host.run(['sh', '-ec', 'mkdir -p /opt/tljh/hub; ln -s versions/1.0.0 /opt/tljh/hub/current'])
  assert.equal((await install(['--admin', 'ann'])).code, 0)
  await host.run(['touch', '/opt/tljh/hub/installed'])

  const { code, stderr } = await install(['--admin', 'ann'])

  assert.equal(code, 1)
  assert.match(stderr, /tljh-ts 1\.0\.0 is installed on this machine[\s\S]*sudo tljh-ts upgrade/)
})

test('all goes through the proxy that the variables name', async () => {
  const seen: string[] = []
  const proxy = createServer((incoming, outgoing) => {
    seen.push(incoming.url ?? '')
    const { hostname, port, pathname } = new URL(incoming.url ?? '')
    const options = { host: hostname, port, path: pathname, method: incoming.method, headers: incoming.headers }
    const onward = send(options, answer => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    onward.end()
  })
  proxy.listen(0, '0.0.0.0')
  await once(proxy, 'listening')
  const address = proxy.address()
  const port = address && typeof address === 'object' ? address.port : 0
  try {
    const http_proxy = `http://${host.gateway}:${port}`
    const { code, stderr } = await install(['--admin', 'ann'], { env: { http_proxy } })
    assert.equal(code, 0, stderr)
    assert.deepEqual(seen.length, site.requests.length)
    assert.match(await host.readFile('/root/environment'), new RegExp(`^http_proxy=${http_proxy}$`, 'm'))
  } finally {
    proxy.closeAllConnections()
    proxy.close()
  }
})

test('a release that lies on the machine is checked by what lies beside it, and fetches nothing', async () => {
  const archive = 'tljh-ts-2.3.1-linux-x64.tar.gz'
  for (const name of [archive, 'SHA256SUMS', 'SHA256SUMS.sig']) {
    await host.writeFile(`/root/offline/${name}`, await readFile(join(site.folder, '2.3.1', name)))
  }
  const offline = ['--admin', 'ann', '--offline', `/root/offline/${archive}`]
  const { code, stderr } = await install(offline)
  assert.equal(code, 0, stderr)
  assert.doesNotMatch(stderr, /NOT VERIFIED/)
  assert.equal((await handedOver())[1], '/opt/tljh/hub/versions/2.3.1/tljh-ts.ts')
  assert.equal(site.requests.length, 0)

  await host.run(['sh', '-c', `printf x >>/root/offline/${archive}`])
  assert.match((await install(offline)).stderr, /is damaged/)
  await host.run(['rm', '/root/offline/SHA256SUMS.sig'])
  assert.match((await install(offline)).stderr, /NOT VERIFIED/)
})

test('TLJH is taken over by its own command, which is told of administrators without passwords', async () => {
  await host.run(['sh', '-c', toTljh])
  const { code, stderr } = await install(['--admin', 'ann', '--import-tljh', '--yes'])
  await host.run(['rm', '/etc/systemd/system/jupyterhub.service'])
  assert.equal(code, 0, stderr)
  assert.deepEqual((await handedOver()).slice(2), ['import-tljh', '--admin', 'ann', '--yes'])

  await host.run(['sh', '-c', `${toTljh}; echo procps >/var/cache/tljh-ts/installed-packages`])
  const asked = ['--requirements', 'https://x/y.txt', '--no-progress-page', '--no-self-test']
  const more = await install(['--admin', 'ann', '--import-tljh', '--yes', ...asked])
  const refused = await install(['--admin', 'ann:secret', '--import-tljh'])
  assert.equal(more.code, 0, more.stderr)
  const handed = (await handedOver()).map(word => word.trim())
  assert.deepEqual(handed.slice(2), [
    'import-tljh',
    '--admin',
    'ann',
    '--yes',
    ...asked,
    '--installed-packages',
    'procps',
  ])
  assert.match(refused.stderr, /--admin has a password, and --import-tljh takes none/)
})
