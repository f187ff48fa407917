/**
 * Version numbers of releases (semver.org): which one is meant by what somebody typed, and from which one may be gone to
 * which.
 *
 * A version with a tag behind it (`1.0.0-rc.1`) is a trial: nobody gets it who did not write it out.
 */
import * as semver from 'semver'
import { ProblemError } from '../../problem.ts'

const partialPattern = /^v?(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?$/

/** Nothing but what semver.org calls a version, without a build behind `+`: it becomes a folder's name. */
export function isVersion(text: string): boolean {
  return semver.valid(text) === text
}

/** For `sort`: negative where `a` is older. Both are versions. */
export function compareVersions(a: string, b: string): number {
  return semver.compare(a, b)
}

/**
 * The version that is meant by `1.2.3`, `1.2` or `1` (the newest of those), or by nothing or `latest` (the newest of all).
 * Throws `RELEASE_UNKNOWN`.
 */
export function resolveVersion(wanted: string | undefined, versions: readonly string[]): string {
  const exact = wanted?.replace(/^v/, '')
  if (exact !== undefined && versions.includes(exact)) return exact
  const released = versions.filter(version => semver.prerelease(version) === null).toSorted(compareVersions)
  const isLatest = wanted === undefined || wanted === 'latest'
  const range = isLatest ? '*' : (partialPattern.exec(wanted)?.[0] ?? '')
  const found = range && semver.maxSatisfying(released, range)
  if (found) return found
  throw new ProblemError('RELEASE_UNKNOWN', {
    what: isLatest ? 'There is nothing to install' : `There is no version ${wanted}`,
    why: released.length ? `these were released: ${released.join(', ')}` : 'nothing was released yet',
    fix: released.length ? 'Name one of them, or none for the newest' : 'Look again later',
  })
}

/**
 * Throws `UPGRADE_TOO_FAR` where `from` is older than the minor version before `to`: what changes between two minor versions is
 * tested from one to the next. `versions` says which one precedes which.
 */
export function mustBeNear(from: string, to: string, versions: readonly string[]): void {
  const minors = minorsOf([...versions, from, to])
  const steps = minors.indexOf(minorOf(to)) - minors.indexOf(minorOf(from))
  if (steps <= 1) return
  const next = minors[minors.indexOf(minorOf(from)) + 1]
  const stop = versions
    .filter(version => minorOf(version) === next && (semver.prerelease(version) === null || version === to))
    .toSorted(compareVersions)
    .at(-1)
  throw new ProblemError('UPGRADE_TOO_FAR', {
    what: `${from} cannot be upgraded to ${to} in one step`,
    why: `an upgrade begins at the minor version before, and between ${minorOf(from)} and ${minorOf(to)} lies ${next}`,
    fix: `Go there first: sudo tljh-ts upgrade ${stop ?? next}, and then: sudo tljh-ts upgrade ${to}`,
  })
}

/** `1.2` of `1.2.3`. */
function minorOf(version: string): string {
  return `${semver.major(version)}.${semver.minor(version)}`
}

/** Each once, the oldest first. Those of which there are trials alone do not count, but for the ends (the last two). */
function minorsOf(versions: readonly string[]): string[] {
  const ends = versions.slice(-2)
  const counted = versions.filter(version => semver.prerelease(version) === null || ends.includes(version))
  return [...new Set(counted.toSorted(compareVersions).map(minorOf))]
}
