/**
 * Options of the ways in that ask a directory of accounts: the machine's own (PAM), and LDAP. Those of LDAP have the names and the
 * meaning of ldapauthenticator 2.
 *
 * What always holds for a file without errors: the name that somebody types has a place in each template by which an entry is found, so no
 * template finds the same entry for everybody; and nothing that would make the connection safer is read past.
 */
import type { FromSchema } from 'json-schema-to-ts'

const text = (description: string, examples: readonly string[] = []) =>
  ({ type: ['string', 'null'], description, examples, effect: 'now' }) as const

export const directorySections = {
  PAMAuthenticator: {
    type: ['object', 'null'],
    additionalProperties: false,
    description:
      'Accounts of the machine itself, with the passwords that they have there. Whoever has one works in it and in its home, ' +
      'not in an account of the hub’s, and no other way in leads to that name.',
    properties: {
      allow_all: {
        type: 'boolean',
        default: false,
        description:
          'Whether every account of the machine that can log in may enter, not only those whom users.allowed names.',
        effect: 'now',
      },
      service: { type: 'string', replaced: 'the service of PAM is /etc/pam.d/tljh-ts' },
      open_sessions: {
        type: 'boolean',
        replaced: 'servers are units of systemd, with sessions and limits of their own',
      },
      encoding: { type: 'string', replaced: 'it is UTF-8' },
      check_account: { type: 'boolean', replaced: 'accounts that are locked or have run out are always refused' },
      executor_threads: { type: 'integer', replaced: 'each password is checked by a process of its own' },
      pam_normalize_username: { type: 'boolean', replaced: 'names are lower-case' },
    },
  },
  LDAPAuthenticator: {
    type: ['object', 'null'],
    additionalProperties: false,
    description: 'Accounts of an LDAP server, such as OpenLDAP or Active Directory.',
    properties: {
      allow_all: {
        type: 'boolean',
        default: false,
        description: 'Whether everybody with an account there may enter, not only those whom users.allowed names.',
        effect: 'now',
      },
      server_address: text('The server: its name, as in its certificate, or its address.', ['ldap.example.org']),
      server_port: {
        type: ['integer', 'null'],
        minimum: 1,
        maximum: 65535,
        description: 'Its port. Empty: 636 where tls_strategy is on_connect, else 389.',
        effect: 'now',
      },
      tls_strategy: {
        enum: ['before_bind', 'on_connect', 'insecure'],
        default: 'before_bind',
        description:
          'How passwords are kept from being read on the way: by StartTLS (before_bind), by a connection that is encrypted from ' +
          'the start (on_connect, LDAPS), or not at all (insecure).',
        effect: 'now',
      },
      use_ssl: {
        type: ['boolean', 'null'],
        description: 'An error: it is called tls_strategy now.',
        effect: 'now',
      },
      tls_kwargs: {
        type: ['object', 'null'],
        additionalProperties: false,
        description: 'More about the encryption.',
        properties: {
          ca_certs_file: {
            type: ['string', 'null'],
            format: 'path',
            description:
              'The certificate, as PEM, of whoever signed the server’s. The group tljh-hub must be able to read it. Empty: those ' +
              'that browsers trust.',
            effect: 'now',
          },
          ca_certs_path: { type: 'string', replaced: 'see ca_certs_file' },
          ca_certs_data: { type: 'string', replaced: 'see ca_certs_file' },
          validate: { type: ['string', 'integer'], replaced: 'the server’s certificate is always checked' },
          version: { type: ['string', 'integer'], replaced: 'it is TLS 1.2 or newer' },
          ciphers: { type: 'string', replaced: 'they are those of Node.js' },
          valid_names: { type: 'array', replaced: 'the certificate must be for server_address' },
          sni: { type: 'string', replaced: 'it is server_address' },
          local_certificate_file: { type: 'string', replaced: 'the hub shows no certificate of its own' },
          local_private_key_file: { type: 'string', replaced: 'see local_certificate_file' },
          local_private_key_password: { type: 'string', replaced: 'see local_certificate_file' },
        },
      },
      bind_dn_template: {
        type: ['string', 'array', 'null'],
        items: { type: 'string' },
        maxItems: 10,
        description:
          'The name under which somebody logs in there, with {username} for what was typed (or looked up). Of several, the first ' +
          'that the password is right for.',
        examples: ['uid={username},ou=people,dc=example,dc=org'],
        effect: 'now',
      },
      lookup_dn: {
        type: 'boolean',
        default: false,
        description: 'Whether the person’s entry is looked up first, by user_search_base and user_attribute.',
        effect: 'now',
      },
      lookup_dn_search_filter: {
        type: ['string', 'null'],
        default: '({login_attr}={login})',
        description: 'How it is looked up: {login_attr} is user_attribute, {login} is what was typed.',
        effect: 'now',
      },
      lookup_dn_search_user: text('Who looks it up. Empty: nobody in particular, where the server allows that.', [
        'cn=hub,ou=services,dc=example,dc=org',
      ]),
      lookup_dn_search_password: {
        type: ['string', 'null'],
        secret: true,
        description: 'The password of lookup_dn_search_user.',
        effect: 'now',
      },
      lookup_dn_user_dn_attribute: text(
        'The attribute of the entry whose value is {username} in bind_dn_template and search_filter. An entry with several values is refused.',
        ['cn', 'sAMAccountName'],
      ),
      use_lookup_dn_username: {
        type: 'boolean',
        default: false,
        description: 'Whether that value, in lower case, is the person’s name here, too, instead of what was typed.',
        effect: 'now',
      },
      user_search_base: text('Below which entry people are looked up.', ['ou=people,dc=example,dc=org']),
      user_attribute: text('The attribute that has what people type as their name.', ['uid', 'sAMAccountName']),
      allowed_groups: {
        type: ['array', 'null'],
        items: { type: 'string', minLength: 1 },
        maxItems: 50,
        description:
          'Groups, by their whole names: whoever is in one of them may enter, beside those whom users.allowed names. Empty: ' +
          'nobody enters by a group.',
        examples: ['[cn=course,ou=groups,dc=example,dc=org]'],
        effect: 'now',
      },
      group_search_filter: {
        type: 'string',
        default: '(|(member={userdn})(uniqueMember={userdn})(memberUid={uid}))',
        description:
          'What a group must match for somebody to be in it: {userdn} is the name of the entry, {uid} is {username}.',
        effect: 'now',
      },
      group_attributes: { type: 'array', replaced: 'whether the group matches group_search_filter is all that counts' },
      search_filter: text(
        'Who does not match it may not enter, whatever else is said: {userattr} is user_attribute, {username} as above. Exactly one ' +
          'entry must match.',
        ['(&({userattr}={username})(employeeType=student))'],
      ),
      attributes: { type: 'array', replaced: 'whether one entry matches search_filter is all that counts' },
      valid_username_regex: {
        type: 'string',
        default: '^[a-z][.a-z0-9_-]*$',
        description:
          'What a name must look like. It is escaped in all that is asked of the server, whatever it looks like.',
        effect: 'now',
      },
      escape_userdn: { type: 'boolean', replaced: 'names are always escaped' },
      auth_state_attributes: { type: 'array', replaced: 'nothing of an entry is kept' },
      admin_users: { type: 'array', replaced: 'administrators are named in users.admin' },
      admin_groups: { type: 'array', replaced: 'administrators are named in users.admin' },
    },
  },
} as const

