/**
 * Hub and spawner, as far as a change of the configuration is concerned. The folder knows neither; who applies a change
 * hands them in (spawner/client/client.ts has them).
 */
import type { UserName } from '../users/names.ts'
import type { RunningServer } from './plan.ts'

export interface Services {
  /** Throws `SPAWNER_UNREACHABLE`. */
  status(): Promise<ServicesStatus>
  /** Makes both read the file again, and brings what runs in line with it. Answers before the hub has done its part. */
  reload(options: { isAtOnce: boolean }): Promise<void>
}

export interface ServicesStatus {
  /** The `Config.version` that each runs; undefined where a hub has not said so yet. */
  spawner: string
  hub: string | undefined
  running: RunningServer[]
}

/** A configuration that an administrator wants, made in the browser. */
export interface ConfigProposal {
  admin: UserName
  text: string
  /** The `Config.version` of the file that it was made from: what somebody else changed meanwhile is not overwritten. */
  baseVersion: string
  isAtOnce: boolean
  /** What was done, for the history; an edit of the text where it is not said. */
  how?: string
}
