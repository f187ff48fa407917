/**
 * What is in TLJH's two stores, by a program of ours (stores.py) that runs as nobody: the one is a dbm file, of which Python has several kinds,
 * the other a database, and both may be made by somebody who wants to harm us.
 */
import { readFileSync } from 'node:fs'
import { runProgram } from '../../machine/run-program.ts'

type Answer<Found> = { found: Found } | { problem: string }

/** Names and values are base64: they may be no text. */
export interface Stores {
  passwords: Answer<[name: string, value: string][]> | null
  database: Answer<{
    users: [name: string, isAdmin: boolean][]
    signUps: [name: string, value: string, isAuthorized: boolean][]
  }> | null
}

/** The machine's own. TLJH's, in its folder, could be any program. */
const python = '/usr/bin/python3'
const timeoutMs = 120_000

/** See systemd.exec(5). DynamicUser= brings a read-only system, a /tmp of its own and no new privileges with it. */
const sandbox = [
  ...['DynamicUser=yes', 'PrivateNetwork=yes', 'PrivateDevices=yes', 'ProtectHome=yes', 'CapabilityBoundingSet='],
  ...[
    'ProtectKernelTunables=yes',
    'ProtectControlGroups=yes',
    'RestrictNamespaces=yes',
    'SystemCallArchitectures=native',
  ],
  ...['SystemCallFilter=@system-service', 'InaccessiblePaths=-/opt/tljh', 'InaccessiblePaths=-/run/dbus'],
  ...['MemoryMax=1G', 'TasksMax=16', `RuntimeMaxSec=${timeoutMs / 1000}`],
]

/**
 * `files` by what stores.py calls them: `passwords` and the endings of a dbm, `database`, `database-wal`. Throws where the program says nothing.
 */
export async function readStores(files: ReadonlyMap<string, Buffer>): Promise<Stores> {
  if (files.size === 0) return { passwords: null, database: null }
  const program = readFileSync(new URL('./stores.py', import.meta.url), 'utf8')
  const properties = sandbox.map(property => `--property=${property}`)
  const { code, stdout, stderr } = await runProgram(
    'systemd-run',
    ['--quiet', '--pipe', '--wait', '--collect', ...properties, python, '-I', '-B', '-c', program],
    {
      input: JSON.stringify(Object.fromEntries([...files].map(([name, bytes]) => [name, bytes.toString('base64')]))),
      timeoutMs: timeoutMs + 10_000,
    },
  )
  if (code !== 0) throw new Error(stderr.split('\n').at(-1) || `the program that reads it ended with code ${code}`)
  return JSON.parse(stdout) as Stores
}
