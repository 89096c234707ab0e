/**
 * What is wrong in a document that a person wrote (profile, cluster, policy), in words: a schema's own messages speak of inputs, arrays and
 * keys. Pure, and of zod knows only the shape of its issues. Values are never repeated: some are secrets.
 */
type Issue = {
  code?: string | undefined
  message: string
  path: readonly PropertyKey[]
  expected?: string
  values?: readonly unknown[]
  keys?: readonly string[]
  minimum?: number | bigint
  maximum?: number | bigint
  origin?: string
  options?: readonly unknown[]
  issues?: readonly { message: string }[]
  errors?: readonly (readonly Issue[])[]
}

const kinds: Readonly<Record<string, string>> = {
  array: 'a list',
  object: 'members by name',
  record: 'members by name',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  null: 'nothing',
  undefined: 'nothing',
}

/** `selector.labels: expected a list, found text`; what the schema says in words of its own is kept. @param document what was checked */
export function documentProblem(issue: Issue, document: unknown, whole: string): string {
  return `${issue.path.map(String).join('.') || whole}: ${problemOf(issue, document)}`
}

function problemOf(issue: Issue, document: unknown): string {
  // "One value or a list": the first of the two says what is wrong with the value.
  const first = issue.errors?.[0]?.[0]
  if (issue.code === 'invalid_union' && first !== undefined)
    return problemOf({ ...first, path: [...issue.path, ...first.path] }, document)
  // A sentence that a schema was given; its own begin with these words.
  if (!/^(?:Invalid|Too|Unrecognized|Input)\b/.test(issue.message)) return issue.message
  const found = valueAt(document, issue.path)
  switch (issue.code) {
    case 'invalid_type': {
      const expected = kinds[issue.expected ?? ''] ?? String(issue.expected)
      return found === undefined
        ? `it is missing; expected ${expected}`
        : `expected ${expected}, found ${kindOf(found)}`
    }
    case 'invalid_value':
      return expectedOf(issue.values)
    case 'invalid_union':
      // One of several kinds of document, which a member tells apart: the schema says which there are.
      return expectedOf(issue.options)
    case 'invalid_key':
      return issue.issues?.[0]?.message ?? issue.message
    case 'unrecognized_keys':
      return `there is no member ${(issue.keys ?? []).map((key) => `'${key.slice(0, 80)}'`).join(', ')}`
    case 'too_small':
      return `expected at least ${issue.minimum}${unitOf(issue.origin)}`
    case 'too_big':
      return `expected at most ${issue.maximum}${unitOf(issue.origin)}`
    default:
      return issue.message
  }
}

function expectedOf(values: readonly unknown[] = []): string {
  return `expected ${values.length > 1 ? 'one of ' : ''}${values.join(', ')}`
}

function unitOf(origin: string | undefined): string {
  if (origin === 'string') return ' characters'
  return origin === 'array' || origin === 'set' ? ' entries' : ''
}

function kindOf(value: unknown): string {
  if (value === null) return 'nothing'
  if (typeof value === 'number' && !Number.isInteger(value)) return 'a number that is not whole'
  return kinds[Array.isArray(value) ? 'array' : typeof value] ?? typeof value
}

function valueAt(document: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, name) =>
      typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[name] : undefined,
    document,
  )
}
