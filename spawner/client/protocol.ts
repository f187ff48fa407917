/**
 * What hub and spawner say to each other, over HTTP on the spawner's unix socket.
 *
 *   GET  /servers              all servers that are not stopped, and those whose last run failed
 *   GET  /servers/NAME         one
 *   POST /servers/NAME/start   asks for a start; answers at once with the state it leads to
 *   POST /servers/NAME/start-without-settings   likewise; the server reads no settings of Jupyter's in the user's home
 *   POST /servers/NAME/stop    asks for a stop; likewise
 *   POST /users/NAME/archive   archives the home of somebody who may not enter any more, and deletes the account; answers a
 *                              `RemovedAccount` when that is done, which can take hours
 *   POST /users/NAME/forget    deletes the account of a temporary visitor with its files; likewise
 *   GET  /events               a line of JSON (an `Event`) for each change, after a first one with all servers
 *   GET  /config               which version of the configuration is in force, and what its change would meet
 *   POST /config/reload        asks for the file to be looked at now; answers when what runs is in line with it
 *   POST /config/reload-at-once   likewise, and limits count for servers that use more than they may
 *   POST /config/in-force/VERSION the hub says which version it runs
 *   POST /config/propose/NAME  brings the configuration in the body, a `Proposal` of that administrator, into force
 *
 * A verb names a user or nothing: a query, another path, or a body elsewhere than at a proposal is refused. Refusals are
 * a `Refusal` with status 4xx, or 503 where systemd cannot be asked.
 */
import type { UserName } from '../../config/users/names.ts'

/** Times are milliseconds since 1970, `progress` is 0 to 100; `ahead` is there while others start first: how many. */
export type Server =
  | { kind: 'stopped'; user: UserName }
  | { kind: 'starting'; user: UserName; since: number; step: string; progress: number; ahead?: number }
  | { kind: 'ready'; user: UserName; since: number }
  | { kind: 'stopping'; user: UserName; since: number }
  | { kind: 'failed'; user: UserName; at: number; end: ServerEnd }

export interface StartOptions {
  /** False for a start in which settings of Jupyter's in the user's home do not count, so that they can be mended. */
  hasOwnSettings: boolean
}

/** Why a server is no more, in words for the student who looks at the page. */
export interface ServerEnd {
  what: string
  why: string
  fix: string
  /** The last lines that it wrote, oldest first. */
  log: string[]
  /** For administrators: the command that shows all of them. One of another version may not send it. */
  journal?: string
  /** Of a start: the files in the user's home with settings that it read. Without them, it may come about. */
  ownSettings?: string
}

/** One line of `/events`. `all` replaces whatever the reader knew; `config` is the version that came into force. */
export type Event = { all: Server[] } | { changed: Server } | { config: string }

/** What became of an account that was to go. */
export interface RemovedAccount {
  /** Whether there was anything of the user on the machine. */
  wasThere: boolean
  /** The path of the archive; undefined where there was no home, or none was wanted. */
  archive: string | undefined
}

export interface Refusal {
  code: string
  what: string
  why: string
  fix: string
}
