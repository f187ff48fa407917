/**
 * What the hub can have done as root: a row for each verb, with what must hold for it. There is no other way in.
 *
 * Who may ask is said by the socket: root and the group tljh-hub. A hub that was taken over is among them. So what must hold is asked of the
 * configuration and of systemd, and never of the request, which names a user and nothing else.
 */
import type { ConfigFile } from '../../config/change/in-force.ts'
import type { ServicesStatus } from '../../config/change/services.ts'
import { isAdmin, mayEnter } from '../../config/meaning/who-may-enter.ts'
import { isTemporaryName, isUserName, type UserName } from '../../config/users/names.ts'
import { ProblemError } from '../../problem.ts'
import type { Event, RemovedAccount, Server, StartOptions } from '../client/protocol.ts'

/** What the verbs do with servers. */
export interface Servers {
  list(): Server[]
  get(user: UserName): Server
  start(user: UserName, options: StartOptions): Server
  stop(user: UserName): Server
  /** Calls `listener` with everything at once, then with each change; returns how to stop that. */
  follow(listener: (event: Event) => void): () => void
}

/** What the verbs do with the configuration. */
export interface Configuration {
  status(): Promise<ServicesStatus>
  reload(options: { isAtOnce: boolean }): Promise<void>
  hubRuns(version: string): void
  /** Checks it as if nobody had, and brings it into force. Answers its number in the history. */
  propose(admin: UserName, body: string): Promise<{ number: number }>
  /** Calls `listener` with the version in force at once, then with each that comes; returns how to stop that. */
  follow(listener: (event: Event) => void): () => void
}

/** What the verbs do with accounts. */
export interface Removals {
  /** Stops the server, archives the home, and deletes the account. Throws as `AccountRemoval`. */
  archive(user: UserName): Promise<RemovedAccount>
  /** Deletes the account with all its files. Throws as `AccountRemoval`. */
  forget(user: UserName): Promise<RemovedAccount>
  /** Throws `USER_LEAVES` while the account is being deleted. */
  mustStay(user: UserName): void
}

export interface Powers {
  config: ConfigFile
  servers: Servers
  configuration: Configuration
  removals: Removals
}

export type Answer =
  | { status: 200 | 202; value: unknown }
  /** Calls `tell` with each line of an answer that does not end; returns how to stop that. */
  | { follow(tell: (event: Event) => void): () => void }

/** Throws where it does not hold. */
type Condition = (powers: Powers, user: UserName) => void

interface Row {
  /** A body that is longer is refused, and that of other verbs is not read. */
  mostBytes: number
  run(powers: Powers, name: string, body: () => Promise<string>): Answer | Promise<Answer>
}

/** A configuration has at most a megabyte of characters (config/text/read.ts), and JSON writes some of them longer. */
const mostProposalBytes = 2 * 1024 * 1024

/** By method and address, where NAME stands for what is named. */
export const verbs: Record<string, Row> = {
  'GET servers': ofNobody(({ servers }) => done(servers.list())),
  'GET servers/NAME': ofUser([], ({ servers }, user) => done(servers.get(user))),
  'POST servers/NAME/start': ofUser([isStaying, mayEnterNow], ({ servers }, user) =>
    accepted(servers.start(user, { hasOwnSettings: true })),
  ),
  'POST servers/NAME/start-without-settings': ofUser([isStaying, mayEnterNow], ({ servers }, user) =>
    accepted(servers.start(user, { hasOwnSettings: false })),
  ),
  'POST servers/NAME/stop': ofUser([], ({ servers }, user) => accepted(servers.stop(user))),
  'POST users/NAME/archive': ofUser([isOut], async ({ removals }, user) => done(await removals.archive(user))),
  'POST users/NAME/forget': ofUser([isTemporary, hasNoServer], async ({ removals }, user) =>
    done(await removals.forget(user)),
  ),
  'GET events': ofNobody(({ servers, configuration }) => ({
    follow(tell) {
      const stops = [servers.follow(tell), configuration.follow(tell)]
      return () => {
        for (const stop of stops) stop()
      }
    },
  })),
  'GET config': ofNobody(async ({ configuration }) => done(await configuration.status())),
  'POST config/reload': ofNobody(async ({ configuration }) => done(await configuration.reload({ isAtOnce: false }))),
  'POST config/reload-at-once': ofNobody(async ({ configuration }) =>
    done(await configuration.reload({ isAtOnce: true })),
  ),
  'POST config/in-force/NAME': {
    mostBytes: 0,
    run: ({ configuration }, name) => done(configuration.hubRuns(versionNamed(name))),
  },
  'POST config/propose/NAME': {
    mostBytes: mostProposalBytes,
    async run(powers, name, body) {
      const admin = userNamed(name)
      isAdministrator(powers, admin)
      const text = await body()
      // A body can take its time.
      isAdministrator(powers, admin)
      return done(await powers.configuration.propose(admin, text))
    },
  },
}

