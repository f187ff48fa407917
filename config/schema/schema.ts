/**
 * The one description of `config.yaml`: from it come the checks, the TypeScript types, the defaults, the reference page
 * of the docs and the completion of the command line.
 *
 * It is JSON Schema (2020-12's common subset with draft-07), with these words of our own:
 *
 *   format       what a text or an amount must be beyond its type (config/schema/formats.ts)
 *   secret       never shown unless somebody asks for it
 *   effect       when a change counts: `now`, `next start` (of each server), `address` (the hub's listener moves)
 *   pending      a key of TLJH's, or of ours, that this version reads and does nothing with yet
 *   replaced     a key of TLJH's that has no meaning here, and what there is instead
 *
 * Every section may be empty (`limits:` and nothing below), because people write files that way. TLJH's keys have
 * TLJH's names and meaning.
 */
import type { FromSchema } from 'json-schema-to-ts'
import { authSchema } from './auth.ts'

const userNames = {
  type: ['array', 'null'],
  items: { type: 'string', format: 'user-name' },
} as const

const limits = {
  memory: {
    type: ['string', 'number', 'null'],
    format: 'bytes',
    description:
      'Memory of each user’s server. What goes beyond it loses its kernel. Empty: as much as the machine has.',
    examples: ['1G', '512M', '1.5G'],
    default: null,
    effect: 'now',
  },
  cpu: {
    type: ['string', 'number', 'null'],
    format: 'cpus',
    description: 'Processor time of each user’s server: 1 is one core. Empty: as much as there is.',
    examples: [2, 0.5, '50%'],
    default: null,
    effect: 'now',
  },
  tasks: {
    type: ['integer', 'null'],
    minimum: 64,
    maximum: 1_000_000,
    default: 1000,
    description: 'Processes and threads of each user’s server together. Empty: 1000.',
    effect: 'now',
  },
  swap: {
    type: ['string', 'number', 'null'],
    format: 'bytes',
    description: 'Swap that each user’s server may use beside its memory. Empty: none, where memory is limited.',
    default: null,
    effect: 'now',
  },
  disk: {
    type: ['string', 'number', 'null'],
    format: 'bytes',
    description: 'Space for each user’s home.',
    pending: true,
  },
} as const

const limitsSection = { type: ['object', 'null'], additionalProperties: false, properties: limits } as const

const certificateFile = { type: ['string', 'null'], format: 'path', effect: 'now' } as const

