/** What each page shows: the values that its template is given. */
import type { Version } from '../../config/change/history.ts'
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import type { Finding } from '../../config/text/findings.ts'
import type { UserName } from '../../config/users/names.ts'
import type { ProblemText } from '../../problem.ts'
import type { Server } from '../../spawner/client/protocol.ts'
import type { KnownUser } from '../credentials/all-users.ts'
import type { Credential } from '../credentials/credential.ts'
import type { SignUp } from '../credentials/pending-sign-ups.ts'
import type { NewFactor } from '../credentials/second-factor.ts'
import type { CertificateState } from '../tls/status.ts'

/** What the login page offers. */
export interface LoginChoices {
  /** Whether a name and a password can be typed. */
  hasForm: boolean
  /** What somebody who is new does: types a one-time code, chooses a password by typing it, types the password of all, or something else. */
  hint: 'code' | 'choose' | 'shared' | 'none'
  /** Ways by way of another site, with what stands on the button. */
  external: readonly { kind: AuthenticatorKind; label: string }[]
  signUp: boolean
  temporary: boolean
}

export interface LoginView {
  doors: LoginChoices
  /** What the person typed before, or nothing. As it was typed, so not a `UserName`. */
  username: string
  /** Where to go afterwards, or nothing. It comes from the request: the hub checks it when the form is posted. */
  next: string
  xsrf: string
  /** Why the last attempt failed. */
  problem?: ProblemText | undefined
}

export interface ChoosePasswordView {
  /** As it was typed, so not a `UserName`. */
  user: string
  /** The one-time code, as it was typed. */
  code: string
  next: string
  xsrf: string
  problem?: ProblemText | undefined
}

export interface SignUpView {
  /** What the person typed before, or nothing. */
  username: string
  email: string
  asksEmail: boolean
  problem?: ProblemText | undefined
  xsrf: string
  /** Where to go afterwards. */
  next: string
}

export interface SignedUpView {
  username: UserName
}

export interface SecondFactorView {
  problem?: ProblemText | undefined
  xsrf: string
}

export interface NewSecondFactorView {
  /** Who looks at the page, where there is a session already. */
  user?: UserName | undefined
  /** Whose it becomes. */
  typed: UserName
  proposal: NewFactor
  isAtLogin: boolean
  problem?: ProblemText | undefined
  xsrf: string
}

export interface RecoveryCodesView {
  user: UserName
  codes: readonly string[]
  /** A path of ours to go on to. */
  next: string
}

export interface AccountView {
  user: UserName
  way: AuthenticatorKind
  /** Whether the hub keeps the password. */
  isStored: boolean
  /** Whether there is a password that can be asked for. */
  hasPassword: boolean
  /** Whether a second factor can be set up: the account is this person's alone. */
  maySetFactor: boolean
  hasSecondFactor: boolean
  mustHaveSecondFactor: boolean
  problem?: ProblemText | undefined
  /** What was done just now. */
  done?: string | undefined
  xsrf: string
}

export interface UserRow extends KnownUser {
  /** Whether whoever looks at the page may open that server. */
  mayVisit: boolean
}

export interface PeopleView {
  user: UserName
  people: readonly UserRow[]
  waiting: readonly SignUp[]
  /** Group names from the configuration, for the selection list. */
  groups: readonly string[]
  /** Whether people come in whom the configuration does not name. */
  isOpen: boolean
  /** Whether the administrator's password was given just now. */
  isFresh: boolean
  /** What is served by https; undefined where that is off. */
  certificate: CertificateState | undefined
  /** That the hub's disk is nearly full. */
  disk?: ProblemText | undefined
  /** What is amiss with the web server in front. */
  inFront?: ProblemText | undefined
  typed: { names: string; group: string }
  problem?: ProblemText | undefined
  /** What was done just now. */
  done?: string | undefined
  xsrf: string
}

