/**
 * What the hub says no to, in words, and with which status.
 *
 * Where a refusal could tell a stranger something (whether a name exists, whether a server runs), it reads the same
 * in both cases.
 */
import type { UserName } from '../../config/users/names.ts'
import { ProblemError, type ProblemText } from '../../problem.ts'

const statuses: Record<string, number> = {
  LOGIN_NEEDED: 403,
  LOGIN_REFUSED: 403,
  LOGINS_TOO_MANY: 429,
  LOGIN_TOO_OFTEN: 429,
  LOGIN_CROWDED: 429,
  TOO_MANY_NEW: 429,
  PASSWORD_SHORT: 403,
  PASSWORD_LONG: 403,
  PASSWORD_REPEATED: 403,
  PASSWORD_COMMON: 403,
  PASSWORD_NAME: 403,
  NAME_TAKEN: 409,
  EMAIL: 422,
  USER_NAME: 422,
  NAMES: 422,
  YOURSELF: 409,
  SIGN_UP_GONE: 409,
  SIGN_UP_TAKEN: 409,
  PERSON_BANNED: 409,
  PERSON_NOT_LET_IN: 409,
  PERSON_UNKNOWN: 404,
  CODES_USELESS: 409,
  LAST_ADMIN: 409,
  ROSTER: 422,
  ON_MACHINE_ONLY: 403,
  RENAME_BEGUN: 409,
  USER_STILL_ALLOWED: 409,
  USER_NOT_TEMPORARY: 409,
  SERVER_RUNS: 409,
  SERVER_LIMIT: 429,
  USER_LEAVES: 409,
  PROCESSES_LEFT: 409,
  HOME_MOUNTS: 409,
  FACTOR_SHARED: 409,
  CODE_VOID: 403,
  CODE_WRONG: 403,
  PASSWORD_ELSEWHERE: 403,
  AUTH_STATE: 400,
  AUTH_CODE: 403,
  AUTH_DENIED: 403,
  AUTH_NOT_TRUSTED: 403,
  AUTH_NAME: 403,
  AUTH_EMAIL_UNVERIFIED: 403,
  AUTH_NOT_ALLOWED: 403,
  AUTH_OTHER_IDENTITY: 403,
  AUTH_OTHER_WAY: 403,
  FORM_STALE: 403,
  CROSS_ORIGIN: 403,
  NOT_YOURS: 403,
  USER_NOT_ALLOWED: 403,
  NO_PAGE: 404,
  MISDIRECTED: 421,
  TLS_IN_FRONT: 421,
  TLS_ALONE: 421,
  VISIT_NEEDED: 403,
  ENTER_VOID: 403,
  ADDRESS: 400,
  SERVER_NOT_RUNNING: 424,
  SERVER_BUSY: 429,
  WATCHERS_TOO_MANY: 429,
  SERVER_SILENT: 504,
  ADMINS_ONLY: 403,
  METRICS_TOKEN: 403,
  PASSWORD_NEEDED: 403,
  PASSWORD_WRONG: 403,
  CONFIG_NO_VERSION: 404,
  CONFIG_INVALID: 422,
  CONFIG_CHANGED: 409,
  CONFIG_LOCKED: 409,
  CONFIG_SAME: 200,
}

/** The HTTP status of a page that tells of a problem, if of any. What is not the asker's doing is 503, and may pass. */
export function statusOf(problem: ProblemText | undefined): number {
  return problem instanceof ProblemError ? (statuses[problem.code] ?? 503) : 200
}

export function notRepeated(): ProblemError {
  return new ProblemError('PASSWORD_REPEATED', {
    what: 'That password can’t be used',
    why: 'the passwords don’t match',
    fix: 'Enter the same password in both fields',
  })
}

/** Students can do nothing about the hub's disk, but delete files of theirs. */
export function diskFull(what: string, isAdmin: boolean): ProblemError {
  return new ProblemError('DISK_FULL', {
    what,
    why: 'the hub’s disk is full',
    fix: isAdmin
      ? 'Make room, and try again. Who uses most of it: sudo tljh-ts status'
      : 'Delete files that you don’t need, or ask your teacher to make room. Then try again',
  })
}

export function tooManyWatchers(): ProblemError {
  return new ProblemError('WATCHERS_TOO_MANY', {
    what: 'This page can’t show the start of the server',
    why: 'too many of your pages are watching it already',
    fix: 'Close some of them, then reload this page',
  })
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
    fix: 'Go to your own server. Administrators see files of others with sudo in a terminal, and may open servers where https.user_domains, admins.visit_port or admins.open_servers says so',
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

/** For a host and a path, or a host and a method, that do not go together. */
export function misdirected(): ProblemError {
  return new ProblemError('MISDIRECTED', {
    what: 'This is not the place for that',
    why: 'the hub is called by another name, and each user’s server has a host of its own',
    fix: 'Start from the hub’s own address. Programs: follow the redirect of a GET first, and go on at the host to which it leads',
  })
}

/** The name that was asked for is none that the hub can vouch for, and it knows no other to lead to. */
export function tlsAlone(): ProblemError {
  return new ProblemError('TLS_ALONE', {
    what: 'This page is there by https alone',
    why: 'your browser asked without, and the hub cannot lead it there, because no certificate with its name is in force yet',
    fix: 'Write https:// in front of the address. Administrators: see sudo tljh-ts status',
  })
}

/** Led to https, whatever stands in front would ask in the same way again, and the browser would go round in circles. */
export function tlsInFront(): ProblemError {
  return new ProblemError('TLS_IN_FRONT', {
    what: 'This page cannot be shown',
    why: 'something in front of the hub speaks https with your browser, and plain HTTP with the hub, which is set to speak https itself',
    fix: 'Administrators: have what stands in front ask by https (with Cloudflare: “Full”), or switch it off there, or set https.enabled to false here',
  })
}

/** For a script: a page leads to the note instead. */
export function visitNeeded(owner: UserName): ProblemError {
  return new ProblemError('VISIT_NEEDED', {
    what: `You are not on a visit to ${owner}’s server`,
    why: 'a visit begins with a note that it is somebody else’s, and ends after an hour',
    fix: 'Open the server in a browser, read the note, and go on from there',
  })
}

export function enterVoid(): ProblemError {
  return new ProblemError('ENTER_VOID', {
    what: 'You have not got in by that link',
    why: 'it was used before, is older than a minute, or was made in another browser',
    fix: 'Open the server from the hub’s home page. If it happens again, let the browser keep cookies of this site',
  })
}

export function codeWrong(): ProblemError {
  return new ProblemError('CODE_WRONG', {
    what: 'That code is not right',
    why: 'it is not the one that your device shows now, or it was used already',
    fix: 'Wait for the next one and type that. If it is never right, the clock of the device is wrong; if the device is lost, type a recovery code',
  })
}
