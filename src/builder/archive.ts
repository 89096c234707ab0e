/** Reads a Debian archive's indices: `Release` (what was signed) and `Packages` (what there is). Used by --refresh only. */
import { MusterError } from '../errors.ts'

/** A paragraph of a Packages file; versions are Debian's own notation. */
export type IndexedPackage = {
  name: string
  version: string
  path: string
  bytes: number
  sha256: string
  /** Each dependency as its alternatives, in the order of the package: `a | b` gives `['a', 'b']`. */
  dependencies: string[][]
  provides: string[]
}

export type ReleaseFile = { date: string; suite: string; sha256: Map<string, string> }

/** Fields and the SHA256 table of a Release file, whose signature was checked before. @throws build-failed */
export function parseRelease(text: string): ReleaseFile {
  const fields = parseParagraph(text)
  const date = new Date(fields.get('Date') ?? '')
  const table = fields.get('SHA256')
  if (Number.isNaN(date.getTime()) || table === undefined)
    throw new MusterError('build-failed', "The mirror's Release file has no Date or no SHA256 table.")
  const sha256 = new Map<string, string>()
  for (const line of table.split('\n')) {
    const [hash, , path] = line.trim().split(/\s+/)
    if (hash !== undefined && path !== undefined) sha256.set(path, hash)
  }
  return { date: date.toISOString().replace(/\.\d+Z$/, 'Z'), suite: fields.get('Codename') ?? '', sha256 }
}

export function parsePackages(text: string): Map<string, IndexedPackage> {
  const packages = new Map<string, IndexedPackage>()
  for (const paragraph of text.split('\n\n')) {
    if (paragraph.trim() === '') continue
    const fields = parseParagraph(paragraph)
    const field = (name: string) => fields.get(name) ?? ''
    packages.set(field('Package'), {
      name: field('Package'),
      version: field('Version'),
      path: field('Filename'),
      bytes: Number(field('Size')),
      sha256: field('SHA256'),
      dependencies: [...relations(field('Pre-Depends')), ...relations(field('Depends'))],
      provides: relations(field('Provides')).flat(),
    })
  }
  return packages
}

/**
 * Everything that the wanted packages depend on, themselves included, sorted by name. Versions are not compared: one suite's index
 * holds one version of each package, made to fit.
 * @throws build-failed at a package that the archive does not have
 */
export function resolveDependencies(
  index: ReadonlyMap<string, IndexedPackage>,
  wanted: readonly string[],
  without: readonly string[],
): IndexedPackage[] {
  const providers = new Map<string, string>()
  for (const item of index.values()) for (const name of item.provides) providers.set(name, item.name)
  const left = new Set(without)
  const found = new Map<string, IndexedPackage>()
  const queue = wanted.map((name) => [name])
  for (let alternatives = queue.shift(); alternatives !== undefined; alternatives = queue.shift()) {
    if (alternatives.some((name) => left.has(name) || found.has(name))) continue
    const real = alternatives.find((name) => index.has(name))
    const name =
      real ?? alternatives.map((virtual) => providers.get(virtual)).find((item) => item !== undefined)
    const item = name === undefined ? undefined : index.get(name)
    if (item === undefined)
      throw new MusterError('build-failed', `The archive has no package ${alternatives.join(' or ')}.`)
    if (left.has(item.name) || found.has(item.name)) continue
    found.set(item.name, item)
    queue.push(...item.dependencies)
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

function relations(text: string): string[][] {
  if (text.trim() === '') return []
  const name = (alternative: string) => alternative.trim().replace(/[\s(:[].*$/s, '')
  return text.split(',').map((relation) => relation.split('|').map(name))
}

/** `Field: value`; lines that begin with a blank go on with the field before. */
function parseParagraph(text: string): Map<string, string> {
  const fields = new Map<string, string>()
  let name = ''
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    if (/^\s/.test(line)) fields.set(name, `${fields.get(name)}\n${line}`)
    else if (colon > 0) {
      name = line.slice(0, colon)
      fields.set(name, line.slice(colon + 1).trim())
    }
  }
  return fields
}
