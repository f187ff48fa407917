/**
 * The reference page of the configuration, made from the schema: every key, what it means, its default, when a change counts.
 * `docs/configuration.md` is this text; a test sees to it. Made anew with: tljh-ts config schema --markdown
 */
import { type SchemaNode, schema } from './schema.ts'

const head = `# The configuration, key by key

One file, \`/opt/tljh/config/config.yaml\`. Change it with \`sudo tljh-ts config edit\`, or one key at a time with
\`sudo tljh-ts config set KEY VALUE\`. NAME stands for a name of yours. Amounts of memory are written \`512M\`, \`1.5G\` or as a number of
bytes, shares of processors \`0.5\` or \`50%\`. TLJH's keys have TLJH's names and meaning.

<!-- Made from config/schema/schema.ts by: tljh-ts config schema --markdown -->
`

const effects = {
  now: 'at once',
  'next start': 'at the next start of each server',
  address: 'at once; the hub moves to another address',
} as const

export function referenceText(): string {
  return `${head}\n${[...sections(schema, [])].join('\n\n')}\n`
}

function* sections(node: SchemaNode, path: readonly string[]): Iterable<string> {
  const children = childrenOf(node)
  const [leaves, inner] = [
    children.filter(([, child]) => !isSection(child)),
    children.filter(([, child]) => isSection(child)),
  ]
  if (path.length && (leaves.length || node.description)) {
    yield `## \`${path.join('.')}\``
    if (node.description) yield node.description
    if (node.replaced) yield `Has no effect: ${node.replaced}.`
  }
  const known = node.replaced ? [] : leaves
  if (known.length) {
    const rows = known.map(([name, child]) => row([...path, name].join('.'), child))
    yield ['| key | meaning | default | a change counts |', '| --- | --- | --- | --- |', ...rows].join('\n')
  }
  if (!node.replaced) for (const [name, child] of inner) yield* sections(child, [...path, name])
}

function childrenOf(node: SchemaNode): [string, SchemaNode][] {
  const free = typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined
  return [...Object.entries(node.properties ?? {}), ...(free ? [['NAME', free] as [string, SchemaNode]] : [])]
}

function isSection(node: SchemaNode): boolean {
  return childrenOf(node).length > 0
}

function row(key: string, node: SchemaNode): string {
  const { description = '', examples = [], enum: choices = [], pending, replaced, effect } = node
  const parts = [description]
  if (choices.length > 1) parts.push(`One of: ${choices.map(code).join(', ')}.`)
  if (examples.length) parts.push(`Such as ${examples.map(code).join(', ')}.`)
  if (replaced) parts.push(`Has no effect: ${replaced}.`)
  if (pending) parts.push('**Has no effect in this version yet.**')
  const fallback = node.default === undefined || node.default === null || node.default === '' ? '' : code(node.default)
  const when = pending || replaced || !effect ? '' : effects[effect]
  return `| \`${key}\` | ${parts.filter(Boolean).join(' ')} | ${fallback} | ${when} |`
}

function code(value: unknown): string {
  return `\`${String(value)}\``
}
