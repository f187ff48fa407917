/**
 * The hub's pages: one function each, from what the page shows (its view) to a whole HTML document.
 *
 * A page is a pure function of its view, and of the clock where it says how long something has lasted. What always
 * holds:
 *
 * - Every value is escaped by the template engine. Only whole rendered templates are ever inserted raw. Values
 *   that a browser would follow are made here from `baseUrl` and a checked `UserName`; what came with a request
 *   (`next`) stands in hidden fields alone, so it is text, never an address.
 * - Pages work without script: each form is a POST with `_xsrf`, and what changes by itself is asked for again by the
 *   browser. Scripts add comfort, and are told what they need by data-* attributes.
 * - The strictest Content-Security-Policy fits: nothing inline, nothing from elsewhere.
 *
 * Templates are read and compiled when the pages are created, and find each other by name, not by path.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import { Eta } from 'eta/core'
import { renderSVG } from 'uqr'
import type { UserName } from '../../config/users/names.ts'
import type { Server } from '../../spawner/client/protocol.ts'
import { type Assets, loadAssets } from './assets.ts'
import { offers } from './config-completion.ts'
import type {
  AccountView,
  ArchiveView,
  ChoosePasswordView,
  ConfigHistoryView,
  ConfigMovingView,
  ConfigPasswordView,
  ConfigReviewView,
  ConfigVersionView,
  ConfigView,
  ConfirmView,
  CredentialsView,
  HomeView,
  ImportListView,
  LoginView,
  LogoutView,
  NewSecondFactorView,
  NotRunningView,
  PeopleView,
  ProblemView,
  RecoveryCodesView,
  SecondFactorView,
  SignedUpView,
  SignUpView,
  SpawnPendingView,
  VisitView,
} from './views.ts'

export interface PagesOptions {
  /** Where the hub lives, starting and ending with a slash: `/` or `/class/`. */
  baseUrl: string
  /** Of this program. Shown to people who have logged in, to nobody else. */
  version: string
  /** Of the class, as the configuration has them at the moment; empty where it has none. */
  branding?: () => { title: string; message: string }
  /** Whom the header leads to the configuration. */
  isAdmin?: (user: UserName) => boolean
  /** What the hub serves under `hub/static/`; read from disk where none are given. */
  assets?: Assets
  /** Milliseconds since 1970. */
  now?: () => number
}

/** Each function returns a whole HTML document. */
export interface Pages {
  /** The form, answered by POST `hub/login` with `username`, `password`, `next` and `_xsrf`. */
  login(view: LoginView): string
  /** A password in exchange for a one-time code; answered by POST `hub/welcome`. */
  choosePassword(view: ChoosePasswordView): string
  /** Answered by POST `hub/signup`. */
  signUp(view: SignUpView): string
  signedUp(view: SignedUpView): string
  /** Asks for the code of the second factor; answered by POST `hub/second-factor`. */
  secondFactor(view: SecondFactorView): string
  /** Sets a second factor up; answered by POST `hub/second-factor` or `hub/account/second-factor`. */
  newSecondFactor(view: NewSecondFactorView): string
  /** Shown once. */
  recoveryCodes(view: RecoveryCodesView): string
  /** One's own account. */
  account(view: AccountView): string
  /** Who there is; answered by POST `hub/admin/users` with an `action`. */
  people(view: PeopleView): string
  /** Codes and passwords, to be printed. */
  credentials(view: CredentialsView): string
  /** Asks whether to archive and delete somebody. */
  archive(view: ArchiveView): string
  /** A class list, and what will happen to each line; answered by POST `hub/admin/import`. */
  importList(view: ImportListView): string
  /** Asks for the password again; answered by POST `hub/confirm`. */
  confirm(view: ConfirmView): string
  /** The state of one's own server, and what can be done with it. */
  home(view: HomeView): string
  /** How a server starts, live, and why it did not. */
  spawnPending(view: SpawnPendingView): string
  /** For an address of a server that does not run. */
  notRunning(view: NotRunningView): string
  /** The note before a visit to another's server; answered by POST `hub/visit/NAME`. */
  visit(view: VisitView): string
  /** Asks whether to log out; answered by POST `hub/logout`. */
  logout(view: LogoutView): string
  /** The editor of the configuration; answered by POST `hub/admin/config` with a `step`. */
  config(view: ConfigView): string
  /** Asks for the password again, and keeps what was typed. */
  configPassword(view: ConfigPasswordView): string
  /** What a draft changes, and whether to apply it. */
  configReview(view: ConfigReviewView): string
  /** Said before the hub goes to another address. */
  configMoving(view: ConfigMovingView): string
  configHistory(view: ConfigHistoryView): string
  configVersion(view: ConfigVersionView): string
  /** For every status from 400 up. */
  problem(view: ProblemView): string
}

