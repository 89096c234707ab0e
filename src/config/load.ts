/**
 * Configuration from its four sources, in rising order: defaults, muster.yaml, MUSTER_… in the environment, flags.
 * All problems are reported at once, each naming its key and where the value came from.
 */
import { existsSync, readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import { systemReason } from '../system-error.ts'
import { unknownProblem, valueProblem } from './problems.ts'
import { type Config, configSchema } from './schema.ts'

/** Where a value came from, as it was written: `default`, `muster.yaml`, `MUSTER_FIRMWARE_PORT`, `--data`, `--set tftp.port`. */
export type ConfigSource = string

/** A flag that is a setting by a name of its own: `--log-level` for `log.level`. */
export type NamedFlag = { flag: string; key: string; value: string }

export type LoadedConfig = {
  config: Config
  /** Source by dotted key, for every key in the schema. */
  sources: ReadonlyMap<string, ConfigSource>
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, which belong to all programs of a machine and not to the schema. */
  proxy: { HTTP_PROXY?: string; HTTPS_PROXY?: string; NO_PROXY?: string }
}

type Tree = { [key: string]: unknown }

/**
 * @param file path of muster.yaml; a missing file is an error only when it was named by a person.
 * @param named flags of the command line that have a name of their own.
 * @param flags values by dotted key, of `--set`; they win over the named ones, because they name the key itself.
 * @throws MusterError config-invalid, listing every problem.
 */
export function loadConfig(options: {
  file?: string | undefined
  env: Readonly<Record<string, string | undefined>>
  flags?: Readonly<Record<string, string>>
  named?: readonly NamedFlag[]
}): LoadedConfig {
  const { env, flags = {} } = options
  const keys = configKeys()
  const tree: Tree = {}
  const sources = new Map<string, ConfigSource>(keys.map((key) => [key, 'default']))
  // Empty is what a unit file or a compose file makes of a variable that nobody set.
  const named = options.file ?? (env['MUSTER_CONFIG'] || undefined)
  const file = named ?? 'muster.yaml'
  const unknown: string[] = []
  for (const [key, value] of flatten(readConfigFile(file, named !== undefined), keys))
    assign(key, value, file)

  const byVariable = new Map(keys.map((key) => [environmentName(key), key]))
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('MUSTER_') || value === undefined || reservedVariables.has(name)) continue
    const key = byVariable.get(name)
    if (key === undefined)
      unknown.push(unknownProblem({ name, known: [...byVariable.keys()], source: undefined }))
    else assign(key, value, name)
  }
  for (const { flag, key, value } of options.named ?? []) assign(key, value, flag)
  for (const [key, value] of Object.entries(flags)) assign(key, value, `--set ${key}`)

  const result = configSchema.safeParse(tree)
  const problems = [...unknown, ...(result.error?.issues ?? []).map(describe)]
  if (problems.length > 0 || !result.success) {
    const list = problems.map((problem) => `  ${problem}`).join('\n')
    throw new MusterError(
      'config-invalid',
      `The configuration has ${problems.length === 1 ? 'a mistake' : `${problems.length} mistakes`}:\n${list}\n'muster config' prints every key and its default.`,
      { details: { problems } },
    )
  }
  return { config: result.data, sources, proxy: proxyOf(env) }

  function assign(key: string, value: unknown, source: ConfigSource): void {
    if (!keys.includes(key)) {
      unknown.push(unknownProblem({ name: key, known: keys, source }))
      return
    }
    const path = key.split('.')
    let node = tree
    for (const part of path.slice(0, -1)) {
      if (typeof node[part] !== 'object' || node[part] === null) node[part] = {}
      node = node[part] as Tree
    }
    node[path.at(-1)!] = fromText(key, value)
    sources.set(key, source)
  }

  function describe(issue: z.core.$ZodIssue): string {
    const path = issue.path.map(String)
    // Every issue is inside a setting: what is no setting was found before.
    const key = keys.find((known) => known.split('.').every((part, index) => part === path[index])) ?? ''
    const setting = { key, schema: configMember(key) }
    return valueProblem({ issue, setting, given: tree, source: sources.get(key) ?? 'default' })
  }
}

