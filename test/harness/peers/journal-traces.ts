/** What attacks leave behind: entries of the journal, as it tells them to programs. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Host } from '../host/host.ts'

export type Entry = Record<string, unknown>

/** All that a service, or a program of that name, has written. */
export async function journalOf(host: Host, identifier: string): Promise<Entry[]> {
  const { stdout } = await host.run(['journalctl', '--no-pager', '--output=json', `--identifier=${identifier}`])
  return stdout
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line) as Entry)
}

/**
 * What `act` leaves in the audit log. Entries come in their order, but later than the answers to what caused them: so one
 * marks where they begin, and one where they end.
 *
 * @param mark causes an entry that has this name in it
 */
export async function auditOf(
  host: Host,
  mark: (name: string) => Promise<unknown>,
  act: () => Promise<unknown>,
): Promise<Entry[]> {
  const [begin, end] = [`begin-${randomUUID()}`, `end-${randomUUID()}`]
  await mark(begin)
  await act()
  await mark(end)
  for (;;) {
    const entries = await journalOf(host, 'tljh-audit')
    const [first, last] = [begin, end].map(name => entries.findIndex(entry => String(entry.MESSAGE).includes(name)))
    if (first !== undefined && last !== undefined && last !== -1) return entries.slice(first + 1, last)
    await delay(50)
  }
}