export type LdapOptions = NonNullable<
  FromSchema<typeof directorySections.LDAPAuthenticator, { keepDefaultedPropertiesOptional: true }>
>

/** What of the section cannot be so, though each value by itself can: the option, why, and what to do. */
export function* ldapDefects(options: LdapOptions): Iterable<{ option: keyof LdapOptions; why: string; fix: string }> {
  const { lookup_dn: looksUp = false, search_filter: filter } = options
  const templates = bindTemplates(options)
  const set = (option: keyof LdapOptions) => `Set it: tljh-ts config set auth.LDAPAuthenticator.${option} VALUE`
  const needed = (option: keyof LdapOptions, why: string) =>
    options[option] ? [] : [{ option, why, fix: set(option) }]

  yield* needed('server_address', 'without it, there is nobody to ask')
  if (options.use_ssl !== undefined && options.use_ssl !== null) {
    const fix =
      'Remove it, and write tls_strategy: on_connect for a connection that is encrypted from the start (port 636)'
    yield { option: 'use_ssl', why: 'ldapauthenticator 2 replaced it, and it must not be read past', fix }
  }
  if (!looksUp && !templates.length) {
    const fix = `${set('bind_dn_template')}; or look entries up: lookup_dn: true`
    yield { option: 'bind_dn_template', why: 'without it, or lookup_dn, nobody can be found', fix }
  }
  yield* lacking('bind_dn_template', templates, ['{username}'])
  if (looksUp) {
    yield* needed('user_search_base', 'lookup_dn needs it')
    yield* needed('user_attribute', 'lookup_dn needs it')
    yield* lacking('lookup_dn_search_filter', [options.lookup_dn_search_filter ?? '{login}'], ['{login}'])
    if (templates.length)
      yield* needed('lookup_dn_user_dn_attribute', 'bind_dn_template needs it where lookup_dn is true')
    if (options.use_lookup_dn_username) yield* needed('lookup_dn_user_dn_attribute', 'use_lookup_dn_username needs it')
    // A name without a password is taken for nobody in particular (RFC 4513, 5.1.2), and that succeeds.
    if (options.lookup_dn_search_user) yield* needed('lookup_dn_search_password', 'lookup_dn_search_user is set')
    if (options.lookup_dn_search_password) yield* needed('lookup_dn_search_user', 'lookup_dn_search_password is set')
  }
  if (filter) {
    yield* needed('user_search_base', 'search_filter needs it')
    yield* lacking('search_filter', [filter], ['{username}'])
  }
  yield* lacking('group_search_filter', [options.group_search_filter ?? '{uid}'], ['{userdn}', '{uid}'])
  if (options.valid_username_regex !== undefined && !usernamePattern(options)) {
    yield {
      option: 'valid_username_regex',
      why: 'it is not a regular expression',
      fix: 'Write it like ^[a-z][.a-z0-9_-]*$',
    }
  }
}

export function bindTemplates({ bind_dn_template: templates }: LdapOptions): string[] {
  return (typeof templates === 'string' ? [templates] : (templates ?? [])).filter(Boolean)
}

/** What names must match, from their beginning on, as in Python; undefined where it is none. */
export function usernamePattern({ valid_username_regex: source }: LdapOptions): RegExp | undefined {
  try {
    return new RegExp(`^(?:${source ?? directorySections.LDAPAuthenticator.properties.valid_username_regex.default})`)
  } catch {
    return undefined
  }
}

/** A template without the person in it would find the same entry, or the same group, for everybody. */
function* lacking(
  option: keyof LdapOptions,
  templates: readonly string[],
  places: readonly string[],
): Iterable<{ option: keyof LdapOptions; why: string; fix: string }> {
  if (templates.every(template => places.some(place => template.includes(place)))) return
  const place = places.join(' or ')
  yield {
    option,
    why: `it does not have ${place}, so it would be the same for everybody`,
    fix: `Write ${place} where the name belongs`,
  }
}
