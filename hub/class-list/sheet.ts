/**
 * The sheet that an instructor prints and cuts: a slip for each person, with what is needed to come in for the first time. One page of HTML
 * that needs nothing else, and the same as text. Pure.
 */
import { dayOf } from '../../cli/day.ts'
import { welcomeLink } from '../../config/meaning/hub-address.ts'
import type { Credential } from '../credentials/credential.ts'

export interface Slip {
  /** What the person is called, as the list has it; empty where it is not known. */
  name: string
  credential: Credential
}

export interface Sheet {
  /** Of the hub; ends with a slash. */
  address: string
  title: string
}

/** For people who add somebody at the command line. */
export function credentialText(credential: Credential, address: string): string {
  const { user } = credential
  switch (credential.kind) {
    case 'code':
      return `${user}  one-time code: ${credential.code}  until ${dayOf(credential.expires)}\n  ${welcomeLink(address, user, credential.code)}`
    case 'password':
      return `${user}  password: ${credential.password}`
    default:
      return `${user}  ${whyNone[credential.why]}`
  }
}

const whyNone = {
  password: 'has a password; a new code: sudo tljh-ts user invite NAME',
  code: 'has a one-time code that nobody has used yet; a new one: sudo tljh-ts user invite NAME',
  elsewhere: 'logs in as auth.type says, without a code',
  banned: 'is shut out; let in again: sudo tljh-ts user enable NAME',
}

/** Columns for the terminal. */
export function sheetText(slips: readonly Slip[], { address }: Sheet): string {
  const rows = slips.flatMap(({ name, credential }) => {
    const secret = secretOf(credential)
    return secret ? [[name, credential.user, secret.value]] : []
  })
  if (rows.length === 0) return ''
  const widths = [0, 1].map(column => rows.reduce((widest, row) => Math.max(widest, row[column]?.length ?? 0), 0))
  const lines = rows.map(row =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  return `${lines.join('\n')}\n\nEach goes to ${address}hub/login, and types the code in the place of the password.`
}

export function sheetPage(slips: readonly Slip[], { address, title }: Sheet): string {
  const shown = slips.flatMap(slip => slipHtml(slip, address))
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>${escaped(title)}: first login</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${escaped(title)}: first login</h1>
<p>Print this page, cut it, and give each person their slip. Whoever has a slip can come in as that person: keep the rest, and delete the file.</p>
</header>
<main>
${shown.join('\n')}
</main>
</body>
</html>
`
}

function slipHtml({ name, credential }: Slip, address: string): string[] {
  const secret = secretOf(credential)
  if (!secret) return []
  const until =
    credential.kind === 'code'
      ? `<p>Until ${dayOf(credential.expires)}, once. You choose your own password then.</p>`
      : ''
  return [
    `<section>
<h2>${escaped(name || credential.user)}</h2>
<dl>
<dt>Address</dt><dd>${escaped(address)}</dd>
<dt>User name</dt><dd><code>${escaped(credential.user)}</code></dd>
<dt>${secret.label}</dt><dd><code>${escaped(secret.value)}</code></dd>
</dl>
${until}
</section>`,
  ]
}

function secretOf(credential: Credential): { label: string; value: string } | undefined {
  if (credential.kind === 'code') return { label: 'One-time code', value: credential.code }
  if (credential.kind === 'password') return { label: 'Password', value: credential.password }
  return undefined
}

/** Two columns of slips, none of which is cut by the end of a page. */
const style = `
body { font: 12pt/1.4 system-ui, sans-serif; margin: 1cm; color: #000; background: #fff }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(8cm, 1fr)); gap: 0 }
section { border: 1px dashed #666; padding: .4cm; break-inside: avoid }
h2 { font-size: 1.1em; margin: 0 0 .2cm }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .4cm; margin: 0 }
dt { color: #444 }
dd { margin: 0; overflow-wrap: anywhere }
code { font: 600 1.05em ui-monospace, monospace }
p { margin: .2cm 0 0; font-size: .85em }
@media print { header { display: none } body { margin: 0 } main { grid-template-columns: 1fr 1fr } }
`

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, letter => `&#${letter.charCodeAt(0)};`)
}