function proxyOf(env: Readonly<Record<string, string | undefined>>): LoadedConfig['proxy'] {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'] as const
  // The lower-case form wins, as in curl.
  const found = names.map((name) => [name, env[name.toLowerCase()] ?? env[name]] as const)
  return Object.fromEntries(found.filter(([, value]) => value !== undefined && value !== ''))
}

/** Variables that belong to the test suite or choose the file, not settings of the schema. */
const reservedVariables = new Set(['MUSTER_CONFIG', 'MUSTER_TOKEN', 'MUSTER_QJS', 'MUSTER_FLOOD'])

/** Dotted names of every setting, in the order of the schema. */
export function configKeys(schema: z.ZodType = configSchema, prefix = ''): string[] {
  const object = unwrap(schema)
  if (!(object instanceof z.ZodObject)) return [prefix]
  return Object.entries(object.shape).flatMap(([name, member]) =>
    configKeys(member as z.ZodType, prefix === '' ? name : `${prefix}.${name}`),
  )
}

/** The schema of one dotted key, with its description and default. */
export function configMember(key: string): z.ZodType {
  return key
    .split('.')
    .reduce<z.ZodType>(
      (schema, name) => (unwrap(schema) as z.ZodObject).shape[name] as z.ZodType,
      configSchema,
    )
}

/** `tftp.blockBytesMax` → `MUSTER_TFTP_BLOCK_BYTES_MAX`. */
export function environmentName(key: string): string {
  return `MUSTER_${key
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('.', '_')
    .toUpperCase()}`
}

function unwrap(schema: z.ZodType): z.ZodType {
  let inner = schema as { def: { innerType?: z.ZodType; type: string } } & z.ZodType
  while (inner.def.innerType !== undefined) inner = inner.def.innerType as typeof inner
  return inner
}

/** In the environment and in flags lists are written `a,b` or as JSON, and maps as JSON. */
function fromText(key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value
  const schema = unwrap(configMember(key))
  const isList = schema instanceof z.ZodArray
  if (isList && !value.trimStart().startsWith('[')) return listOf(value)
  if (!isList && !(schema instanceof z.ZodRecord)) return value
  try {
    return JSON.parse(value)
  } catch {
    // An IPv6 address may stand in brackets.
    return isList ? listOf(value) : value
  }
}

function listOf(text: string): string[] {
  return text.split(',').map((part) => part.trim())
}

function readConfigFile(file: string, named: boolean): Tree {
  if (!existsSync(file)) {
    if (!named) return {}
    throw new MusterError(
      'config-invalid',
      `The configuration file ${file} does not exist. Name another one (--config, MUSTER_CONFIG), or none: every setting has a default.`,
      {
        details: { file },
      },
    )
  }
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new MusterError(
      'config-invalid',
      `The configuration file ${file} cannot be read: ${systemReason(cause)}. Name another one (--config, MUSTER_CONFIG), or give it to the user who runs this.`,
      { cause, details: { file } },
    )
  }
  let content: unknown
  try {
    content = parse(text) ?? {}
  } catch (cause) {
    throw new MusterError('config-invalid', `${file} is not YAML: ${(cause as Error).message}`, {
      cause,
      details: { file },
    })
  }
  if (typeof content !== 'object' || Array.isArray(content)) {
    throw new MusterError(
      'config-invalid',
      `${file} must hold settings by name, not ${Array.isArray(content) ? 'a list' : typeof content}.`,
    )
  }
  return content as Tree
}

function* flatten(tree: Tree, keys: readonly string[], prefix = ''): Generator<[string, unknown]> {
  for (const [name, value] of Object.entries(tree)) {
    const key = prefix === '' ? name : `${prefix}.${name}`
    const isGroup =
      typeof value === 'object' && value !== null && !Array.isArray(value) && !keys.includes(key)
    if (isGroup) yield* flatten(value as Tree, keys, key)
    else yield [key, value]
  }
}
