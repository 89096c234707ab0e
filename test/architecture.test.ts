/** House rules that a reviewer should not have to remember: who may import whom, and a few shapes of the code. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')

/** What every room may import. */
const openToAll = ['errors.ts', 'nearest.ts', 'terminal.ts', 'system-error.ts', 'document-problem.ts']

/** Room → rooms it may import; `log` (its types) is open to all but the agent. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  wire: [],
  protocol: [],
  crypto: [],
  config: [],
  datagram: [],
  tftp: ['wire', 'datagram'],
  dhcp: ['wire', 'datagram'],
  tuf: ['wire', 'crypto', 'protocol'],
  oci: ['wire', 'protocol'],
  store: ['tuf', 'protocol'],
  signing: ['protocol'],
  machines: ['store', 'protocol'],
  cluster: ['machines', 'store', 'protocol'],
  releases: ['oci', 'tuf', 'signing', 'store', 'protocol'],
  doctor: ['dhcp', 'tftp'],
  boot: ['dhcp', 'machines', 'releases', 'signing', 'wire', 'protocol'],
  layers: ['wire'],
  builder: ['layers', 'oci', 'crypto', 'protocol'],
  http: ['boot', 'machines', 'releases', 'store', 'oci', 'config', 'protocol'],
  cli: ['http', 'boot', 'dhcp', 'doctor', 'releases', 'signing', 'builder', 'oci', 'config', 'protocol'],
  agent: ['tuf', 'oci', 'crypto', 'wire', 'protocol'],
  setup: [
    ...['http', 'tftp', 'dhcp', 'boot', 'machines', 'cluster', 'releases', 'store'],
    ...['oci', 'signing', 'crypto', 'builder', 'agent', 'config', 'protocol'],
  ],
}

/** Parts of oci that the agent carries: no I/O in them. */
const pureOci = ['reference.ts', 'manifest.ts', 'artifact.ts', 'platform.ts']

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8')
  return [
    ...text.matchAll(/^(?:import|export)\s[^'"]*?from\s+['"]([^'"]+)['"]/gm),
    ...text.matchAll(/^import\s+['"]([^'"]+)['"]/gm),
    ...text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g),
  ].map((match) => match[1]!)
}

const inSrc = sources('src').map((file) => ({
  file,
  name: relative(join(root, 'src'), file),
  room: relative(join(root, 'src'), file).split('/')[0]!,
}))

describe('who may import whom', () => {
  for (const [room, allowed] of Object.entries(mayImport)) {
    test(`${room} imports only ${['itself', ...allowed].join(', ')}`, () => {
      const strangers = inSrc
        .filter((source) => source.room === room)
        .flatMap(({ file, name }) =>
          importsOf(file)
            .filter((specifier) => specifier.startsWith('.'))
            .map((specifier) => relative(join(root, 'src'), resolve(dirname(file), specifier)))
            .filter((target) => {
              const targetRoom = target.split('/')[0]!
              if (openToAll.includes(target)) return false
              if (target === 'log.ts') return room === 'agent'
              return targetRoom !== room && !allowed.includes(targetRoom)
            })
            .map((target) => `${name} → ${target}`),
        )
      expect(strangers).toEqual([])
    })
  }

  test('ARCHITECTURE.md has the same table', () => {
    const text = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')
    const table = text.slice(text.indexOf('| room | imports |')).split('\n\n', 1)[0]!
    const namesIn = (cell: string) => cell.replace(/\([^)]*\)/g, '').match(/[a-z]+/g) ?? []
    const written = table
      .split('\n')
      .slice(2)
      .map((line) => line.split('|').slice(1, 3) as [string, string])
      .filter(([rooms]) => !rooms.includes('.ts'))
      .flatMap(([rooms, imports]) =>
        namesIn(rooms).map((room) => [room, namesIn(imports.replace('nothing', '')).sort()]),
      )
    const held = Object.entries(mayImport).map(([room, allowed]) => [room, [...allowed].sort()])
    expect(Object.fromEntries(written)).toEqual(Object.fromEntries(held))
  })

  test('every folder of src has a row in the table', () => {
    const rooms = new Set(inSrc.filter(({ name }) => name.includes('/')).map(({ room }) => room))
    expect([...rooms].filter((room) => mayImport[room] === undefined)).toEqual([])
  })

  test("the agent takes only oci's parts without I/O", () => {
    const taken = inSrc
      .filter(({ room }) => room === 'agent')
      .flatMap(({ file }) => importsOf(file).filter((specifier) => specifier.includes('/oci/')))
      .map((specifier) => specifier.split('/').at(-1)!)
    expect(taken.filter((part) => !pureOci.includes(part))).toEqual([])
  })

  test('rooms that the agent carries import no Node module', () => {
    const pure = inSrc.filter(
      ({ name, room }) =>
        ['wire', 'protocol', 'tuf'].includes(room) ||
        name === 'errors.ts' ||
        name === 'system-error.ts' ||
        (room === 'oci' && pureOci.includes(name.split('/')[1]!)),
    )
    const offenders = pure.flatMap(({ file, name }) =>
      importsOf(file)
        .filter((specifier) => specifier.startsWith('node:'))
        .map((specifier) => `${name} → ${specifier}`),
    )
    expect(offenders).toEqual([])
  })

  test('store takes from tuf nothing but VerifiedTarget', () => {
    const lines = inSrc
      .filter(({ room }) => room === 'store')
      .flatMap(({ file }) =>
        readFileSync(file, 'utf8')
          .split('\n')
          .filter((line) => /from '.*\/tuf\//.test(line)),
      )
    for (const line of lines) expect(line).toMatch(/^import (type )?\{ (type )?VerifiedTarget \} from/)
  })
})

