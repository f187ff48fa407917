/**
 * What the processes of some units hold and use, all together, on a test host.
 */
import type { Host } from '../../harness/host/host.ts'

export interface Footprint {
  /** Resident memory now, each shared page counted by its share (PSS). */
  bytes(): Promise<number>
  /** The sum of each process's most, since `forgetPeak`. */
  peakBytes(): Promise<number>
  forgetPeak(): Promise<void>
  /** Processor time until now, in seconds. */
  cpuSeconds(): Promise<number>
}

const perProcess = {
  bytes: `awk '/^Pss:/ { print $2 * 1024 }' /proc/$pid/smaps_rollup`,
  peak: `awk '/^VmHWM:/ { print $2 * 1024 }' /proc/$pid/status`,
  forget: 'echo 5 >/proc/$pid/clear_refs',
  // Fields 14 and 15 of proc(5), in hundredths of a second; the name before them may have spaces.
  cpu: `sed 's/.*) //' /proc/$pid/stat | awk '{ print ($12 + $13) / 100 }'`,
}

export function footprint(host: Host, units: readonly string[]): Footprint {
  async function each(what: keyof typeof perProcess): Promise<number> {
    const pids = `for unit in ${units.join(' ')}; do group=$(systemctl show --value --property=ControlGroup $unit); cat /sys/fs/cgroup/systemd$group/cgroup.procs /sys/fs/cgroup$group/cgroup.procs 2>/dev/null; done | sort -u`
    const { stdout } = await host.run(['sh', '-c', `for pid in $(${pids}); do ${perProcess[what]}; done`])
    const numbers = stdout.trim().split('\n').map(Number)
    return numbers.reduce((sum, one) => sum + one, 0)
  }
  return {
    bytes: () => each('bytes'),
    peakBytes: () => each('peak'),
    forgetPeak: async () => void (await each('forget')),
    cpuSeconds: () => each('cpu'),
  }
}
