/**
 * Amounts as people write them, read into the units that systemd counts in.
 */

/** An amount of memory. */
export type Bytes = number & { readonly __unit: 'bytes' }

/** A share of processor time: 1 is one whole core. */
export type Cpus = number & { readonly __unit: 'cpus' }

/** Less than this and not even a Python interpreter starts; somebody forgot the suffix. */
const leastMemory = 16 * 1024 ** 2

/** Reads `512M`, `1.5G` or a count of bytes. Suffixes are powers of 1024, as in systemd.resource-control(5). */
export function readBytes(value: string | number): Bytes | undefined {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)$/.exec(String(value))
  if (!match) return undefined
  const bytes = Math.floor(Number(match[1]) * 1024 ** ' KMGT'.indexOf(match[2] || ' '))
  return bytes >= leastMemory && Number.isSafeInteger(bytes) ? (bytes as Bytes) : undefined
}

/** Reads `0.5` (half a core), `2` or `50%`. systemd takes no quota below one percent. */
export function readCpus(value: string | number): Cpus | undefined {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(String(value))
  if (!match) return undefined
  const cpus = Number(match[1]) / (match[2] ? 100 : 1)
  return cpus >= 0.01 && cpus <= 100_000 ? (cpus as Cpus) : undefined
}

/** As people say it: `512 MB`, `1.5 GB`, in the units of `readBytes`. */
export function showBytes(bytes: Bytes): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  return `${Number((bytes / 1024 ** power).toFixed(2))} ${units[power]}`
}
