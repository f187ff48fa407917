/**
 * The configuration, its changes and its history, as people read them. Secrets are masked wherever they were not asked for.
 */
import { visible } from '../text/findings.ts'
import type { Version } from './history.ts'
import type { Plan } from './plan.ts'

/** What a change will do, a line for each thing. */
export function showPlan({ lines }: Plan): string {
  if (lines.length === 0) return 'Nothing that anybody notices changes.'
  return ['What this does:', ...lines.map(line => `  - ${visible(line)}`)].join('\n')
}

/** The newest first. `text` is what is on the disk now. */
export function showLog(versions: readonly Version[], text: string): string {
  const wide = (select: (version: Version) => string) => Math.max(0, ...versions.map(one => select(one).length))
  const [numbers, names] = [wide(({ number }) => String(number)), wide(({ who }) => who)]
  const newest = versions.at(-1)
  return versions
    .toReversed()
    .map(version => {
      const { number, time, who, how } = version
      const mark = version === newest && version.text === text ? '  (this is the file on disk)' : ''
      const columns = [String(number).padStart(numbers), showTime(time), who.padEnd(names), how]
      return visible(`${columns.join('  ')}${mark}`)
    })
    .join('\n')
}

/** `2026-11-21 09:00:42`, as the machine's clock shows it. */
export function showTime(time: number): string {
  return new Date(time).toLocaleString('sv-SE')
}
