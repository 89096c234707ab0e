/** The documents against the code: what is written must exist, what exists must be written. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'
import { configurationDocument } from '../scripts/docs.ts'
import { configKeys, configMember } from '../src/config/load.ts'
import { errorCodes } from '../src/errors.ts'

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
  test('every link between documents leads somewhere', () => {
    const broken = documents.flatMap((name) =>
      [...read(name).matchAll(/\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)/g)]
        .map((match) => join(dirname(name), match[1]!))
        .filter((target) => !existsSync(join(root, target)))
        .map((target) => `${name} → ${relative('.', target)}`),
    )
    expect(broken).toEqual([])
  })
})
