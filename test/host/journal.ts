/**
 * The journal of a test host, to wait for what a service says.
 */
import { createInterface } from 'node:readline'
import type { Host } from './host.ts'

const patienceMs = 90_000

/** Resolves with the first line of the unit that matches: one that is there already, or one that comes. */
export async function said(host: Host, unit: string, pattern: RegExp): Promise<string> {
  await using follower = await host.start(['journalctl', '-u', unit, '-f', '-n', 'all', '-o', 'cat'])
  const timer = setTimeout(() => follower.kill(), patienceMs)
  const lines: string[] = []
  try {
    for await (const line of createInterface({ input: follower.stdout })) {
      if (pattern.test(line)) return line
      lines.push(line)
    }
  } finally {
    clearTimeout(timer)
  }
  throw new Error(`${unit} did not say ${pattern}, but:\n${lines.slice(-20).join('\n')}`)
}
