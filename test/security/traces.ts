/** What attacks leave behind: entries of the journal, as it tells them to programs. */
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

/** What `act` leaves in the audit log, up to and with the entry that has `last` in it: entries come in their order. */
export async function auditUntil(host: Host, last: string, act: () => Promise<unknown>): Promise<Entry[]> {
  const before = (await journalOf(host, 'tljh-audit')).length
  await act()
  for (;;) {
    const entries = (await journalOf(host, 'tljh-audit')).slice(before)
    if (entries.some(({ MESSAGE }) => String(MESSAGE).includes(last))) return entries
  }
}
