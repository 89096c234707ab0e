/**
 * The kernel of a bootable container, where the distributions put it:
 *
 *   bootc   /usr/lib/modules/VERSION/vmlinuz                       (bootc, "Bootable images"; nothing in /boot)
 *   Debian  /boot/vmlinuz-VERSION                                  (linux-image packages)
 *   Kairos  /boot/vmlinuz, a symlink to the same as Debian's       (kairos-init)
 *
 * Modules lie below /usr/lib/modules/VERSION everywhere. Of several kernels the newest is taken.
 */
import { MusterError } from '../errors.ts'
import type { ByteString } from './byte-string.ts'
import type { FileTree } from './file-tree.ts'
import type { Inode } from './inode.ts'

export type Bootable = {
  kernel: Extract<Inode, { kind: 'file' }>
  /** Its path, for sentences. */
  path: ByteString
  version: ByteString
}

/** @throws layer-invalid where there is no kernel with modules, saying where it was looked for */
export function findKernel(tree: FileTree): Bootable {
  const found = [...bootcKernels(tree), ...debianKernels(tree)]
  const newest = found.sort((a, b) => compareVersions(a.version, b.version)).at(-1)
  if (newest !== undefined) return newest
  throw new MusterError(
    'layer-invalid',
    'The image has no kernel: neither /usr/lib/modules/VERSION/vmlinuz nor /boot/vmlinuz-VERSION with /usr/lib/modules/VERSION. ' +
      'Install one in its Dockerfile, as in `RUN apt-get install -y linux-image-cloud-amd64`.',
  )
}

function* bootcKernels(tree: FileTree): Generator<Bootable, void, void> {
  for (const version of namesIn(tree, 'usr/lib/modules')) {
    const path = `usr/lib/modules/${version}/vmlinuz`
    const kernel = tree.lookup(path)
    if (kernel?.kind === 'file') yield { kernel, path, version }
  }
}

function* debianKernels(tree: FileTree): Generator<Bootable, void, void> {
  for (const name of namesIn(tree, 'boot')) {
    const version = /^vmlinu[xz]-(.+)$/.exec(name)?.[1]
    if (version === undefined || namesIn(tree, `usr/lib/modules/${version}`).length === 0) continue
    const path = `boot/${name}`
    const kernel = tree.lookup(path)
    if (kernel?.kind === 'file') yield { kernel, path, version }
  }
}

function namesIn(tree: FileTree, path: ByteString): ByteString[] {
  const inode = tree.lookup(path)
  return inode?.kind === 'directory' ? [...inode.children.keys()].sort() : []
}

/** Numbers as numbers, everything else as text: 6.12.9 comes before 6.12.10. */
export function compareVersions(a: ByteString, b: ByteString): number {
  const parts = (version: ByteString): string[] => version.match(/\d+|\D+/g) ?? []
  const [left, right] = [parts(a), parts(b)]
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const [one, other] = [left[index] ?? '', right[index] ?? '']
    if (one === other) continue
    if (/^\d/.test(one) && /^\d/.test(other) && Number(one) !== Number(other))
      return Number(one) - Number(other)
    return one < other ? -1 : 1
  }
  return 0
}