describe('shapes of the code', () => {
  test('relative imports end in .ts, because nothing is built', () => {
    const wrong = [...inSrc.map(({ file }) => file), ...sources('test'), ...sources('scripts')].flatMap(
      (file) =>
        importsOf(file)
          .filter((specifier) => specifier.startsWith('.') && !specifier.endsWith('.ts'))
          .map((specifier) => `${relative(root, file)} → ${specifier}`),
    )
    expect(wrong).toEqual([])
  })

  test('only main.ts reads the environment; it hands it to the configuration', () => {
    const readers = inSrc
      .filter(({ file }) => /process\.env|\benv\s*\}\s*=\s*process/.test(readFileSync(file, 'utf8')))
      .map(({ name }) => name)
    expect(readers).toEqual(['main.ts'])
  })

  test('no file of src passes 300 lines', () => {
    const long = inSrc
      .map(({ file, name }) => ({ name, lines: readFileSync(file, 'utf8').split('\n').length }))
      .filter(({ lines }) => lines > 301)
    expect(long).toEqual([])
  })

  /**
   * The formatter puts a function's end at the indent of its beginning, so indents are enough to measure by. Lines of a
   * function inside another are counted for the inner one only: a `createX` is as long as what it does itself. Migrations
   * are lists of tables, and stay as they were written.
   */
  test('no function of src passes 70 lines', () => {
    const begins = [
      /\bfunction\b.*\{$/,
      /=> \{$/,
      /^\s*\}?\)(: .*)? \{$/,
      /^\s*[\w\s#*[\].]+(<.*>)?\(.*\)(: .*)? \{$/,
    ]
    const isNoFunction = /^\s*(\} )?(if|for|while|switch|catch|else|return \w+\()\b/
    const functions = inSrc.flatMap(({ file, name }) => {
      const found: { name: string; lines: number }[] = []
      const open: { indent: number; line: number; lines: number }[] = []
      for (const [index, line] of readFileSync(file, 'utf8').split('\n').entries()) {
        const indent = line.search(/\S/)
        const current = open.at(-1)
        if (current !== undefined) current.lines += 1
        if (current !== undefined && indent === current.indent && /^\s*\}/.test(line)) {
          open.pop()
          found.push({ name: `${name}:${current.line}`, lines: current.lines })
        }
        const isBegin = begins.some((begin) => begin.test(line)) && !isNoFunction.test(line)
        if (isBegin) open.push({ indent, line: index + 1, lines: 1 })
      }
      return found
    })
    expect(functions.length).toBeGreaterThan(500)
    const long = functions.filter(({ name, lines }) => lines > 70 && !name.startsWith('store/migrations-'))
    expect(long).toEqual([])
  })

  test('no room is a drawer: no utils, helpers or common, no index.ts', () => {
    const drawers = inSrc
      .filter(({ name }) => /(^|\/)(utils?|helpers?|common|misc|index)(\/|\.ts$)/.test(name))
      .map(({ name }) => name)
    expect(drawers).toEqual([])
  })

  test('a comment explains a check that is switched off', () => {
    const silent = inSrc.flatMap(({ file, name }) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => /@ts-ignore|@ts-expect-error\s*$|biome-ignore [\w/]+:?\s*$/.test(line))
        .map((line) => `${name}: ${line.trim()}`),
    )
    expect(silent).toEqual([])
  })
})
