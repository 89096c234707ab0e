/** The files of several unpacked packages together, and the choice of those that a set of programs needs. */
import { posix } from 'node:path'
import { MusterError } from '../errors.ts'
import type { CpioEntry } from './cpio.ts'
import { type DebEntry, readDeb } from './deb.ts'
import { isElf, readElf } from './elf.ts'
import { type Architecture, compareText } from './lock.ts'
import { encodeStub, exportsOf, importsOf } from './stub-library.ts'

export type Tree = ReadonlyMap<string, DebEntry>

/** ELF's `e_machine`. */
const machines: Record<Architecture, number> = { amd64: 62, arm64: 183 }

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

export type Programs = {
  tree: Tree
  arch: Architecture
  /** Paths, `usr/bin/curl`. */
  programs: readonly string[]
  /** Libraries that get a stub instead, by the name they are asked for (stub-library.ts). */
  stubs: readonly string[]
}

/**
 * The programs, the loader they name and every library they load, as entries of an initramfs. A library stands under the very name by
 * which it is asked for, without the chain of links that a package has.
 * @throws build-failed where a program or a library is in none of the packages; the sentence names both ends.
 */
export function programsWithLibraries({ tree, arch, programs, stubs }: Programs): CpioEntry[] {
  const files = new Map<string, DebEntry & { type: 'file' }>()
  const stubbed = new Set<string>()
  const queue = programs.map((path) => ({ path, neededBy: 'the image' }))
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { path, neededBy } = next
    if (files.has(path)) continue
    const file = followLinks(tree, path)
    if (file === undefined)
      throw new MusterError(
        'build-failed',
        `${neededBy} needs ${path}, which is in none of the locked packages.`,
      )
    files.set(path, { ...file, path })
    if (!isElf(file.bytes)) continue
    const { needed, interpreter } = readElf(file.bytes, path)
    if (interpreter !== undefined) queue.push({ path: `usr${interpreter}`, neededBy: path })
    for (const name of needed) {
      if (stubs.includes(name)) stubbed.add(name)
      else queue.push({ path: libraryPath(tree, name, arch), neededBy: path })
    }
  }
  const real = [...files.values()].map(
    ({ path, mode, bytes }) => ({ type: 'file', path, mode: mode | 0o444, bytes }) as const,
  )
  return [...real, ...makeStubs([...files.values()], [...stubbed], arch)]
}

/** Symbols without a version do not say whose they are: those that nobody defines are all put into the first stub. */
function makeStubs(
  files: readonly { path: string; bytes: Buffer }[],
  stubbed: readonly string[],
  arch: Architecture,
): CpioEntry[] {
  const programs = files.filter(({ bytes }) => isElf(bytes) && readElf(bytes, '').needed.length > 0)
  const imports = programs.flatMap(({ path, bytes }) => importsOf(bytes, path))
  const defined = new Set(
    files.filter(({ bytes }) => isElf(bytes)).flatMap(({ path, bytes }) => [...exportsOf(bytes, path)]),
  )
  return [...stubbed].sort(compareText).map((soname, index) => {
    const symbols = imports.filter(({ name, version }) =>
      version === undefined ? index === 0 && !defined.has(name) : version.library === soname,
    )
    const path = `${libraryFolders[arch][0]}/${soname}`
    return {
      type: 'file',
      path,
      mode: 0o644,
      bytes: encodeStub({ soname, machine: machines[arch], symbols }),
    }
  })
}

/** Where a library is, by the name that programs ask for. The loader is asked for by name too: it stands where programs name it. */
function libraryPath(tree: Tree, name: string, arch: Architecture): string {
  const loader = arch === 'amd64' ? 'usr/lib64/ld-linux-x86-64.so.2' : 'usr/lib/ld-linux-aarch64.so.1'
  if (loader.endsWith(`/${name}`)) return loader
  const folders = libraryFolders[arch]
  return `${folders.find((folder) => tree.has(`${folder}/${name}`)) ?? folders[0]}/${name}`
}

/** The file behind a path, through at most 16 links; undefined where there is none. */
export function followLinks(tree: Tree, path: string): (DebEntry & { type: 'file' }) | undefined {
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