/** Compiles the templates. Throws where a template or an asset is missing or broken. */
export function createPages({
  baseUrl,
  version,
  branding = () => ({ title: '', message: '' }),
  isAdmin = () => false,
  assets = loadAssets(),
  now = Date.now,
}: PagesOptions): Pages {
  const engine = loadTemplates(join(import.meta.dirname, 'templates'))

  /** What every template may use beside its view. */
  const surroundings = {
    base: baseUrl,
    version,
    asset: (name: string) => assetAddress(baseUrl, assets, name),
    lasted: (since: number) => duration(now() - since),
    isoTime: (time: number) => new Date(time).toISOString(),
    moment: (time: number) => `${new Date(time).toISOString().slice(0, 16).replace('T', ' ')} UTC`,
    offers: JSON.stringify(offers),
    stepWords,
    elapsedMs: (since: number) => Math.max(0, now() - since),
  }
  const page = (template: string, view: object, user?: UserName) => {
    const { title, message } = branding()
    const isOfAdmin = user !== undefined && isAdmin(user)
    const brand = title || 'tljh-ts'
    return engine.render(template, { isAdmin: isOfAdmin, ...view, user, ...surroundings, brand, welcome: message })
  }

  return {
    login: view => page('login', view),
    choosePassword: ({ user: typed, ...view }) => page('choose-password', { ...view, typed }),
    signUp: view => page('sign-up', view),
    signedUp: view => page('signed-up', view),
    secondFactor: view => page('second-factor', view),
    newSecondFactor: view =>
      page('new-second-factor', { ...view, picture: renderSVG(view.proposal.address, { border: 2 }) }, view.user),
    recoveryCodes: view => page('recovery-codes', view, view.user),
    account: view => page('account', view, view.user),
    people: view => page('people', view, view.user),
    credentials: view => page('credentials', view, view.user),
    archive: view => page('archive', view, view.user),
    importList: view => page('import-list', view, view.user),
    confirm: view => page('confirm', view, view.user),
    home: view => page('home', view, view.user),
    spawnPending: view => page('spawn-pending', view, view.user),
    notRunning: view => page('not-running', view, view.user),
    config: view => page('config', view, view.user),
    configPassword: view => page('config-password', view, view.user),
    configReview: view => page('config-review', view, view.user),
    configMoving: view => page('config-moving', view, view.user),
    configHistory: view => page('config-history', view, view.user),
    configVersion: view => page('config-version', view, view.user),
    visit: view => page('visit', view, view.user),
    logout: view => page('logout', view, view.user),
    problem: view => page('problem', view, view.user),
  }
}

/** What a server that starts is doing; in a queue, with its place. */
export function stepWords({ step, ahead }: Server & { kind: 'starting' }): string {
  if (ahead === undefined) return step
  const place = ahead === 0 ? 'yours is next' : ahead === 1 ? 'one other starts first' : `${ahead} others start first`
  return `${step}: ${place}`
}

function loadTemplates(folder: string): Eta {
  const engine = new Eta()
  for (const name of readdirSync(folder)) {
    if (extname(name) === '.eta') engine.loadTemplate(basename(name, '.eta'), readFileSync(join(folder, name), 'utf8'))
  }
  return engine
}

function assetAddress(baseUrl: string, assets: Assets, name: string): string {
  const found = assets.get(name)
  if (found === undefined) throw new TypeError(`there is no asset ${name}`)
  return `${baseUrl}hub/static/${name}?v=${found.etag}`
}

const units = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const

/** `2 hours`, `1 minute`, or `less than a minute`: as exact as a person wants it. */
function duration(milliseconds: number): string {
  for (const [unit, length] of units) {
    const count = Math.floor(milliseconds / length)
    if (count >= 1) return `${count} ${unit}${count === 1 ? '' : 's'}`
  }
  return 'less than a minute'
}
