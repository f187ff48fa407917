/**
 * What the editor of the configuration offers while somebody types: the schema, less what only checks need. A browser gets it
 * as JSON, in an attribute of the page.
 */
import { type SchemaNode, schema } from '../../config/schema/schema.ts'

export interface Offer {
  /** The description. */
  text?: string
  keys?: Record<string, Offer>
  /** For keys that people name themselves, such as `limits.users.ann`. */
  each?: Offer
  values?: string[]
}

export const offers: Offer = offer(schema)

function offer(node: SchemaNode): Offer {
  const { description, properties, additionalProperties, type } = node
  const values = node.enum?.map(String) ?? ([type].flat().includes('boolean') ? ['true', 'false'] : undefined)
  // What a key of TLJH's is replaced by is told by the check; nobody has to be led there.
  const own = Object.entries(properties ?? {}).filter(([, child]) => child.replaced === undefined)
  return {
    ...(description && { text: description }),
    ...(properties && { keys: Object.fromEntries(own.map(([name, child]) => [name, offer(child)])) }),
    ...(typeof additionalProperties === 'object' && { each: offer(additionalProperties) }),
    ...(values && { values }),
  }
}
