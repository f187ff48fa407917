/**
 * What the hub says no to, in words, and with which status.
 *
 * Where a refusal could tell a stranger something (whether a name exists, whether a server runs), it reads the same
 * in both cases.
 */
import type { UserName } from '../config/names.ts'
import { ProblemError } from '../problem.ts'

const statuses: Record<string, number> = {
  LOGIN_NEEDED: 403,
  LOGIN_REFUSED: 403,
  LOGINS_TOO_MANY: 429,
  LOGIN_TOO_OFTEN: 429,
  PASSWORD_SHORT: 403,
  PASSWORD_LONG: 403,
  PASSWORD_REPEATED: 403,
  PASSWORD_COMMON: 422,
  NAME_TAKEN: 409,
  EMAIL: 422,
  USER_NAME: 422,
  CODE_VOID: 403,
  CODE_WRONG: 403,
  PASSWORD_ELSEWHERE: 403,
  FORM_STALE: 403,
  CROSS_ORIGIN: 403,
  NOT_YOURS: 403,
  USER_NOT_ALLOWED: 403,
  NO_PAGE: 404,
  ADDRESS: 400,
  SERVER_NOT_RUNNING: 424,
  ADMINS_ONLY: 403,
  PASSWORD_NEEDED: 403,
  PASSWORD_WRONG: 403,
  CONFIG_NO_VERSION: 404,
  CONFIG_INVALID: 422,
  CONFIG_CHANGED: 409,
  CONFIG_LOCKED: 409,
  CONFIG_SAME: 200,
}

/** The HTTP status of a problem. What is not the asker's doing is 503, and may pass. */
export function statusOf({ code }: ProblemError): number {
  return statuses[code] ?? 503
}

export function loginNeeded(): ProblemError {
  return new ProblemError('LOGIN_NEEDED', {
    what: 'You are not logged in',
    why: 'this browser has no session here, or it has ended',
    fix: 'Log in, and go on where you were',
  })
}

/** The same for a server that exists and for a name that nobody has. */
export function notYours(user: UserName): ProblemError {
  return new ProblemError('NOT_YOURS', {
    what: 'This is not your server',
    why: `you are logged in as ${user}, and a server opens for its owner alone`,
    fix: 'Go to your own server. Administrators see files of others with sudo in a terminal, and may open servers where admins.open_servers is true',
  })
}

export function notRunning(owner: UserName): ProblemError {
  return new ProblemError('SERVER_NOT_RUNNING', {
    what: `${owner}’s server is not running`,
    why: 'it was stopped, or has not been started',
    fix: 'Start it on the home page',
  })
}

/** For a form that was not sent from a page that this browser had of us, as it is now. */
export function formStale(): ProblemError {
  return new ProblemError('FORM_STALE', {
    what: 'Nothing was done',
    why: 'the page was open for too long, or you have logged in or out in another tab',
    fix: 'Try again from the page as it is now. If it happens again, let the browser keep cookies of this site',
  })
}

/** For a request that changes something and was sent by a page of another site. */
export function crossOrigin(): ProblemError {
  return new ProblemError('CROSS_ORIGIN', {
    what: 'Nothing was done',
    why: 'a page of another site asked for it',
    fix: 'Do it on the hub’s own pages',
  })
}

export function noPage(): ProblemError {
  return new ProblemError('NO_PAGE', {
    what: 'There is no such page',
    why: 'the address is not one of the hub’s',
    fix: 'Check its spelling, or start from the home page',
  })
}

export function ambiguousAddress(): ProblemError {
  return new ProblemError('ADDRESS', {
    what: 'That address cannot be used',
    why: 'it could be read in more than one way',
    fix: 'Write it without the parts . and .. and without backslashes',
  })
}

export function adminsOnly(user: UserName): ProblemError {
  return new ProblemError('ADMINS_ONLY', {
    what: 'This page is for administrators',
    why: `you are logged in as ${user}, who is none`,
    fix: 'Ask an administrator of the hub',
  })
}

/** For a script: a page asks for the password instead. */
export function passwordNeeded(): ProblemError {
  return new ProblemError('PASSWORD_NEEDED', {
    what: 'Nothing was done',
    why: 'your password was given too long ago',
    fix: 'Give it again, on the page that asks for it',
  })
}

export function passwordWrong(): ProblemError {
  return new ProblemError('PASSWORD_WRONG', {
    what: 'That is not your password',
    why: 'it is another one than you log in with',
    fix: 'Try again. If it is forgotten, set a new one on the machine: sudo tljh-ts user passwd NAME',
  })
}
