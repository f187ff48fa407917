/**
 * The editor of the configuration: takes the place of the text field, says what is wrong while somebody types, what applying it
 * would do, and offers the keys that there are.
 *
 * What always holds: the text field has the text at every moment, so the form works as without this script; and what is wrong
 * is known to the hub alone, which is asked after each pause. Words of its answer reach the page as text only.
 *
 * The editor lives in a shadow root: there it can have its style sheet as an object, where the Content-Security-Policy
 * forbids style elements.
 */
import {
  autocompletion,
  type Completion,
  type CompletionContext,
  type CompletionResult,
  completionKeymap,
} from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands'
import { yaml } from '@codemirror/lang-yaml'
import { HighlightStyle, indentUnit, syntaxHighlighting } from '@codemirror/language'
import { type Diagnostic, linter, nextDiagnostic } from '@codemirror/lint'
import type { Text } from '@codemirror/state'
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from '@codemirror/view'
import { tags } from '@lezer/highlight'

interface Finding {
  severity: 'error' | 'warning' | 'note'
  /** Counted from 1. */
  line: number
  column: number
  what: string
  why: string
  fix: string
}

interface Verdict {
  findings: Finding[]
  plan: string[]
  diff: string
  isStale: boolean
}

/** As hub/pages/config-completion.ts makes it. */
interface Offer {
  text?: string
  keys?: Record<string, Offer>
  each?: Offer
  values?: string[]
}

const pauseMs = 250

const form = element('config-form', HTMLFormElement)
const field = element('config-text', HTMLTextAreaElement)
const place = element('config-editor', HTMLElement)
const status = element('config-status', HTMLElement)
const findingsSection = element('config-findings', HTMLElement)
const planSection = element('config-plan', HTMLElement)
const offers = JSON.parse(form.dataset.offers ?? '{}') as Offer

