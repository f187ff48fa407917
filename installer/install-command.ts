/** `tljh-ts install`: reads the command line, installs, and says what is next. */
import { type CommandContext, misused, readCommandLine } from '../cli/arguments.ts'
import { frontSocket } from '../config/schema/networks.ts'
import { parseUserName } from '../config/users/names.ts'
import { leastAdminLength, mustBeUsable } from '../config/users/password-rules.ts'
import { type Installation, install } from './install.ts'
import { codeDays, type InvitedAdmin, type NamedAdmin } from './steps/services.ts'

const usage = `Usage: tljh-ts install --admin NAME[:PASSWORD] [OPTION…]

Puts this version in force on this machine. Run again, it mends what is missing and changes nothing else; cut off, it goes on.

  --admin NAME[:PASSWORD]     an administrator; may be given several times, and takes nobody's place. Without a password they get a
                              code, which nobody else can see on this machine's list of processes
  --config FILE               a configuration to begin with; one of TLJH's will do
  --requirements FILE|URL     Python packages that the class needs beside JupyterLab, as pip reads them
  --behind-proxy              another web server of this machine has port 80: the hub listens at /run/tljh/front.sock
  --no-progress-page          nothing is shown to browsers while it runs
  --no-self-test              no server is started at the end to see whether one starts
  --prefix FOLDER             where the code lies, if that is not /opt/tljh

install.sh adds:
  --installed-packages NAMES  what it had to install, with commas between them
`

const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const
const options = {
  admin: { ...text, multiple: true },
  config: text,
  requirements: text,
  'behind-proxy': flag,
  'no-progress-page': flag,
  'no-self-test': flag,
  prefix: text,
  'installed-packages': { ...text, multiple: true },
} as const

/** Answers 0 where the hub runs, whatever else was left out, and 1 where it was not seen to work. */
export async function runInstall(args: readonly string[], surroundings: CommandContext): Promise<number> {
  const { stdout, stderr } = surroundings.streams
  const given = readCommandLine(args, { usage, options, count: [0, 0] })
  if (!given) {
    stdout.write(usage)
    return 0
  }
  const { values } = given
  const made = await install(
    {
      admins: (values.admin ?? []).map(readAdmin),
      configFile: values.config,
      requirements: values.requirements,
      isBehindProxy: values['behind-proxy'],
      hasProgressPage: !values['no-progress-page'],
      hasSelfTest: !values['no-self-test'],
      prefix: values.prefix?.replace(/(?<=.)\/+$/, ''),
      installedPackages: (values['installed-packages'] ?? []).flatMap(names => names.split(/[\s,]+/)).filter(Boolean),
    },
    surroundings,
  )
  stdout.write(summary(made))
  for (const { what, why, fix } of made.complaints) stderr.write(`\n!! ${what}\n  why: ${why}\n  what to do: ${fix}\n`)
  return made.complaints.some(({ code }) => code === 'INSTALL_SELF_TEST') ? 1 : 0
}

/** A password may have colons. */
function readAdmin(value: string): NamedAdmin {
  const colon = value.indexOf(':')
  const name = parseUserName(colon < 0 ? value : value.slice(0, colon))
  const password = colon < 0 ? '' : value.slice(colon + 1)
  if (password.includes('\n')) throw misused(`the password of ${name} has several lines`, 'Choose one of a single line')
  if (password) mustBeUsable(password, { leastLength: leastAdminLength, names: [name] })
  return { name, password }
}

function summary({ address, admins, config }: Installation): string {
  const isLocal = config.http.socket !== undefined || /^(?:127\.|::1$)/.test(config.http.address)
  const next = [
    isLocal
      ? `Have your web server hand requests on to ${config.http.socket ? frontSocket : address}: whole configurations for nginx, Caddy and Apache are in docs/behind-proxy.md.`
      : `Open ${address} in a browser and log in${admins.some(({ invitation }) => invitation) ? ' by the link above' : ''}.`,
    'Let your students in: sudo tljh-ts user add NAME…, or a whole class list: sudo tljh-ts user import ROSTER.csv',
    'Set what each of them may use: sudo tljh-ts config set limits.memory 1G',
  ]
  const steps = next.map((step, index) => `  ${index + 1}. ${step}\n`)
  return `The hub runs.\naddress: ${address}\n${admins.map(linesOf).join('')}\nWhat to do next:\n${steps.join('')}`
}

function linesOf({ name, invitation }: InvitedAdmin): string {
  const way = invitation
    ? `one-time code: ${invitation.code}\nlink: ${invitation.link}\nChoose the password of ${name} there within ${codeDays} days. A new code: sudo tljh-ts user invite ${name}`
    : 'password: (as it was before)'
  return `administrator: ${name}\n${way}\n`
}
