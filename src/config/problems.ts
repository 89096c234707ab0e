/**
 * What is wrong with a configuration, in sentences: the key, what was expected (kind, unit, range), what was given and where it
 * came from. The expectation is read from the schema, so that it can never say another range than the one that holds.
 */
import { z } from 'zod'
import { didYouMean } from '../nearest.ts'

type JsonSchema = z.core.JSONSchema.BaseSchema

/** A value of the schema that does not fit. `setting`: its schema, and its dotted key; the issue's path may lead further in. */
export function valueProblem(options: {
  issue: z.core.$ZodIssue
  setting: { key: string; schema: z.ZodType }
  given: unknown
  source: string
}): string {
  const { issue, setting, source } = options
  const path = issue.path.map(String)
  const inside = path.slice(setting.key.split('.').length)
  const schema = z.toJSONSchema(setting.schema, { io: 'output', unrepresentable: 'any' })
  if (issue.code === 'unrecognized_keys') {
    const members = Object.keys(schemaAt(schema, inside)?.properties ?? {})
    const [wrong = ''] = issue.keys
    return `${path.join('.')}: '${wrong}' is not one of its members, which are ${members.join(', ')}${didYouMean(wrong, members)} (from ${source})`
  }
  const key = path.join('.')
  const expected = expectation(schemaAt(schema, inside), { key, issue, about: setting.schema.description })
  const given = valueAt(options.given, path)
  if (given === undefined) return `${key}: it is missing, and has no default; expected ${expected}`
  return `${key}: expected ${expected}, got ${shown(given)} (from ${source})`
}

/** A name that is no setting. `name`: as it was written, a dotted key or a variable of the environment. */
export function unknownProblem(options: {
  name: string
  known: readonly string[]
  source: string | undefined
}): string {
  const { known, name, source } = options
  const members = known.filter((one) => one.startsWith(`${name}.`))
  const from = source === undefined ? '' : ` (from ${source})`
  if (members.length > 0) {
    const some = members.slice(0, 6).join(', ')
    return `${name}: is a group of settings, not one: ${some}${members.length > 6 ? ', …' : ''}${from}`
  }
  // Of a long key the last part is what people get wrong, or they leave out the group.
  const close = didYouMean(name, known) || didYouMean(name, known.map(lastPart)).replace(/'(.*)'/, suggestion)
  return `${name}: no setting has this name${close}${from}`

  function suggestion(_: string, part: string): string {
    return known
      .filter((one) => lastPart(one) === part)
      .slice(0, 3)
      .map((one) => `'${one}'`)
      .join(', ')
  }
}

function lastPart(key: string): string {
  return key.slice(key.lastIndexOf('.') + 1)
}

function schemaAt(schema: JsonSchema | undefined, path: readonly string[]): JsonSchema | undefined {
  return path.reduce<JsonSchema | undefined>((at, name) => {
    const more = at?.additionalProperties
    const next = at?.properties?.[name] ?? (typeof more === 'object' ? more : undefined) ?? at?.items
    return typeof next === 'object' && !Array.isArray(next) ? (next as JsonSchema) : undefined
  }, schema)
}

function expectation(
  schema: JsonSchema | undefined,
  { about, issue, key }: { key: string; issue: z.core.$ZodIssue; about: string | undefined },
): string {
  if (schema?.enum !== undefined) return `one of ${schema.enum.join(', ')}`
  // What a mapping's own rules say is more than its kind.
  if (schema?.type === 'object' && issue.code === 'custom') return issue.message
  if (schema?.type === 'object' && issue.code === 'invalid_key')
    return issue.issues[0]?.message ?? issue.message
  switch (schema?.type) {
    case 'integer':
      return `a whole number${unitOf(key)} from ${schema.minimum} to ${schema.maximum}`
    case 'boolean':
      return 'true or false'
    case 'array':
      return schema.minItems === undefined
        ? 'a list (in a flag and the environment a,b or JSON)'
        : `a list of at least ${schema.minItems} (in a flag and the environment a,b or JSON)`
    case 'object':
      return `members by name (in a flag and the environment as JSON): ${about ?? ''}`
    case 'string':
      return textExpectation(schema, issue)
    default:
      return schema?.anyOf === undefined ? issue.message : 'true or false'
  }
}

function textExpectation(schema: JsonSchema, issue: z.core.$ZodIssue): string {
  if (schema.format === 'ipv4') return 'an IPv4 address, as in 192.0.2.1'
  if (schema.format === 'uri') return 'a URL that begins with http:// or https://'
  // The schema says in words what a pattern means.
  if (issue.code === 'invalid_format' || issue.code === 'invalid_key') return issue.message
  return issue.code === 'too_small' ? 'text that is not empty' : 'text'
}

/** The unit stands in the name; of the waits in `stalls` all are seconds. */
function unitOf(key: string): string {
  const name = lastPart(key)
  if (/Ms(?![a-z])/.test(name)) return ' of milliseconds'
  if (/[sS]econds(?![a-z])/.test(name) || key.startsWith('stalls.')) return ' of seconds'
  return /[bB]ytes(?![a-z])/.test(name) ? ' of bytes' : ''
}

function valueAt(tree: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (node, name) =>
      typeof node === 'object' && node !== null && Object.hasOwn(node, name)
        ? (node as Record<string, unknown>)[name]
        : undefined,
    tree,
  )
}

function shown(value: unknown): string {
  if (value === null) return 'nothing'
  // Flags and the environment have nothing but text: that is not what is wrong with a number.
  if (typeof value === 'string' && /^-?\d{1,20}$/.test(value)) return value
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}
