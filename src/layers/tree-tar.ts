/**
 * A tree as one tar: names in the order of their octets, a file's data at its first name and hard links at the others. The same
 * tree gives the same octets, whatever layers it came from.
 */
import type { ByteString } from './byte-string.ts'
import type { Flattened } from './flatten.ts'
import type { Directory, Inode } from './inode.ts'
import type { TarEntry } from './tar-reader.ts'
import { encodeTarEntry, paddingOf, tarEnd } from './tar-writer.ts'

/** @throws what reading the data throws */
export async function* tarOfTree({ tree, read }: Flattened): AsyncGenerator<Uint8Array, void, void> {
  for (const { entry, inode } of entriesOf(tree.root.inode)) {
    yield encodeTarEntry(entry)
    if (entry.kind !== 'file' || inode.kind !== 'file') continue
    yield* read(inode.at, inode.size)
    const padding = paddingOf(inode.size)
    if (padding > 0) yield new Uint8Array(padding)
  }
  yield tarEnd
}

function* entriesOf(root: Directory): Generator<{ entry: TarEntry; inode: Inode }, void, void> {
  const firstNames = new Map<Inode, ByteString>()
  const todo: { name: ByteString; inode: Inode }[] = [{ name: './', inode: root }]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const { name, inode } = next
    const first = firstNames.get(inode)
    yield { entry: entryOf(inode, name, first), inode }
    if (inode.kind !== 'directory') {
      firstNames.set(inode, first ?? name)
      continue
    }
    const parent = name === './' ? '' : name
    const children = [...inode.children].sort(([a], [b]) => (a < b ? 1 : -1))
    for (const [child, place] of children)
      todo.push({
        name: `${parent}${child}${place.inode.kind === 'directory' ? '/' : ''}`,
        inode: place.inode,
      })
  }
}

function entryOf(inode: Inode, name: ByteString, first: ByteString | undefined): TarEntry {
  const { mode, uid, gid, mtime, xattrs } = inode
  const isDevice = inode.kind === 'character' || inode.kind === 'block'
  const common = {
    ...{ name, mode, uid, gid, mtime },
    ...{ major: isDevice ? inode.major : 0, minor: isDevice ? inode.minor : 0 },
  }
  if (first !== undefined) return { ...common, kind: 'link', linkName: first, size: 0, xattrs: new Map() }
  const linkName = inode.kind === 'symlink' ? inode.target : ''
  return { ...common, kind: inode.kind, linkName, size: inode.kind === 'file' ? inode.size : 0, xattrs }
}