function ofNobody(run: (powers: Powers) => Answer | Promise<Answer>): Row {
  return { mostBytes: 0, run }
}

function ofUser(must: readonly Condition[], run: (powers: Powers, user: UserName) => Answer | Promise<Answer>): Row {
  return {
    mostBytes: 0,
    run(powers, name) {
      const user = userNamed(name)
      for (const condition of must) condition(powers, user)
      return run(powers, user)
    },
  }
}

function done(value: unknown): Answer {
  return { status: 200, value: value ?? {} }
}

/** It goes on; the answer says to which state it leads. */
function accepted(value: Server): Answer {
  return { status: 202, value }
}

/** The name must be spelled as it is stored: no decoding here, so no second opinion on what it says. */
function userNamed(name: string): UserName {
  if (isUserName(name)) return name
  throw new ProblemError('USER_NAME', {
    what: 'that cannot be a user name',
    why: 'a name has 1 to 64 of a-z, 0-9 and . _ @ -',
    fix: 'Send a valid name',
  })
}

function versionNamed(name: string): string {
  if (/^[0-9a-f]{64}$/.test(name)) return name
  throw new ProblemError('VERSION', {
    what: 'that cannot be a version',
    why: 'a version has 64 hexadecimal digits',
    fix: 'Send a valid one',
  })
}

function isStaying({ removals }: Powers, user: UserName): void {
  removals.mustStay(user)
}

function mayEnterNow({ config }: Powers, user: UserName): void {
  if (mayEnter(config.current(), user)) return
  throw new ProblemError('USER_NOT_ALLOWED', {
    what: `${user} cannot have a server here`,
    why: 'the configuration does not let that name in',
    fix: 'An administrator can add it: users.allowed in sudo tljh-ts config edit',
  })
}

function isAdministrator({ config }: Powers, user: UserName): void {
  if (isAdmin(config.current(), user)) return
  throw new ProblemError('USER_NOT_ALLOWED', {
    what: `${user} cannot change the configuration`,
    why: 'only administrators can',
    fix: 'Ask one of them',
  })
}

/** A hub that was taken over must not be able to take an account from anybody whom the configuration lets in. */
function isOut({ config }: Powers, user: UserName): void {
  if (!mayEnter(config.current(), user)) return
  throw new ProblemError('USER_STILL_ALLOWED', {
    what: `The account of ${user} was not deleted`,
    why: 'the configuration lets that name in',
    fix: 'Take it out of the lists first: users.allowed, users.admin; or write it into users.banned',
  })
}

/** Nothing is deleted without an archive but what a temporary visitor leaves. */
function isTemporary({ config }: Powers, user: UserName): void {
  const { allowed, admin } = config.current().users
  if (isTemporaryName(user) && !allowed.has(user) && !admin.has(user)) return
  throw new ProblemError('USER_NOT_TEMPORARY', {
    what: `The account of ${user} was not deleted`,
    why: 'only accounts of temporary visitors are deleted without an archive',
    fix: 'Archive it',
  })
}

function hasNoServer({ servers }: Powers, user: UserName): void {
  if (['stopped', 'failed'].includes(servers.get(user).kind)) return
  throw new ProblemError('SERVER_RUNS', {
    what: `The account of ${user} was not deleted`,
    why: 'its server runs',
    fix: 'Stop the server first',
  })
}
