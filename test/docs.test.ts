/** The documents against the code: what is written must exist, what exists must be written. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import type { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { configurationDocument } from '../scripts/docs.ts'
import { agentPolicyFile, parseAgentPolicy } from '../src/builder/agent-policy.ts'
import { createProgram } from '../src/cli/program.ts'
import { clusterSchema, parseCluster } from '../src/cluster/cluster.ts'
import { renderStatic } from '../src/cluster/static.ts'
import { configKeys, configMember } from '../src/config/load.ts'
import { errorCodes } from '../src/errors.ts'
import { parseProfile, profileSchema } from '../src/machines/profiles.ts'

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const documents = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
]

describe('errors', () => {
  const headings = [...read('docs/errors.md').matchAll(/^#{2,3} `([a-z-]+)`$/gm)].map((match) => match[1]!)

  test('every code has a paragraph', () => {
    expect(errorCodes.filter((code) => !headings.includes(code))).toEqual([])
  })
  test('every paragraph has a code', () => {
    expect(headings.filter((heading) => !(errorCodes as readonly string[]).includes(heading))).toEqual([])
  })
  test('every code is thrown or named somewhere in src', () => {
    const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter(
      (name) => name.endsWith('.ts') && name !== 'errors.ts',
    )
    const code = files.map((name) => read(join('src', name))).join('\n')
    expect(errorCodes.filter((name) => !code.includes(`'${name}'`))).toEqual([])
  })
})

describe('configuration', () => {
  test('docs/configuration.md is what `npm run docs` makes of the schema', () => {
    expect(read('docs/configuration.md')).toBe(configurationDocument())
  })
  test('every setting says what it is', () => {
    expect(configKeys().filter((key) => (configMember(key).description ?? '') === '')).toEqual([])
  })
})

describe('ports', () => {
  test('docs/ports.md names every port of the configuration with its default', () => {
    const ports = read('docs/ports.md')
    for (const key of configKeys().filter((name) => name.endsWith('.port'))) {
      const byDefault = String(configMember(key).parse(undefined))
      expect(ports, key).toMatch(new RegExp(`\\| ${byDefault}[ /].*\`${key.replace('.', '\\.')}\``))
    }
  })
})

describe('commands', () => {
  const scripts = (JSON.parse(read('package.json')) as { scripts: Record<string, string> }).scripts

  test('every npm script that a document names exists', () => {
    const named = documents.flatMap((name) =>
      [...read(name).matchAll(/npm run ([a-z]+)/g)].map((match) => match[1]!),
    )
    expect([...new Set(named)].filter((name) => scripts[name] === undefined)).toEqual([])
  })
  test('docs/command-line.md has every command and every verb', () => {
    const rows = [...read('docs/command-line.md').matchAll(/^\| (`.*?) \| /gm)].map((match) => match[1]!)
    const words = new Set(rows.join(' ').match(/[a-z]+(?:-[a-z]+)*/g))
    const program = createProgram({ packageRoot: root } as never)
    const names = program.commands.flatMap((one) => [one.name(), ...one.commands.map((verb) => verb.name())])
    expect(names.filter((name) => !words.has(name))).toEqual([])
  })
  test('every link between documents leads somewhere', () => {
    const broken = documents.flatMap((name) =>
      [...read(name).matchAll(/\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)/g)]
        .map((match) => join(dirname(name), match[1]!))
        .filter((target) => !existsSync(join(root, target)))
        .map((target) => `${name} → ${relative('.', target)}`),
    )
    expect(broken).toEqual([])
  })

  test('every command and flag that a document or a sentence of the program names exists', () => {
    const program = createProgram({ packageRoot: root } as never)
    const inDocuments = documents.flatMap((name) => codeOf(read(name)).map((code) => [name, code] as const))
    const inSentences = typescriptFiles('src').flatMap((name) =>
      [...read(name).matchAll(/['`](\.?\/?muster [a-z][^'`\\\n]*)['`]/g)].map(
        (match) => [name, match[1]!] as const,
      ),
    )
    const inImage = read('Dockerfile')
      .split('\n')
      .map(
        (line) =>
          ['Dockerfile', line.replace(/[",[\]]+/g, ' ').replaceAll('/opt/muster/muster', 'muster')] as const,
      )
    const named = [...inDocuments, ...inSentences, ...inImage].flatMap(([name, code]) =>
      [...code.matchAll(/(?:^|[\s(])(?:\.\/)?muster ((?:--)?[a-z][^\n#;]*)/g)].map(
        (match) => [name, match[1]!] as const,
      ),
    )
    expect(named.length).toBeGreaterThan(50)
    const wrong = named.map(([name, line]) => [name, line, strangerIn(program, line)])
    expect(wrong.filter(([, , stranger]) => stranger !== undefined)).toEqual([])
  })
})

/** Code blocks line by line, and inline code. */
function codeOf(markdown: string): string[] {
  const blocks = [...markdown.matchAll(/```[a-z]*\n([\s\S]*?)```/g)].flatMap((match) => match[1]!.split('\n'))
  const indented = markdown.split('\n').filter((line) => line.startsWith('    '))
  const inline = [...markdown.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`]+)`/g)].map((match) => match[1]!)
  return [...blocks, ...indented, ...inline]
}

/** The first word of a command line that the program does not know. */
function strangerIn(program: Command, line: string): string | undefined {
  let command = program
  const words = line.trim().split(/\s+/)
  while (command.commands.length > 0 && words.length > 0) {
    if (!/^[a-z]+(?:-[a-z]+)*$/.test(words[0]!)) break
    const word = words.shift()!
    const next = command.commands.find((one) => one.name() === word || one.aliases().includes(word))
    if (next === undefined) return word
    command = next
  }
  const known = [...command.options, ...program.options, ...command.createHelp().visibleOptions(command)]
  const flags = line.match(/(?<=\s|^)--[a-z][a-z-]*/g) ?? []
  return flags.find((flag) => !known.some(({ long }) => long === flag))
}

function typescriptFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name))
}

describe('the README', () => {
  test('names commands in the order in which they work: a profile wants its image and cluster to be there', () => {
    const steps = [
      'machines',
      'image publish',
      'cluster set',
      'profile set',
      'machine approve',
      'machine why',
    ]
    const places = steps.map((step) => read('README.md').indexOf(`./muster ${step}`))
    expect(places.every((place) => place > 0)).toBe(true)
    expect(places).toEqual([...places].sort((one, other) => one - other))
  })
})

describe('profiles, clusters and policies', () => {
  const examplesOf = (name: string) =>
    [...read(name).matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => parse(match[1]!) as unknown)
  const machine = { id: 'm-aaaaaaaaaaaaaaaa', name: 'rack-7', labels: { rack: '7' } }

  test('every example of docs/profiles.md is a profile', () => {
    const examples = examplesOf('docs/profiles.md')
    expect(examples.length).toBeGreaterThan(2)
    for (const example of examples) expect(() => parseProfile(example)).not.toThrow()
  })

  test('every example of docs/agent-policy.md is a policy', () => {
    const examples = examplesOf('docs/agent-policy.md')
    expect(examples.length).toBeGreaterThan(0)
    for (const example of examples) expect(() => parseAgentPolicy(example, 'example')).not.toThrow()
  })

  test('every example of docs/clusters.md is a cluster, and its files are YAML for a machine', () => {
    const files = examplesOf('docs/clusters.md').flatMap((example) =>
      renderStatic(parseCluster(example), machine),
    )
    const contents = files.map(({ bytes }) => parse(Buffer.from(bytes, 'base64').toString()) as object)
    expect(contents).toMatchObject([
      { 'node-name': 'rack-7', token: 'K10d2f1::node:abc123', 'node-label': ['rack=7'] },
      { kind: 'JoinConfiguration', nodeRegistration: { name: 'rack-7' } },
    ])
  })

  test.each([
    ['docs/profiles.md', profileSchema],
    ['docs/clusters.md', clusterSchema],
    ['docs/agent-policy.md', agentPolicyFile],
  ])('%s has a row for every member, and no other', (name, schema) => {
    const rows = [...read(name).matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]!)
    expect(rows.sort()).toEqual(
      membersOf(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })).sort(),
    )
  })
})

