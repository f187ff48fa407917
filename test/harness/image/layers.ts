/**
 * The layers that test hosts are made of: a small Debian with systemd, and on top of it the Python environment of the
 * class. (The environment is a layer because it takes long to make and nearly every test wants it there.)
 */
import { readFileSync } from 'node:fs'
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { execute } from '../host/run-program.ts'
import { CHECKOUT, type Suite, testSuite } from './cache.ts'
import type { Layer } from './image.ts'
import type { BuildRoot } from './image-root.ts'

/** What a fresh VPS has, or what the product's install.sh would install (libatomic1 is for Node.js). */
const PACKAGES = [
  ...['systemd', 'systemd-sysv', 'dbus', 'libpam-systemd', 'passwd', 'sudo', 'procps', 'psmisc', 'acl', 'iproute2'],
  ...['ca-certificates', 'curl', 'openssl', 'git', 'libatomic1', 'python3', 'python3-venv', 'less', 'nano', 'vim-tiny'],
]

/** Units that have nothing to do in a host without devices, consoles and disks of its own, or that would make noise. */
const MASKED_UNITS = [
  ...['console-getty.service', 'getty.target', 'systemd-udevd.service', 'systemd-udev-trigger.service'],
  ...['networking.service', 'systemd-remount-fs.service', 'systemd-modules-load.service', 'systemd-sysctl.service'],
  ...['dev-hugepages.mount', 'sys-kernel-debug.mount', 'sys-kernel-tracing.mount', 'sys-kernel-config.mount'],
  ...['sys-fs-fuse-connections.mount', 'proc-sys-fs-binfmt_misc.automount', 'e2scrub_reap.service'],
  ...['apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'e2scrub_all.timer', 'fstrim.timer'],
]

/** The unit that tells the outside how the boot ended. It starts at once, and its program waits for the end. */
const STATE_UNIT = `[Unit]
Description=Tells the test how the boot ended
DefaultDependencies=no
After=dbus.socket

[Service]
Type=exec
ExecStart=/bin/sh -c 'exec systemctl is-system-running --wait >/run/test-host/state'
SuccessExitStatus=0 1
`

/** Debian with systemd, and nothing of ours. */
export function debian(suite: Suite = testSuite()): Layer {
  return {
    name: suite,
    inputs: { version: 1, PACKAGES, MASKED_UNITS, STATE_UNIT },
    async build(root) {
      const mirror = await machineMirror()
      await root.onMachine([
        ...['debootstrap', '--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, root.folder],
        ...(mirror ? [mirror] : []),
      ])
      const units = join(root.path, 'etc/systemd/system')
      for (const unit of MASKED_UNITS) {
        await rm(join(units, unit), { force: true })
        await symlink('/dev/null', join(units, unit))
      }
      await writeFile(join(units, 'test-host-state.service'), STATE_UNIT)
      await mkdir(join(units, 'sysinit.target.wants'), { recursive: true })
      await symlink('../test-host-state.service', join(units, 'sysinit.target.wants/test-host-state.service'))
      // No name server: a host without a way out gets an answer at once (127.0.0.1 refuses) and not a time-out.
      await writeFile(join(root.path, 'etc/resolv.conf'), '')
      for (const folder of ['var/cache/apt/archives', 'var/lib/apt/lists', 'var/cache/debconf'])
        await rm(join(root.path, folder), { recursive: true, force: true })
      for (const folder of ['var/cache/apt/archives/partial', 'var/lib/apt/lists/partial', 'var/cache/debconf'])
        await mkdir(join(root.path, folder), { recursive: true })
    },
  }
}

/**
 * Packages of Debian, without those that they only recommend.
 * @param services what would start by itself, and is not to
 */
export function debianPackages(name: string, packages: readonly string[], services: readonly string[] = []): Layer {
  return {
    name,
    inputs: { version: 1, packages },
    async build(root) {
      const env = { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
      for (const service of services) await symlink('/dev/null', join(root.path, 'etc/systemd/system', service))
      await root.run(['apt-get', 'update', '--quiet'], { env })
      await root.run(['apt-get', 'install', '--quiet', '--yes', '--no-install-recommends', ...packages], { env })
      for (const folder of ['var/cache/apt/archives', 'var/lib/apt/lists'])
        await rm(join(root.path, folder), { recursive: true, force: true })
    },
  }
}

/** What every machine has that one logs in to over the network; the signature of a release is checked by its ssh-keygen. */
export function opensshClient(): Layer {
  return debianPackages('openssh-client', ['openssh-client'])
}

const classFolder = '/opt/tljh/user'

/** The Python environment of the class in /opt/tljh/user, owned by root, made by uv with the root's own Python. */
export function classEnvironment(): Layer {
  const requirements = readFileSync(join(CHECKOUT, 'installer/environment/class-environment.txt'), 'utf8')
  return {
    name: 'class',
    inputs: { version: 1, requirements },
    async build(root) {
      await writeFile(join(root.scratch, 'class-environment.txt'), requirements)
      await mkdir(join(root.path, dirname(classFolder)), { recursive: true, mode: 0o755 })
      const uv = await uvIn(root)
      await uv('venv', '--seed', '--python', '/usr/bin/python3', classFolder)
      await installInClass(uv, root, ['--compile-bytecode', '--requirement', '/mnt/class-environment.txt'])
      await root.run([`${classFolder}/bin/jupyter`, 'lab', '--version'])
    },
  }
}

/** Packages of PyPI that a teacher has added to the class environment below. */
export function classPackages(name: string, packages: readonly string[]): Layer {
  return {
    name,
    inputs: { version: 1, packages },
    build: async root => installInClass(await uvIn(root), root, packages),
  }
}

const DENO = '2.9.6'

/** deno(1), whose kernel for Jupyter does not speak over unix sockets, in /usr/local/bin. It comes as a package of npm, for each processor. */
export function deno(): Layer {
  return {
    name: 'deno',
    inputs: { version: 1, DENO },
    async build(root) {
      const name = `@deno/linux-${process.arch}-glibc`
      await execute([
        'npm',
        'install',
        '--no-save',
        '--no-audit',
        '--no-fund',
        '--prefix',
        root.scratch,
        `${name}@${DENO}`,
      ])
      await root.run(['install', '-D', `/mnt/node_modules/${name}/deno`, '/usr/local/bin/deno'])
    },
  }
}

async function installInClass(uv: Uv, root: BuildRoot, packages: readonly string[]): Promise<void> {
  await uv('pip', 'install', '--python', `${classFolder}/bin/python`, ...packages)
  await root.run(['chmod', '-R', 'go+rX', classFolder])
}

type Uv = (...args: string[]) => Promise<unknown>

/** uv, in a root that is being made. It comes as a wheel of PyPI; it lives in the scratch folder and is no part of the layer. */
export async function uvIn(root: BuildRoot, cacheFolder = '/media/uv'): Promise<Uv> {
  await root.run(['python3', '-m', 'venv', '/mnt/tools'])
  await root.run(['/mnt/tools/bin/pip', 'install', '--quiet', '--disable-pip-version-check', 'uv'])
  const env = { UV_CACHE_DIR: cacheFolder, UV_LINK_MODE: 'copy', UV_PYTHON_DOWNLOADS: 'never' }
  return (...args) => root.run(['/mnt/tools/bin/uv', '--quiet', ...args], { env })
}

/**
 * The address from which this machine's apt gets Debian, of whatever suite: a mirror has them all. Nothing where apt gets
 * none (Ubuntu's does not); debootstrap knows a default.
 */
async function machineMirror(): Promise<string | undefined> {
  const format = '$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)'
  const { stdout } = await execute(['apt-get', 'indextargets', '--format', format, 'Created-By: Packages'])
  const line = stdout.split('\n').find(text => text.startsWith('Debian Debian main '))
  return line?.split(' ')[3]
}