export const schema = {
  type: ['object', 'null'],
  additionalProperties: false,
  properties: {
    base_url: {
      type: 'string',
      format: 'base-url',
      default: '/',
      description:
        'Where the hub lives below its address. Running servers are stopped when it changes: theirs changes with it.',
      examples: ['/', '/class/'],
      effect: 'address',
    },
    users: {
      type: ['object', 'null'],
      additionalProperties: false,
      description:
        'Who may enter. The lists count in both directions and at once: who is taken off has no session any more.',
      properties: {
        allowed: { ...userNames, description: 'May log in and have a server.', effect: 'now' },
        banned: {
          ...userNames,
          description: 'May not, whatever else the file says. Their servers are stopped.',
          effect: 'now',
        },
        admin: {
          ...userNames,
          description:
            'Administrators of the hub, and by sudo of the machine. The server of whoever is taken off the list is stopped: its programs ' +
            'would keep their rights.',
          effect: 'now',
        },
        extra_user_groups: {
          type: ['object', 'null'],
          propertyNames: { format: 'unix-group' },
          additionalProperties: { ...userNames, description: 'Who is in that group.', effect: 'now' },
          description:
            'Groups of the machine, and which users are in them. A group that is not there is made. Who is taken off the ' +
            'list is taken out of the group, and their server is stopped.',
          effect: 'now',
        },
      },
    },
    admins: {
      type: ['object', 'null'],
      additionalProperties: false,
      properties: {
        open_servers: {
          type: 'boolean',
          default: false,
          description:
            'Whether administrators may open the servers of others. A page of such a server can do whatever the ' +
            'administrator who looks at it can, so only where everybody is trusted.',
          effect: 'now',
        },
        visit_port: {
          type: ['integer', 'null'],
          minimum: 1,
          maximum: 65_535,
          default: null,
          description:
            'A second port, on which administrators may open the servers of others: pages of such a server then cannot act on the ' +
            'hub. Empty: none. With https.user_domains it is not needed.',
          examples: [8081],
          effect: 'address',
        },
        second_factor: {
          enum: ['optional', 'required'],
          default: 'optional',
          description:
            'Whether administrators need a code from a device beside the password (TOTP). Required: whoever has none sets one up ' +
            'at the next login.',
          effect: 'now',
        },
      },
    },
    groups: {
      type: ['object', 'null'],
      propertyNames: { format: 'group-name' },
      description: 'Groups of users, to give limits to.',
      additionalProperties: {
        type: ['object', 'null'],
        additionalProperties: false,
        properties: { members: { ...userNames, description: 'Who is in the group.', effect: 'now' } },
      },
    },
    auth: authSchema,
    limits: {
      type: ['object', 'null'],
      additionalProperties: false,
      description:
        'What each user’s server may use. A user’s own limit is stronger than a group’s, and that than the default.',
      properties: {
        ...limits,
        groups: {
          type: ['object', 'null'],
          propertyNames: { format: 'group-name' },
          additionalProperties: limitsSection,
          description: 'For the members of a group. Of several groups, the most generous counts.',
        },
        users: {
          type: ['object', 'null'],
          propertyNames: { format: 'user-name' },
          additionalProperties: limitsSection,
          description: 'For one user.',
        },
      },
    },
    http: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'Where the hub listens.',
      properties: {
        address: {
          type: ['string', 'null'],
          format: 'listen-address',
          default: '',
          description:
            'The address to listen on. Empty: all. With behind-proxy, for a web server of this machine: unix:/run/tljh/front.sock, which no ' +
            'student can reach.',
          examples: ['127.0.0.1', 'unix:/run/tljh/front.sock'],
          effect: 'address',
        },
        port: {
          type: 'integer',
          minimum: 1,
          maximum: 65_535,
          default: 80,
          description: 'The port. Without effect where http.address is a unix socket.',
          effect: 'address',
        },
        socket_group: {
          type: 'string',
          format: 'socket-group',
          default: 'www-data',
          description:
            'With http.address: unix:/run/tljh/front.sock: the group of the web server, which alone may connect (beside root). On Debian and Ubuntu, ' +
            'nginx and Apache are in www-data, Caddy is in caddy.',
          examples: ['caddy'],
          effect: 'address',
        },
        mode: {
          enum: ['direct', 'behind-proxy'],
          default: 'direct',
          description:
            'Whether browsers come directly, or through another web server, whose word on where they come from, and whether by https, is ' +
            'then believed (docs/behind-proxy.md).',
          effect: 'now',
        },
        trusted_proxies: {
          type: ['array', 'null'],
          items: { type: 'string', format: 'network' },
          maxItems: 100,
          description:
            'With behind-proxy: where that web server asks from, as addresses and networks. Nobody else is believed. Empty: this ' +
            'machine (127.0.0.1 and ::1); with a unix socket, only who can open that.',
          examples: [['192.0.2.7', '10.1.0.0/16']],
          effect: 'now',
        },
        proxy_headers: {
          enum: ['x-forwarded', 'forwarded'],
          default: 'x-forwarded',
          description:
            'With behind-proxy: the headers in which that web server says it, X-Forwarded-For, -Proto and -Host or Forwarded (RFC 7239). ' +
            'Only one kind is believed: the other could be the browser’s own.',
          effect: 'now',
        },
        public_url: {
          type: ['string', 'null'],
          format: 'origin',
          default: null,
          description:
            'Where browsers find the hub, for links that are made on the command line. Empty: worked out, which behind another web ' +
            'server cannot succeed.',
          examples: ['https://hub.example.org'],
          effect: 'now',
        },
      },
    },
    https: {
      type: ['object', 'null'],
      additionalProperties: false,
      description:
        'TLS, with a certificate from files (https.tls) or one that the hub has made for it (https.letsencrypt).',
      properties: {
        enabled: {
          type: 'boolean',
          default: false,
          description:
            'Whether the hub serves https. What comes to http.port is then led to https.port; port 80 is still needed for https.letsencrypt.',
          effect: 'address',
        },
        address: {
          type: ['string', 'null'],
          format: 'ip',
          default: '',
          description: 'As http.address.',
          effect: 'address',
        },
        port: {
          type: 'integer',
          minimum: 1,
          maximum: 65_535,
          default: 443,
          description: 'The port.',
          effect: 'address',
        },
        hsts: {
          type: ['integer', 'null'],
          minimum: 0,
          maximum: 63_072_000,
          default: null,
          description:
            'For how many seconds browsers that were here come back by https alone (Strict-Transport-Security); there is no way back ' +
            'within that time. 0: they are to forget it. Empty: nothing is said of it.',
          examples: [31_536_000],
          effect: 'now',
        },
        user_domains: {
          type: ['string', 'null'],
          format: 'domain',
          default: null,
          description:
            'The hub’s name, such as hub.example.org, where each user’s server is to have a host below it (ann.hub.example.org): then ' +
            'no page of a student’s can act on the hub or on another’s server, and administrators may open all of them. The names ' +
            '(*.hub.example.org) must lead to this machine. Empty: all on one address.',
          examples: ['hub.example.org'],
          effect: 'now',
        },
        tls: {
          type: ['object', 'null'],
          additionalProperties: false,
          description: 'A certificate of your own. Both files are taken up by themselves when they change.',
          properties: {
            key: {
              ...certificateFile,
              description: 'File with the private key (PEM), for the group tljh-hub to read.',
              examples: ['/etc/ssl/private/hub.key'],
            },
            cert: {
              ...certificateFile,
              description: 'File with the certificate and its chain (PEM), likewise.',
              examples: ['/etc/ssl/private/hub.pem'],
            },
          },
        },
        letsencrypt: {
          type: ['object', 'null'],
          additionalProperties: false,
          description:
            'A certificate of Let’s Encrypt, or of another authority that speaks ACME. The domains must lead to this machine, and port ' +
            '80 or 443 must be open to everybody.',
          properties: {
            email: {
              type: ['string', 'null'],
              format: 'email',
              description: 'Whom the authority may write to.',
              effect: 'now',
            },
            domains: {
              type: ['array', 'null'],
              items: { type: 'string', format: 'domain' },
              maxItems: 100,
              description: 'The names to get a certificate for; the first is the main one.',
              examples: [['hub.example.org']],
              effect: 'now',
            },
            staging: {
              type: 'boolean',
              default: false,
              description: 'Use Let’s Encrypt’s test service, whose certificates no browser trusts.',
              effect: 'now',
            },
            directory_url: {
              type: ['string', 'null'],
              format: 'https-url',
              default: null,
              description: 'The directory of another authority. Empty: Let’s Encrypt.',
              effect: 'now',
            },
            ca: {
              type: ['string', 'null'],
              format: 'path',
              default: null,
              description:
                'File with the certificates (PEM) by which an authority of your own is trusted. Empty: those that everybody trusts.',
              effect: 'now',
            },
          },
        },
      },
    },
    user_environment: {
      type: ['object', 'null'],
      additionalProperties: false,
      properties: {
        default_app: {
          enum: ['jupyterlab', 'classic'],
          default: 'jupyterlab',
          description: 'What a server opens first.',
          effect: 'next start',
        },
      },
    },
    server: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'Of every user’s server.',
      properties: {
        environment: {
          type: ['object', 'null'],
          propertyNames: { format: 'environment-name' },
          additionalProperties: { type: ['string', 'number', 'boolean'] },
          description: 'Environment variables for all. Users can read them, so nothing secret.',
          effect: 'next start',
        },
      },
    },
    services: {
      type: ['object', 'null'],
      additionalProperties: false,
      properties: {
        cull: {
          type: ['object', 'null'],
          additionalProperties: false,
          description: 'Stopping servers that nobody uses.',
          properties: {
            enabled: { type: 'boolean', default: true, description: 'Whether to.', pending: true },
            timeout: { type: 'integer', minimum: 1, default: 600, description: 'Seconds without use.', pending: true },
            every: { type: 'integer', minimum: 1, default: 60, description: 'Seconds between looks.', pending: true },
            concurrency: { type: 'integer', minimum: 1, default: 5, description: 'Stops at once.', pending: true },
            users: { type: 'boolean', default: false, description: 'Forget idle users, too.', pending: true },
            max_age: {
              type: 'integer',
              minimum: 0,
              default: 0,
              description: 'Seconds, used or not. 0: no limit.',
              pending: true,
            },
            remove_named_servers: { type: 'boolean', default: false, replaced: 'each user has one server' },
          },
        },
      },
    },
    branding: {
      type: ['object', 'null'],
      additionalProperties: false,
      properties: {
        title: {
          type: ['string', 'null'],
          maxLength: 80,
          description: 'Name of the class, on every page.',
          effect: 'now',
        },
        message: { type: ['string', 'null'], maxLength: 2000, description: 'Shown on the login page.', effect: 'now' },
      },
    },
    state: {
      type: ['object', 'null'],
      additionalProperties: false,
      properties: {
        history: {
          type: 'integer',
          minimum: 2,
          maximum: 10_000,
          default: 200,
          description: 'How many earlier configurations are kept.',
          effect: 'now',
        },
      },
    },
    spawner: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'When servers may start.',
      properties: {
        concurrent_spawn_limit: {
          type: ['integer', 'null'],
          minimum: 1,
          maximum: 1000,
          default: null,
          description:
            'How many start at a time; the others wait for their turn and see their place, administrators before all. A start that ' +
            'takes longer than 30 seconds keeps nobody waiting. Empty: one for each processor, and two at least.',
          effect: 'now',
        },
        active_server_limit: {
          type: 'integer',
          minimum: 0,
          maximum: 100_000,
          default: 0,
          description:
            'How many run at a time; administrators may always start theirs. 0: as many as there is memory for.',
          effect: 'now',
        },
        memory_reserve: {
          type: ['string', 'number'],
          format: 'bytes',
          default: '256M',
          description:
            'Memory of the machine that no start may touch. Where less than that and a server’s first 160 MB are free, starts wait for ' +
            'somebody to stop, and after a minute they are refused.',
          examples: ['1G'],
          effect: 'now',
        },
      },
    },
    metrics: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'Numbers for those who watch the hub from outside, at /hub/metrics (docs/upkeep.md).',
      properties: {
        token: {
          type: ['string', 'null'],
          format: 'token',
          default: null,
          secret: true,
          description:
            'With which a program such as Prometheus may read them (Authorization: Bearer). “openssl rand -hex 32” makes one. Empty: ' +
            'administrators alone see them, in a browser.',
          effect: 'now',
        },
      },
    },
    backup: {
      type: ['object', 'null'],
      additionalProperties: false,
      description: 'What is kept in one file each night (tljh-ts backup, tljh-ts restore).',
      properties: {
        enabled: { type: 'boolean', default: true, description: 'Whether to.', effect: 'now' },
        keep: {
          type: 'integer',
          minimum: 1,
          maximum: 1000,
          default: 14,
          description: 'How many are kept. Those that a newer one builds on stay as well.',
          effect: 'now',
        },
        include_homes: {
          type: 'boolean',
          default: false,
          description:
            'Whether the users’ homes are in it: whole once a week, and otherwise what has changed since the backup before.',
          effect: 'now',
        },
        folder: {
          type: ['string', 'null'],
          format: 'path',
          default: null,
          description:
            'Where they are kept. Another disk is better: what is on this one is lost with it. Empty: /opt/tljh/backups.',
          examples: ['/mnt/backups'],
          effect: 'now',
        },
      },
    },
    traefik_api: {
      type: ['object', 'null'],
      additionalProperties: false,
      replaced: 'there is no traefik: the hub itself is the proxy',
      properties: {
        ip: { type: 'string' },
        port: { type: 'integer' },
        username: { type: 'string' },
        password: { type: 'string', secret: true },
      },
    },
  },
} as const

