/**
 * What a host is like, for comparing before and after: each file with its kind, mode, owner and content, accounts, groups, and units.
 */
import type { Host } from '../host/host.ts'

/** A line for each thing; equal machines have equal ones. */
export type Snapshot = ReadonlySet<string>

/** What changes by itself, or belongs to the test's own way in. */
const passedOver = ['/proc', '/sys', '/run', '/tmp', '/dev', '/var/log', '/var/tmp', '/var/lib/systemd']

const program = `
set -eu
find / -xdev \\( "$@" \\) -prune -o -printf '%p %y %m %U:%G %l\\n'
find /etc /usr/local /home /root /var/spool /var/lib -xdev -type f ! -path '/var/lib/systemd/*' -exec sha256sum {} +
sed 's/^/passwd /' /etc/passwd
sed 's/^/group /' /etc/group
# Without the day on which a password was last changed.
cut -d: -f1,2,8 /etc/shadow | sed 's/^/shadow /'
sed 's/^/gshadow /' /etc/gshadow
systemctl list-unit-files --plain --no-legend | sed 's/^/unit-file /'
systemctl list-units --all --plain --no-legend 'tljh*' 'run-tljh*' '*@tljh*' | sed 's/^/unit /'
sudo --list --other-user=root 2>/dev/null | sed "s/^/sudo /; s/$(hostname)/this host/" || true
`

export async function snapshot(host: Host): Promise<Snapshot> {
  const pruned = passedOver.flatMap((path, index) => [...(index ? ['-o'] : []), '-path', path])
  const { stdout } = await host.run(['sh', '-c', program, 'sh', ...pruned])
  return new Set(stdout.split('\n').filter(Boolean))
}

/** What is only in one of them: lines with `-` for the first, `+` for the second. */
export function difference(before: Snapshot, after: Snapshot): string[] {
  return [
    ...[...before].filter(line => !after.has(line)).map(line => `- ${line}`),
    ...[...after].filter(line => !before.has(line)).map(line => `+ ${line}`),
  ].toSorted()
}