/** Dotted paths of the leaves of a JSON schema: `files[].name`, `secrets.<name>.value`. */
function membersOf(schema: z.core.JSONSchema.BaseSchema, path = ''): string[] {
  const below = (value: unknown, at: string) => membersOf(value as z.core.JSONSchema.BaseSchema, at)
  const alternatives = schema.oneOf ?? (path === '' ? schema.anyOf : undefined)
  if (alternatives !== undefined) return [...new Set(alternatives.flatMap((one) => below(one, path)))]
  if (schema.properties !== undefined) {
    const prefix = path === '' ? '' : `${path}.`
    return Object.entries(schema.properties).flatMap(([name, value]) => below(value, `${prefix}${name}`))
  }
  if (typeof schema.additionalProperties === 'object')
    return below(schema.additionalProperties, `${path}.<name>`)
  const items = schema.items as z.core.JSONSchema.BaseSchema | undefined
  return items?.properties === undefined ? [path] : below(items, `${path}[]`)
}

describe('decisions', () => {
  test('the index lists every record', () => {
    const records = readdirSync(join(root, 'docs/decisions')).filter((name) => /^\d{4}-/.test(name))
    const listed = [...read('docs/decisions/README.md').matchAll(/^\| \[(\d{4})\]\((\S+)\) \| \S/gm)]
    expect(listed.map((match) => match[2])).toEqual(records.sort())
  })
  test('every record begins with its number', () => {
    const records = readdirSync(join(root, 'docs/decisions')).filter((name) => /^\d{4}-/.test(name))
    const wrong = records.filter(
      (name) => !read(join('docs/decisions', name)).startsWith(`# ${name.slice(0, 4)}: `),
    )
    expect(wrong).toEqual([])
  })
})
