/** Whether the machine itself is fit: memory, disks, clock. */
import { existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { runCommand } from '../../commands.ts'
import type { Layout } from '../../config/paths.ts'
import { bad, type Check, good, type StatusLine, warning } from './lines.ts'

const [megabyte, gigabyte] = [1024 ** 2, 1024 ** 3]
/** Below that, the hub's database and the journal are about to stop. */
const leastDisk = 200 * megabyte
const littleDisk = gigabyte
const littleShare = 0.1
/** The kernel begins to end programs at some point below. */
const leastMemory = 100 * megabyte

export function machineChecks(layout: Layout): Check[] {
  return [
    { name: 'memory', run: async () => [lookAtMemory()] },
    { name: 'disk', run: async () => lookAtDisks(['/', '/home', layout.prefix]) },
    { name: 'clock', run: async () => [await lookAtClock()] },
  ]
}

function lookAtMemory(): StatusLine {
  const text = readFileSync('/proc/meminfo', 'utf8')
  const bytesOf = (key: string) => Number(new RegExp(`^${key}: +(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024
  const [total, available] = [bytesOf('MemTotal'), bytesOf('MemAvailable')]
  const line = `${show(available)} of ${show(total)} of memory are free`
  const fix =
    'See who uses it: systemd-cgtop --order=memory. Lower the limit of each server: sudo tljh-ts config set limits.memory 1G'
  if (available < leastMemory) return bad('memory', line, 'programs are about to be ended for want of it', fix)
  if (available < total * littleShare) return warning('memory', line, 'that is less than a tenth', fix)
  return good('memory', line)
}

/** A file system is told of once, by the first path that is on it. */
function lookAtDisks(paths: readonly string[]): StatusLine[] {
  const seen = new Set<number>()
  return paths.filter(existsSync).flatMap(path => {
    const { dev } = statSync(path)
    if (seen.has(dev)) return []
    seen.add(dev)
    return lookAtDisk(path)
  })
}

function lookAtDisk(path: string): StatusLine {
  const { bavail, blocks, bsize, ffree, files } = statfsSync(path)
  const [free, total] = [bavail * bsize, blocks * bsize]
  const line = `${show(free)} of ${show(total)} are free on the disk of ${path}`
  const fix = `See what takes the room: sudo du --one-file-system --human-readable --max-depth=2 ${path} | sort --human-numeric-sort`
  if (free < leastDisk) return bad('disk', line, 'nobody can save, log in or start a server on a full disk', fix)
  if (free < littleDisk || free < total * littleShare) return warning('disk', line, 'it will soon be full', fix)
  if (files > 0 && ffree < files * littleShare) {
    return warning(
      'disk',
      `${ffree} of ${files} files are free on the disk of ${path}`,
      'it will soon hold no more files',
      fix,
    )
  }
  return good('disk', line)
}

/** A wrong clock makes codes of second factors, logins at other places, and package indexes fail. */
async function lookAtClock(): Promise<StatusLine> {
  const { code, stdout, stderr } = await runCommand('timedatectl', ['show', '--property=NTPSynchronized'])
  if (code === 0 && stdout.trim() === 'NTPSynchronized=yes') return good('clock', 'the clock is synchronised')
  const why = code === 0 ? 'no time server has been heard' : stderr.split('\n')[0] || 'timedatectl does not answer'
  const fix = 'sudo apt-get install systemd-timesyncd && sudo timedatectl set-ntp true'
  return warning('clock', 'whether the clock is right is not known', why, fix)
}

function show(bytes: number): string {
  return bytes < gigabyte ? `${Math.floor(bytes / megabyte)} MB` : `${(bytes / gigabyte).toFixed(1)} GB`
}
