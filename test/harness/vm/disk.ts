/**
 * The disk of a virtual machine: the Debian of the test hosts with a kernel, a network and an SSH server, as an ext4 file system.
 *
 * It is an image layer like others (test/harness/image/image.ts), so it is made once, kept in the cache, and never changed: each machine keeps
 * what it writes to itself. It holds nothing of ours. The one thing that a fresh disk of a provider does not have is what uv has
 * downloaded for the class environment before, so that no test depends on the weather between here and the package index: of it,
 * nothing is installed.
 */
import { readFileSync } from 'node:fs'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CHECKOUT } from '../image/cache.ts'
import { image, type Layer } from '../image/image.ts'
import { debian, uvIn } from '../image/layers.ts'
import { clientSettings } from '../image/package-registries.ts'

export interface Disk {
  /** Raw, with the file system at its first byte. */
  file: string
  kernel: string
  initrd: string
}

const packages = [
  ...['linux-image-cloud-amd64', 'initramfs-tools', 'udev', 'openssh-server', 'openssh-client', 'systemd-timesyncd'],
]

/** A small VPS; sparse, so it takes what is in it. */
const size = '8G'

/** To start a big one takes time in software emulation. */
const modules = ['virtio_pci', 'virtio_blk', 'ext4', 'crc32c_generic']

const network = `[Match]
Type=ether

[Network]
DHCP=ipv4
IPv6AcceptRA=no
`

/** Gives the disk, and makes it where the cache does not have it. */
export async function vmDisk(report: (line: string) => void): Promise<Disk> {
  const layers = [debian(), kernelLayer(), downloadsLayer()]
  const { folders } = await image({ layers, report })
  const boot = join(folders[1] ?? '', 'boot')
  const files = await readdir(boot)
  const withDisk = await image({ layers: [...layers, diskLayer(folders)], report })
  const find = (start: string) => join(boot, files.find(name => name.startsWith(start)) ?? start)
  return {
    file: join(withDisk.folders.at(-1) ?? '', 'disk.img'),
    kernel: find('vmlinuz-'),
    initrd: find('initrd.img-'),
  }
}

/** What makes a root folder a machine's own: a kernel, devices, a network, and a door. */
function kernelLayer(): Layer {
  return {
    name: 'kernel',
    inputs: { version: 2, packages, modules, network },
    async build(root) {
      const units = join(root.path, 'etc/systemd/system')
      for (const name of await maskedUnits(units)) if (!name.endsWith('.timer')) await rm(join(units, name))
      for (const name of ['test-host-state.service', 'sysinit.target.wants/test-host-state.service'])
        await rm(join(units, name))
      const initramfs = join(root.path, 'etc/initramfs-tools')
      await mkdir(join(initramfs, 'conf.d'), { recursive: true })
      await writeFile(join(initramfs, 'conf.d/small.conf'), 'MODULES=list\n')
      await writeFile(join(initramfs, 'modules'), `${modules.join('\n')}\n`)
      const env = { DEBIAN_FRONTEND: 'noninteractive' }
      await root.run(['apt-get', 'update', '--quiet'], { env })
      const options = ['--yes', '--quiet', '--no-install-recommends', '-o', 'Dpkg::Options::=--force-confold']
      await root.run(['apt-get', 'install', ...options, ...packages], { env })
      await root.run(['apt-get', 'clean'])
      await writeFile(join(root.path, 'etc/fstab'), '/dev/vda / ext4 errors=remount-ro 0 1\n')
      await writeFile(join(root.path, 'etc/hostname'), 'vm\n')
      await writeFile(join(root.path, 'etc/hosts'), '127.0.0.1 localhost\n127.0.1.1 vm\n')
      await mkdir(join(root.path, 'etc/systemd/network'), { recursive: true })
      await writeFile(join(root.path, 'etc/systemd/network/10-wired.network'), network)
      // This machine, as QEMU's network has it.
      await writeFile(join(root.path, 'etc/systemd/timesyncd.conf'), '[Time]\nNTP=10.0.2.2\nFallbackNTP=\n')
      await root.run(['systemctl', 'enable', 'systemd-networkd.service', 'ssh.service'])
    },
  }
}

/** What uv downloads for the class environment, where the product's installer will look for it. */
export function downloadsLayer(): Layer {
  const requirements = readFileSync(join(CHECKOUT, 'installer/environment/class-environment.txt'), 'utf8')
  return {
    name: 'downloads',
    inputs: { version: 1, requirements },
    async build(root) {
      await writeFile(join(root.scratch, 'class-environment.txt'), requirements)
      const uv = await uvIn(root, '/var/cache/tljh-ts/uv')
      await uv('venv', '--seed', '--python', '/usr/bin/python3', '/mnt/class')
      await uv(
        ...['pip', 'install', '--python', '/mnt/class/bin/python'],
        ...['--requirement', '/mnt/class-environment.txt'],
      )
    },
  }
}

/** The file system with all that is in these folders, and with this machine's client settings, which the layers do not have. */
function diskLayer(folders: readonly string[]): Layer {
  const settings = clientSettings()
  const files = [...settings.files].map(([path, content]) => [path, content.toString('base64')])
  return {
    name: 'disk',
    inputs: { version: 1, size, files, env: settings.env },
    async build(root) {
      const own = join(root.scratch, 'own')
      for (const [path, content] of [...settings.files, ...variableFiles(settings.env)]) {
        await mkdir(join(own, path, '..'), { recursive: true })
        await writeFile(join(own, path), content)
      }
      // The name server that QEMU's network has: it asks those of this machine.
      await writeFile(join(own, 'etc/resolv.conf'), 'nameserver 10.0.2.3\n')
      const lower = [join(root.folder, 'mnt/own'), ...folders.toReversed()].join(':')
      await root.onMachine(['sh', '-euc', makeDisk, 'sh', lower, root.folder, size], { timeoutMs: 10 * 60_000 })
    },
  }
}

const makeDisk = `
mkdir "$2/mnt/all"
mount -t overlay overlay -o "ro,lowerdir=$1" "$2/mnt/all"
truncate --size="$3" "$2/disk.img"
mkfs.ext4 -q -F -d "$2/mnt/all" "$2/disk.img"
umount "$2/mnt/all"
`

async function maskedUnits(units: string): Promise<string[]> {
  const entries = await readdir(units, { withFileTypes: true })
  return entries.filter(entry => entry.isSymbolicLink()).map(({ name }) => name)
}

/** As test hosts have them (test/harness/host/host.ts): for whoever logs in, and for services. */
function variableFiles(env: Record<string, string>): [string, string][] {
  const lines = Object.entries(env).map(([name, value]) => `${name}="${value}"`)
  if (lines.length === 0) return []
  return [
    ['/etc/environment', `${lines.join('\n')}\n`],
    ['/etc/systemd/system.conf.d/registries.conf', `[Manager]\nDefaultEnvironment=${lines.join(' ')}\n`],
  ]
}