const root = place.attachShadow({ mode: 'open' })
const view = new EditorView({
  doc: field.value,
  root,
  parent: root,
  extensions: [
    lineNumbers(),
    history(),
    drawSelection(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    EditorView.lineWrapping,
    indentUnit.of('  '),
    yaml(),
    syntaxHighlighting(colours()),
    theme(),
    autocompletion({ override: [complete], icons: false }),
    linter(check, { delay: pauseMs }),
    keymap.of([{ key: 'F8', run: nextDiagnostic }, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
    EditorView.contentAttributes.of({ 'aria-label': 'The file', spellcheck: 'false', autocapitalize: 'off' }),
    EditorView.updateListener.of(update => {
      if (update.docChanged) field.value = update.state.doc.toString()
    }),
  ],
})
field.hidden = true
place.hidden = false
element('config-keys', HTMLElement).hidden = false
element('config-label', HTMLElement).addEventListener('click', () => view.focus())
warnBeforeLoss(field.value)

function warnBeforeLoss(original: string): void {
  let isSent = false
  form.addEventListener('submit', () => {
    isSent = true
  })
  addEventListener('beforeunload', event => {
    if (!isSent && field.value !== original) event.preventDefault()
  })
}

async function check({ state: { doc } }: EditorView): Promise<Diagnostic[]> {
  const verdict = await ask(doc.toString())
  // Somebody has typed on meanwhile: another answer is on its way.
  if (!view.state.doc.eq(doc)) return []
  if (typeof verdict === 'string') {
    status.textContent = verdict
    return []
  }
  show(verdict)
  return verdict.findings.map(finding => mark(doc, finding))
}

/** The hub's verdict, or why there is none. */
async function ask(text: string): Promise<Verdict | string> {
  const fields = new FormData(form)
  const body = JSON.stringify({ text, version: fields.get('version'), _xsrf: fields.get('_xsrf') })
  try {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(form.dataset.checkUrl ?? '', { method: 'POST', headers, body })
    if (answer.ok) return (await answer.json()) as Verdict
    const { code } = (await answer.json()) as { code?: string }
    if (code === 'PASSWORD_NEEDED') return 'Not checked any more: go on, and you will be asked for your password again.'
    return 'Not checked: the hub did not take the text. It is checked again when you go on.'
  } catch {
    return 'Not checked: the hub does not answer. What you type stays here.'
  }
}

function mark(doc: Text, { severity, line: number, column, what, why, fix }: Finding): Diagnostic {
  const line = doc.line(Math.min(Math.max(number, 1), doc.lines))
  const from = Math.min(line.from + column - 1, line.to)
  const word = /^\S[^:\s]*:?/.exec(line.text.slice(from - line.from))?.[0] ?? ''
  return {
    from,
    to: from + word.length,
    severity: severity === 'note' ? 'info' : severity,
    message: `${what}: ${why}. ${fix}.`,
  }
}

function show({ findings, plan, diff, isStale }: Verdict): void {
  const errors = findings.filter(({ severity }) => severity === 'error').length
  status.textContent = summary(errors, diff, isStale)
  fill(findingsSection, 'ol', findings.map(findingItem))
  fill(planSection, 'ul', errors > 0 || diff === '' ? [] : plan.map(planItem))
}

function summary(errors: number, diff: string, isStale: boolean): string {
  if (isStale) return 'Somebody else has just changed the file: go on to see both beside each other.'
  if (errors > 0) return errors === 1 ? 'There is 1 mistake.' : `There are ${errors} mistakes.`
  return diff === '' ? 'Nothing is changed yet.' : 'This is valid.'
}

function fill(section: HTMLElement, list: string, items: HTMLElement[]): void {
  section.querySelector(list)?.replaceChildren(...items)
  section.hidden = items.length === 0
}

function findingItem({ severity, line, column, what, why, fix }: Finding): HTMLElement {
  const item = document.createElement('li')
  item.className = severity
  const go = words('button', `${severity}, line ${line}`, 'link place')
  go.addEventListener('click', () => goTo(line, column))
  item.append(go, ' ', words('strong', what), `: ${why}. `, words('span', fix, 'mend'))
  return item
}

function goTo(number: number, column: number): void {
  const line = view.state.doc.line(Math.min(Math.max(number, 1), view.state.doc.lines))
  view.dispatch({ selection: { anchor: Math.min(line.from + column - 1, line.to) }, scrollIntoView: true })
  view.focus()
}

function planItem(line: string): HTMLElement {
  return words('li', line)
}

function words(tag: string, text: string, className = ''): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = text
  made.className = className
  if (made instanceof HTMLButtonElement) made.type = 'button'
  return made
}

/** The section is told by the indentation: half a line of YAML has no syntax tree to ask. */
function complete({ state, pos, explicit }: CompletionContext): CompletionResult | null {
  const line = state.doc.lineAt(pos)
  const before = line.text.slice(0, pos - line.from)
  const key = /^( *)([\w-]*)$/.exec(before)
  if (key) {
    const [, indent = '', word = ''] = key
    if (!word && !explicit) return null
    const offer = offerAt(sectionOf(state.doc, line.number, indent.length))
    const options = Object.entries(offer?.keys ?? {}).map(([name, child]) => keyOption(name, child, indent))
    return { from: pos - word.length, options, validFor: /^[\w-]*$/ }
  }
  const value = /^( *)([^\s#:][^:]*): +(\w*)$/.exec(before)
  if (!value) return null
  const [, indent = '', name = '', word = ''] = value
  const values = offerAt([...sectionOf(state.doc, line.number, indent.length), name])?.values ?? []
  return { from: pos - word.length, options: values.map(label => ({ label })), validFor: /^\w*$/ }
}

function keyOption(name: string, { text, keys, each }: Offer, indent: string): Completion {
  const isSection = keys !== undefined || each !== undefined
  return { label: name, ...(text && { info: text }), apply: isSection ? `${name}:\n${indent}  ` : `${name}: ` }
}

/** The keys that a line of that indentation is below, from the outermost. */
function sectionOf(doc: Text, number: number, indent: number): string[] {
  const path: string[] = []
  let least = indent
  for (let above = number - 1; above > 0 && least > 0; above--) {
    const match = /^( *)([^\s#:-][^:]*):/.exec(doc.line(above).text)
    const depth = match?.[1]?.length ?? least
    if (depth >= least) continue
    path.unshift(match?.[2] ?? '')
    least = depth
  }
  return path
}

function offerAt(path: readonly string[]): Offer | undefined {
  return path.reduce<Offer | undefined>((offer, name) => {
    const keys = offer?.keys ?? {}
    return Object.hasOwn(keys, name) ? keys[name] : offer?.each
  }, offers)
}

/** The variables are those of hub.css, so both schemes have their colours. */
function theme() {
  const underline = (colour: string) => ({
    // The package's own is a picture inside the style sheet, which the policy forbids.
    backgroundImage: 'none',
    textDecoration: `underline wavy ${colour}`,
    textDecorationSkipInk: 'none',
    textUnderlineOffset: '0.25em',
  })
  const note = (colour: string) => ({ borderLeft: `4px solid ${colour}` })
  return EditorView.theme({
    '&': { border: '1px solid var(--edge)', borderRadius: 'var(--round)', backgroundColor: 'var(--card)' },
    '&.cm-focused': { outline: '3px solid var(--accent)' },
    '.cm-content, .cm-gutter': { minHeight: '22rem' },
    '.cm-scroller': { maxHeight: '70vh', fontFamily: 'var(--code)', fontSize: '0.9rem' },
    '.cm-content': { caretColor: 'var(--ink)', color: 'var(--ink)' },
    '.cm-cursor, .cm-dropCursor': { borderLeftColor: 'var(--ink)' },
    '.cm-gutters': { backgroundColor: 'var(--ground)', color: 'var(--quiet)', borderRight: '1px solid var(--line)' },
    '.cm-activeLineGutter': { backgroundColor: 'var(--soft)' },
    '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
      backgroundColor: 'var(--line)',
    },
    '.cm-activeLine': { backgroundColor: 'transparent', boxShadow: 'inset 0 0 0 1px var(--line)' },
    '.cm-tooltip': { backgroundColor: 'var(--card)', color: 'var(--ink)', border: '1px solid var(--edge)' },
    '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--code)' },
    '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--accent)', color: 'var(--on-accent)' },
    '.cm-tooltip.cm-completionInfo': { maxWidth: '20rem', fontFamily: 'var(--text)' },
    '.cm-lintRange-error': underline('var(--bad)'),
    '.cm-lintRange-warning': underline('var(--busy)'),
    '.cm-lintRange-info': underline('var(--quiet)'),
    '.cm-lintRange-active': { backgroundColor: 'var(--bad-soft)' },
    '.cm-diagnostic': { padding: '0.5rem 0.75rem', maxWidth: '32rem', whiteSpace: 'pre-wrap' },
    '.cm-diagnostic-error': note('var(--bad)'),
    '.cm-diagnostic-warning': note('var(--busy)'),
    '.cm-diagnostic-info': note('var(--quiet)'),
  })
}

function colours(): HighlightStyle {
  return HighlightStyle.define([
    { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: 'var(--accent)', fontWeight: '600' },
    { tag: [tags.string, tags.special(tags.string)], color: 'var(--good)' },
    { tag: [tags.comment, tags.lineComment, tags.meta], color: 'var(--quiet)', fontStyle: 'italic' },
    { tag: [tags.keyword, tags.labelName, tags.typeName], color: 'var(--busy)' },
  ])
}

/** The page and this script come from one version of the hub, so what is missing is a mistake of ours. */
function element<E extends HTMLElement>(id: string, kind: new () => E): E {
  const found = document.getElementById(id)
  if (found instanceof kind) return found
  throw new Error(`the page has no ${kind.name} called ${id}`)
}