/** The file's content, as it is written. */
export type ConfigFileContent = FromSchema<typeof schema, { keepDefaultedPropertiesOptional: true }>

/** The words of our own beside JSON Schema's. */
export const ownWords = ['secret', 'effect', 'pending', 'replaced'] as const

/** One place in the schema, as code that walks it sees it. */
export interface SchemaNode {
  type?: string | readonly string[]
  enum?: readonly unknown[]
  format?: string
  default?: unknown
  description?: string
  examples?: readonly unknown[]
  properties?: Readonly<Record<string, SchemaNode>>
  additionalProperties?: boolean | SchemaNode
  items?: SchemaNode
  secret?: boolean
  effect?: 'now' | 'next start' | 'address'
  pending?: boolean
  replaced?: string
}

/** The default of a key; undefined where it has none. What is set for one user or group alone has none: the rest counts there. */
export function defaultAt(path: readonly string[]): unknown {
  return path.reduce<SchemaNode | undefined>((node, step) => {
    return node?.properties && Object.hasOwn(node.properties, step) ? node.properties[step] : undefined
  }, schema)?.default
}

/** What the schema says of a key such as `limits.users.ann.memory`; undefined where there is no such key. */
export function schemaAt(path: readonly string[]): SchemaNode | undefined {
  return path.reduce<SchemaNode | undefined>((node, step) => {
    if (!node) return undefined
    if (node.items) return /^\d+$/.test(step) ? node.items : undefined
    if (node.properties && Object.hasOwn(node.properties, step)) return node.properties[step]
    return typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined
  }, schema)
}
