/** The files of several unpacked packages together, and the choice of those that a set of programs needs. */
import { posix } from 'node:path'
import { MusterError } from '../errors.ts'
import type { CpioEntry } from './cpio.ts'
import { type DebEntry, readDeb } from './deb.ts'
import { isElf, readElf } from './elf.ts'
import type { Architecture } from './lock.ts'

export type Tree = ReadonlyMap<string, DebEntry>

export const libraryFolders: Record<Architecture, readonly string[]> = {
  amd64: ['usr/lib/x86_64-linux-gnu', 'usr/lib64', 'usr/lib'],
  arm64: ['usr/lib/aarch64-linux-gnu', 'usr/lib'],
}

/** Programs and libraries of packages: nothing of documentation, locales or headers. */
export async function unpackTree(files: Iterable<string>): Promise<Map<string, DebEntry>> {
  const tree = new Map<string, DebEntry>()
  for (const file of files) {
    const entries = await readDeb(file, (path) => /^usr\/(bin|sbin)\/|^usr\/lib.*\.so(\.|$)/.test(path))
    for (const [path, entry] of entries) tree.set(path, entry)
  }
  return tree
}

/**
 * The programs, the loader they name and every library they load, as entries of an initramfs. A library stands under the very name by
 * which it is asked for, without the chain of links that a package has.
 * @throws build-failed where a program or a library is in none of the packages; the sentence names both ends.
 */
export function programsWithLibraries(
  tree: Tree,
  programs: readonly string[],
  arch: Architecture,
): CpioEntry[] {
  const entries = new Map<string, CpioEntry>()
  const queue = programs.map((path) => ({ path, neededBy: 'the image' }))
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { path, neededBy } = next
    if (entries.has(path)) continue
    const file = followLinks(tree, path)
    if (file === undefined)
      throw new MusterError(
        'build-failed',
        `${neededBy} needs ${path}, which is in none of the locked packages.`,
      )
    entries.set(path, { type: 'file', path, mode: file.mode | 0o444, bytes: file.bytes })
    if (!isElf(file.bytes)) continue
    const { needed, interpreter } = readElf(file.bytes, path)
    if (interpreter !== undefined) queue.push({ path: `usr${interpreter}`, neededBy: path })
    for (const name of needed) queue.push({ path: libraryPath(tree, name, arch), neededBy: path })
  }
  return [...entries.values()]
}

/** Where a library is, by the name that programs ask for. The loader is asked for by name too: it stands where programs name it. */
function libraryPath(tree: Tree, name: string, arch: Architecture): string {
  const loader = arch === 'amd64' ? 'usr/lib64/ld-linux-x86-64.so.2' : 'usr/lib/ld-linux-aarch64.so.1'
  if (loader.endsWith(`/${name}`)) return loader
  const folders = libraryFolders[arch]
  return `${folders.find((folder) => tree.has(`${folder}/${name}`)) ?? folders[0]}/${name}`
}

function followLinks(tree: Tree, path: string): (DebEntry & { type: 'file' }) | undefined {
  let at = path
  for (let links = 0; links < 16; links++) {
    const entry = tree.get(at)
    if (entry?.type !== 'symlink') return entry
    const target = posix.join(posix.dirname(`/${at}`), entry.target)
    const absolute = entry.target.startsWith('/') ? entry.target : target
    at = absolute.replace(/^\/(bin|sbin|lib|lib64)\//, '/usr/$1/').slice(1)
  }
  return undefined
}
