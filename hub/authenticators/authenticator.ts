/**
 * What a way in is to the hub: something that says who somebody is. Whether that person may enter is not its business, but the
 * configuration's (`mayEnter`); a way that lets in whom the file does not name (`Auth.isOpen`) decides itself which of them,
 * and refuses the others.
 *
 * There are two kinds. Most are asked with a name and a password, which were typed into the one form of the login page. The
 * others lead the browser to another site and back (hub/login/external-routes.ts).
 *
 * What always holds: a way answers with a name that is spelled as it is stored; it takes as long for a name that nobody has as
 * for a wrong password; and it never tells one from the other.
 */
import type { AuthenticatorKind } from '../../config/schema/auth.ts'
import type { UserName } from '../../config/users/names.ts'

export interface Typed {
  /** As it was typed. */
  username: string
  password: string
}

export interface PasswordAuthenticator {
  kind: AuthenticatorKind
  /**
   * Who that is; undefined where name and password are not right, whatever the reason. `user` is the name as it is stored, or
   * undefined where what was typed cannot be one. Throws a `ProblemError` where it cannot be asked (`AUTH_UNREACHABLE`), or where
   * everything is right and something else is in the way that the person can mend.
   */
  authenticate(typed: Typed, user: UserName | undefined): Promise<UserName | undefined>
}

export interface ExternalAuthenticator extends ExternalFlow {
  kind: AuthenticatorKind
  /** On the button, as in 'Log in with GitHub'. */
  readonly label: string
  /** The hub's own address for coming back, where the configuration names it. */
  readonly callback: string | undefined
}

/** There and back. */
export interface ExternalFlow {
  /**
   * The address at the provider to send the browser to, and what is kept in the browser meanwhile (state, nonce and code
   * verifier; the caller seals it). `callback` is the hub's own address, as the browser sees it. `isFresh` asks the provider to ask for the
   * password even where it still knows the person. Throws `AUTH_UNREACHABLE` and `AUTH_PROVIDER`.
   */
  begin(callback: URL, options: { isFresh: boolean }): Promise<{ address: URL; state: string; kept: string }>
  /** Who came back to `returned`, with what was kept. Throws a `ProblemError` (`AUTH_…`) that says why nobody did. */
  complete(returned: URL, kept: string): Promise<ExternalIdentity>
}

export interface ExternalIdentity {
  /** The issuer's address, and who the person is there for ever: one account, whatever it is renamed to. */
  provider: string
  subject: string
  /** What the provider calls the person now, in lower case. Whether that can be a name here is still to be seen. */
  name: string
  /** Where the provider said so, for messages. */
  claim: string
  /** Whether this way's own options let in whom the file does not name. */
  isWelcome: boolean
}
