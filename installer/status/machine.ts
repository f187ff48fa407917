/** Whether the machine itself is fit: memory, disks, clock. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { roomAt, shortageOf, showRoom } from '../../machine/disk.ts'
import type { Layout } from '../../machine/layout.ts'
import { countIn, runProgram } from '../../machine/run-program.ts'
import { bad, type Check, good, type StatusLine, warning } from './lines.ts'

const megabyte = 1024 ** 2
/** Below that, programs are about to fail for want of it. */
const leastDisk = 200 * megabyte
const leastFiles = 1000
const homes = '/home'
const homesNamed = 5
/** On a disk of many terabytes it takes longer to count, and `status` does not wait. */
const countingTimeoutMs = 20_000
const littleShare = 0.1
/** The kernel begins to end programs at some point below. */
const leastMemory = 100 * megabyte

export function machineChecks(layout: Layout): Check[] {
  return [
    { name: 'memory', run: async () => [lookAtMemory()] },
    { name: 'disk', run: () => lookAtDisks(['/', homes, layout.prefix, layout.state, dirname(layout.configFile)]) },
    { name: 'clock', run: async () => [await lookAtClock()] },
  ]
}

function lookAtMemory(): StatusLine {
  const text = readFileSync('/proc/meminfo', 'utf8')
  const bytesOf = (key: string) => Number(new RegExp(`^${key}: +(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024
  const [total, available] = [bytesOf('MemTotal'), bytesOf('MemAvailable')]
  const line = `${showRoom(available)} of ${showRoom(total)} of memory are free`
  const fix =
    'See who uses it: systemd-cgtop --order=memory. Lower the limit of each server: sudo tljh-ts config set limits.memory 1G'
  if (available < leastMemory) return bad('memory', line, 'programs are about to be ended for want of it', fix)
  if (available < total * littleShare) return warning('memory', line, 'that is less than a tenth', fix)
  return good('memory', line)
}

/** A file system is told of once, by the first path that is on it. */
async function lookAtDisks(paths: readonly string[]): Promise<StatusLine[]> {
  const disks = new Map(
    paths
      .filter(existsSync)
      .map(path => [statSync(path).dev, path] as const)
      .toReversed(),
  )
  return Promise.all([...disks].toReversed().map(([, path]) => lookAtDisk(path)))
}

async function lookAtDisk(path: string): Promise<StatusLine> {
  const room = roomAt(path)
  const line = `${showRoom(room.free)} of ${showRoom(room.total)} are free on the disk of ${path}`
  const shortage = shortageOf(room)
  if (!shortage) return good('disk', line)
  const users = isOnOneDisk(path, homes) ? await biggestHomes() : ''
  const fix = `Ask for files to be deleted, or archive whoever has left: sudo tljh-ts user archive NAME. What else takes the room: sudo du --one-file-system --human-readable --max-depth=2 ${path} | sort --human-numeric-sort`
  if (shortage === 'files') {
    const files = `${room.freeFiles} of ${room.totalFiles} files are free on the disk of ${path}`
    const level = room.freeFiles < leastFiles ? bad : warning
    return level('disk', files, `it will soon hold no more files${users}`, fix)
  }
  if (room.free < leastDisk) {
    return bad('disk', line, `on a full disk people can log in and delete files, and hardly anything else${users}`, fix)
  }
  return warning('disk', line, `it will soon be full${users}`, fix)
}

function isOnOneDisk(path: string, other: string): boolean {
  return statSync(path).dev === statSync(other, { throwIfNoEntry: false })?.dev
}

/** Only where it matters: to count takes a while. */
async function biggestHomes(): Promise<string> {
  const folders = readdirSync(homes).map(name => join(homes, name))
  if (folders.length === 0) return ''
  const count = ['--summarize', '--one-file-system', '--block-size=1', '--', ...folders]
  const { stdout } = await runProgram('du', count, { timeoutMs: countingTimeoutMs }).catch(() => ({ stdout: '' }))
  const sizes = stdout.split('\n').flatMap(line => {
    const [bytes, home] = [countIn(line), line.split('\t')[1]]
    return home && bytes !== undefined ? [{ home, bytes }] : []
  })
  const biggest = sizes.toSorted((a, b) => b.bytes - a.bytes).slice(0, homesNamed)
  return biggest.length
    ? `. The biggest homes: ${biggest.map(({ home, bytes }) => `${home} ${showRoom(bytes)}`).join(', ')}`
    : ''
}

/** A wrong clock makes codes of second factors, logins at other places, and package indexes fail. */
async function lookAtClock(): Promise<StatusLine> {
  const { code, stdout, stderr } = await runProgram('timedatectl', ['show', '--property=NTPSynchronized'])
  if (code === 0 && stdout.trim() === 'NTPSynchronized=yes') return good('clock', 'the clock is synchronised')
  const why = code === 0 ? 'no time server has been heard' : stderr.split('\n')[0] || 'timedatectl does not answer'
  const fix = 'sudo apt-get install systemd-timesyncd && sudo timedatectl set-ntp true'
  return warning('clock', 'whether the clock is right is not known', why, fix)
}
