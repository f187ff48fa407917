/**
 * The network of a test host: a cable (a veth pair) between it and this machine, with four addresses of its own, and a
 * way out only where one is asked for.
 *
 * A host without a way out has no default route, so everything but this machine is "Network is unreachable" at once and
 * not after a time-out. A host with one is hidden behind this machine's address by a table of nftables that carries the
 * host's name, so that removing it touches no rule of anybody else.
 */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrorCode } from './process.ts'
import { execute } from './run-program.ts'

/** How many hosts may run side by side: one for each value of the third byte. */
export const MAX_HOSTS = 256

const FORWARDING = '/proc/sys/net/ipv4/ip_forward'

export interface Cable {
  /** The interface on this machine; the host has the other end as eth0. */
  link: string
  /** The host's address. */
  address: string
  /** This machine's end. */
  gateway: string
  network: string
}

export function cableOf(number: number): Cable {
  const base = `10.213.${number}`
  return { link: `tljh${number}`, address: `${base}.2`, gateway: `${base}.1`, network: `${base}.0/30` }
}

/** Plugs the host whose PID 1 is `pid` in. The host's end gets its address in the host. */
export async function plugIn({ link, gateway }: Cable, pid: number): Promise<void> {
  await unplug({ link })
  const peer = ['peer', 'name', 'eth0', 'netns', String(pid)]
  await execute(['ip', 'link', 'add', link, 'type', 'veth', ...peer])
  await execute(['ip', 'address', 'add', `${gateway}/30`, 'dev', link])
  await execute(['ip', 'link', 'set', link, 'up'])
}

/** The kernel unplugs it too, some time after the host has ended; this makes sure that it is done. */
export async function unplug({ link }: Pick<Cable, 'link'>): Promise<void> {
  const { code, stderr } = await execute(['ip', 'link', 'delete', link], { check: false })
  if (code !== 0 && !/Cannot find device|No such device/.test(stderr))
    throw new Error(`ip link delete ${link}: ${stderr}`)
}

/** Opens the way out for one host. To be called with the lock of the run folder held, as `closeWayOut`. */
export async function openWayOut({ link, network }: Cable, runFolder: string): Promise<void> {
  if ((await readFile(FORWARDING, 'utf8')).trim() === '0') {
    await writeFile(join(runFolder, FORWARDING_WAS_OFF), '')
    await writeFile(FORWARDING, '1')
  }
  // `add` and `delete` before it make this a replacement, in one transaction.
  const input = `
    add table ip ${link}
    delete table ip ${link}
    table ip ${link} {
      chain out {
        type nat hook postrouting priority srcnat;
        ip saddr ${network} oifname != "${link}" masquerade
      }
    }
  `
  await execute(['nft', '--file', '-'], { input })
}

/** The note that forwarding was off before the first way out. */
const FORWARDING_WAS_OFF = 'forwarding-was-off'

/** @param isLast no other host has a way out: forwarding goes back to what it was */
export async function closeWayOut({ link }: Pick<Cable, 'link'>, runFolder: string, isLast: boolean): Promise<void> {
  await execute(['nft', '--file', '-'], { input: `add table ip ${link}\ndelete table ip ${link}\n` })
  if (!isLast) return
  try {
    await rm(join(runFolder, FORWARDING_WAS_OFF))
  } catch (error) {
    if (isErrorCode(error, 'ENOENT')) return
    throw error
  }
  await writeFile(FORWARDING, '0')
}
