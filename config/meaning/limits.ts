/** Which limits count for a user. */
import type { UserName } from '../users/names.ts'
import type { Config, Limits } from './config.ts'

/** A user's own limits are stronger than those of groups, and those than the default; of several groups the most generous. */
export function limitsOf(config: Config, user: UserName): Limits {
  const own = config.userLimits.get(user) ?? {}
  const ofGroups = [...config.groups].flatMap(([group, members]) =>
    members.has(user) ? [config.groupLimits.get(group) ?? {}] : [],
  )
  const pick = <Key extends keyof Limits>(key: Key): Limits[Key] => {
    if (own[key] !== undefined) return own[key]
    const values = ofGroups.flatMap(limits => (limits[key] === undefined ? [] : [limits[key]]))
    return values.length ? values.reduce(moreGenerous) : config.limits[key]
  }
  return { memory: pick('memory'), cpu: pick('cpu'), tasks: pick('tasks'), swap: pick('swap') }
}

function moreGenerous<Value extends number | null>(one: Value, other: Value): Value {
  return one === null || other === null ? (null as Value) : one > other ? one : other
}
