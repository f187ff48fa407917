/**
 * Amounts as people write them, read into the units that systemd counts in.
 */
import { ProblemError } from '../problem.ts'

/** An amount of memory. */
export type Bytes = number & { readonly __unit: 'bytes' }

/** A share of processor time: 1 is one whole core. */
export type Cpus = number & { readonly __unit: 'cpus' }

/** Less than this and not even a Python interpreter starts; somebody forgot the suffix. */
const leastMemory = 16 * 1024 ** 2

/** Reads `512M`, `1.5G` or a count of bytes. Suffixes are powers of 1024, as in systemd.resource-control(5). */
export function parseBytes(value: string | number, key: string): Bytes {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)$/.exec(String(value))
  const bytes = match ? Math.floor(Number(match[1]) * 1024 ** ' KMGT'.indexOf(match[2] || ' ')) : Number.NaN
  if (bytes >= leastMemory && Number.isSafeInteger(bytes)) return bytes as Bytes
  throw new ProblemError('CONFIG_BYTES', {
    what: `${key} is ${JSON.stringify(value)}`,
    why: match ? 'no Jupyter server starts in less than 16M' : 'it is not an amount of memory',
    fix: 'Write it like 512M or 1.5G, or as a number of bytes',
  })
}

/** Reads `0.5` (half a core), `2` or `50%`. */
export function parseCpus(value: string | number, key: string): Cpus {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(String(value))
  const cpus = match ? Number(match[1]) / (match[2] ? 100 : 1) : Number.NaN
  // systemd takes no quota below one percent.
  if (cpus >= 0.01) return cpus as Cpus
  throw new ProblemError('CONFIG_CPUS', {
    what: `${key} is ${JSON.stringify(value)}`,
    why: 'it is not a share of processor time of at least 1%',
    fix: 'Write it like 0.5 or 50% for half a core, 2 for two cores',
  })
}
