/**
 * What is wrong, or worth knowing, about a configuration: each finding says where, what, why and how to mend it, and can
 * show the lines around it.
 */

export interface Finding {
  /** Errors keep a configuration from being used; warnings and notes do not. */
  severity: 'error' | 'warning' | 'note'
  /** Dotted, as people type it: `limits.memory`. Empty where it is the file as a whole. */
  key: string
  /** Counted from 1. */
  line: number
  column: number
  /** A sentence without a full stop that names key and value. */
  what: string
  why: string
  fix: string
}

const frameContext = 2
const longestLine = 160

/** `file:line:column`, what, why, fix, and the lines around the place, with a mark under it. */
export function showFinding(finding: Finding, text: string, file: string): string {
  const { severity, line, column, what, why, fix } = finding
  const place = `${file}:${line}:${column}`
  return [
    `${place} ${severity}: ${what}`,
    codeFrame(text, line, column),
    `  why:        ${why}`,
    `  what to do: ${fix}`,
  ]
    .filter(Boolean)
    .join('\n')
}

/** The worst first, and in the order of the file. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  const rank = { error: 0, warning: 1, note: 2 }
  return findings.toSorted((a, b) => rank[a.severity] - rank[b.severity] || a.line - b.line || a.column - b.column)
}

export function hasErrors(findings: readonly Finding[]): boolean {
  return findings.some(finding => finding.severity === 'error')
}

function codeFrame(text: string, line: number, column: number): string {
  const lines = text.split('\n')
  const first = Math.max(1, line - frameContext)
  const last = Math.min(lines.length, line + frameContext)
  const width = String(last).length
  const out: string[] = []
  for (let number = first; number <= last; number++) {
    const source = printable(lines[number - 1] ?? '')
    out.push(`${number === line ? '>' : ' '} ${String(number).padStart(width)} | ${source}`)
    if (number === line && column <= longestLine)
      out.push(`  ${' '.repeat(width)} | ${' '.repeat(Math.max(0, column - 1))}^`)
  }
  return out.join('\n')
}

/** A file may hold anything: nothing of it may move the cursor of a terminal. */
export function visible(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return line.replace(/\t/g, ' ').replace(/[\x00-\x1f\x7f-\x9f]/g, '?')
}

/** Nor may it fill the screen. */
function printable(line: string): string {
  const plain = visible(line)
  return plain.length > longestLine ? `${plain.slice(0, longestLine)}…` : plain
}

/** Where the line begins that has the offset `at`. */
export function lineStart(text: string, at: number): number {
  return text.lastIndexOf('\n', at - 1) + 1
}
