/** The two forms of a benchmark's findings: one for programs, one for people. Both show medians. */
import { type Comparison, type Findings, median, ratio } from './benchmark.ts'

export interface JsonReport {
  name: string
  rounds: number
  rows: { id: string; ours: number; peer: number; unit: string; ratio: number | null }[]
}

export function jsonReport(name: string, { rounds, rows }: Findings): JsonReport {
  return {
    name,
    rounds,
    rows: rows.map(row => ({
      id: row.id,
      ours: rounded(median(row.ours), 1),
      peer: rounded(median(row.peer), 1),
      unit: row.unit,
      ratio: Number.isFinite(ratio(row)) ? rounded(ratio(row), 3) : null,
    })),
  }
}

export function textReport(name: string, { rounds, rows, goals, notes }: Findings): string {
  const head = ['row', 'ours', '(range)', 'peer', '(range)', 'ours − peer', 'ratio', 'the peer']
  return [
    `${name}: medians of ${rounds} rounds; ratio: how many times better we are`,
    '',
    ...table([head, ...rows.map(cells)]),
    '',
    ...goals.map(({ says, isMet }) => `${isMet ? 'met   ' : 'MISSED'}  ${says}`),
    '',
    ...notes,
  ].join('\n')
}

function cells(row: Comparison): string[] {
  const [ours, peer] = [median(row.ours), median(row.peer)]
  return [
    row.id,
    amount(ours, row.unit),
    range(row.ours),
    amount(peer, row.unit),
    range(row.peer),
    `${ours < peer ? '−' : '+'}${amount(Math.abs(ours - peer), row.unit)}`,
    // Beside nothing at all, nothing can be so many times better.
    Number.isFinite(ratio(row)) ? ratio(row).toFixed(2) : '—',
    row.peerName,
  ]
}

function amount(value: number, unit: string): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`
}

function range(numbers: readonly number[]): string {
  return `(${Math.min(...numbers).toFixed(0)}–${Math.max(...numbers).toFixed(0)})`
}

/** The first and the last column hold words, the others numbers. */
function table(lines: readonly (readonly string[])[]): string[] {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map(line => line[column]?.length ?? 0)))
  const pad = (text: string, column: number) =>
    column === 0 || column === widths.length - 1 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0)
  return lines.map(line => line.map(pad).join('  ').trimEnd())
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
