/** Follows a path inside a tree, as a kernel would that has the tree as its root: no symlink leads out of it. */
import type { ByteString } from './byte-string.ts'
import type { Directory, Place } from './inode.ts'

/** MAXSYMLINKS of Linux. */
const symlinksMax = 40

/** Why there is no way, as the end of a sentence. */
export type NoWay = 'something that is not there' | 'a circle of symlinks'

/**
 * @param make what stands where nothing is; without it that is the end
 * @returns every place on the way, the root first. What lies below a file is the file.
 */
export function walk(
  root: Place & { inode: Directory },
  path: readonly ByteString[],
  make?: (part: ByteString) => Place,
): Place[] | NoWay {
  const way: Place[] = [root]
  const left = path.toReversed()
  let symlinks = 0
  for (let part = left.pop(); part !== undefined; part = left.pop()) {
    const here = (way.at(-1) as Place).inode
    if (part === '' || part === '.') continue
    if (here.kind !== 'directory') return way
    if (part === '..') {
      if (way.length > 1) way.pop()
      continue
    }
    let next = here.children.get(part)
    if (next === undefined) {
      if (make === undefined) return 'something that is not there'
      next = make(part)
      here.children.set(part, next)
    }
    if (next.inode.kind !== 'symlink') {
      way.push(next)
      continue
    }
    symlinks += 1
    if (symlinks > symlinksMax) return 'a circle of symlinks'
    if (next.inode.target.startsWith('/')) way.length = 1
    left.push(...next.inode.target.split('/').reverse())
  }
  return way
}