export interface CredentialsView {
  user: UserName
  made: readonly Credential[]
  /** Of the hub, as people type it. */
  address: string
}

export interface ArchiveView {
  user: UserName
  owner: UserName
  xsrf: string
}

export interface ImportRow {
  line: number
  who: string
  user: UserName
  kind: 'new' | 'there' | 'banned' | 'twice'
  note: string
}

export interface ImportListView {
  user: UserName
  text: string
  group: string
  groups: readonly string[]
  /** What will happen to each row; empty before the list was read. */
  rows: readonly ImportRow[]
  problem?: ProblemText | undefined
  xsrf: string
}

export interface ConfirmView {
  user: UserName
  way: AuthenticatorKind
  hasPassword: boolean
  problem?: ProblemText | undefined
  /** Where to go then. */
  next: string
  xsrf: string
}

export interface HomeView {
  user: UserName
  isAdmin: boolean
  /** The user's own. */
  server: Server
  /** Where it opens. */
  address: string
  /** For administrators: why the configuration on disk is not in force. */
  configProblem?: ProblemText | undefined
  xsrf: string
}

export interface SpawnPendingView {
  /** Who looks at the page. */
  user: UserName
  /** Whose server it is. */
  owner: UserName
  server: Server
  xsrf: string
  /** Kept for another attempt. */
  next: string
}

export interface NotRunningView {
  /** Who looks at the page. */
  user: UserName
  /** Whose server it is. */
  owner: UserName
  server: Server
  /** The address that was asked for, to go on to once the server runs. */
  next: string
  xsrf: string
}

/** What the person has typed, and goes on with. */
export interface DraftView {
  text: string
  baseVersion: string
  isAtOnce: boolean
}

export interface ConfigView {
  user: UserName
  draft: DraftView
  /** Why the text was not applied, or the file on disk is not in force. */
  problem?: ProblemText | undefined
  /** What is wrong with the text, the worst first. */
  findings: readonly Finding[]
  /** The file as somebody else has left it meanwhile, and how the text differs from that. */
  theirs?: { text: string; diff: string } | undefined
  /** The number of the version that was put in the editor. */
  from?: number | undefined
  xsrf: string
}

export interface ConfigPasswordView {
  user: UserName
  way: AuthenticatorKind
  hasPassword: boolean
  problem?: ProblemText | undefined
  /** Kept until the password is given. */
  draft?: DraftView | undefined
  /** What to do with the draft then. */
  step: string
  /** Where to go then, where there is no draft. */
  next: string
  xsrf: string
}

export interface ConfigReviewView {
  user: UserName
  draft: DraftView
  findings: readonly Finding[]
  diff: string
  plan: readonly string[]
  /** Whether it is asked if limits count at once for servers that use more. */
  asksAtOnce: boolean
  xsrf: string
}

export interface ConfigMovingView {
  user: UserName
  port: number
  newBase: string
}

export interface ConfigHistoryView {
  user: UserName
  /** The newest first. */
  versions: readonly Version[]
  /** The number of the one in force, where the history has it. */
  inForce: number | undefined
}

export interface ConfigVersionView {
  user: UserName
  /** Not `version`, which in every template is the program's. */
  shown: Version
  isInForce: boolean
  /** The one before it that is another. */
  before: Version | undefined
  /** From that one to this. */
  diff: string
}

export interface VisitView {
  /** The administrator. */
  user: UserName
  owner: UserName
  /** How long a visit lasts. */
  minutes: number
  /** Where the visit is: on an origin of its own, on one for all visits, or on that of the hub itself. */
  place: 'server' | 'visits' | 'shared'
  next: string
  xsrf: string
}

export interface LogoutView {
  user: UserName
  xsrf: string
}

export interface ProblemView extends ProblemText {
  /** The status of the answer: 404, 503, … */
  status: number
  /** What the journal's lines about this problem carry. */
  logId?: string | undefined
  /** Who looks at the page, where somebody has logged in. */
  user?: UserName | undefined
}
