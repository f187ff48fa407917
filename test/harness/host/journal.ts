/**
 * The journal of a test host, to wait for what a service says.
 */
import { createInterface } from 'node:readline'
import type { Host } from './host.ts'

/** Only for what is never said. */
const patienceMs = 300_000

/** Where the journal ends now: what a test is about to cause comes after it. */
export async function journalEnd(host: Host): Promise<string> {
  const { stdout } = await host.run(['journalctl', '-n', '0', '--show-cursor', '-q'])
  return stdout.trim().replace(/^-- cursor: /, '')
}

/** Resolves with the first line of the unit that matches: one that is there already (behind `after`), or one that comes. */
export async function said(host: Host, unit: string, pattern: RegExp, { after = '' } = {}): Promise<string> {
  const from = after ? [`--after-cursor=${after}`] : []
  await using follower = await host.start(['journalctl', '-u', unit, '-f', '-n', 'all', '-o', 'cat', ...from])
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
