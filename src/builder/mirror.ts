/** Which Debian mirror to ask: the one that this machine's apt asks, as sources.list(5) has it. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compareText } from './lock.ts'

/** Debian's own default, a name that leads to a mirror nearby. */
export const defaultMirror = 'http://deb.debian.org/debian'

// Ubuntu and derived distributions have pools of their own; security and backports have pools apart.
const suites = /^(stable|testing|unstable|oldstable|sid|bullseye|bookworm|trixie|forky|duke)$/

/**
 * Mirrors to try in order, without a slash at the end: those of apt, then Debian's own.
 * Files of apt that are missing or not readable count as empty.
 */
export async function aptMirrors(folder = '/etc/apt'): Promise<string[]> {
  const parts = join(folder, 'sources.list.d')
  const names = await readdir(parts).catch(() => [])
  const files = [join(folder, 'sources.list'), ...names.sort(compareText).map((name) => join(parts, name))]
  const found: string[] = []
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch(() => '')
    if (file.endsWith('.list')) found.push(...parseOneLineSources(text))
    else if (file.endsWith('.sources')) found.push(...parseDeb822Sources(text))
  }
  return [...new Set([...found, defaultMirror])]
}

/** `deb [options] URI suite component…`, one a line. Gives the URIs of Debian's main archive. */
export function parseOneLineSources(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line)
    if (match === null) return []
    return debianMain([match[1]!], [match[2]!], match[3]!.trim().split(/\s+/))
  })
}

/** Paragraphs of `Field: value` (deb822). */
export function parseDeb822Sources(text: string): string[] {
  return text.split(/\n\s*\n/).flatMap((paragraph) => {
    const lines = paragraph.split('\n').filter((line) => !line.startsWith('#'))
    const fields = new Map<string, string>()
    let name = ''
    for (const line of lines) {
      const match = /^([A-Za-z-]+):(.*)$/.exec(line)
      if (match !== null) name = match[1]!.toLowerCase()
      fields.set(name, `${fields.get(name) ?? ''} ${match === null ? line : match[2]!}`)
    }
    const words = (field: string) => (fields.get(field) ?? '').trim().split(/\s+/)
    if (words('enabled')[0] === 'no' || !words('types').includes('deb')) return []
    return debianMain(words('uris'), words('suites'), words('components'))
  })
}

function debianMain(uris: string[], found: string[], components: string[]): string[] {
  if (!components.includes('main') || !found.some((suite) => suites.test(suite))) return []
  return uris.filter((uri) => /^https?:\/\//.test(uri)).map((uri) => uri.replace(/\/+$/, ''))
}
