/**
 * An operating system for netboot out of a container image: its kernel, an initramfs of ours that mounts its root file system from
 * memory, and that file system. The initramfs needs no driver of the machine, so the image's own is not used, and need not be there.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip, zstdDecompress } from 'node:zlib'
import { MusterError } from '../errors.ts'
import { type Bootable, findKernel } from '../layers/bootable.ts'
import type { FileTree } from '../layers/file-tree.ts'
import type { Flattened } from '../layers/flatten.ts'
import { executable, imagesFolder, unusedLibraries } from './agent-image.ts'
import { decompressXz } from './deb.ts'
import { compressCpio, rootSkeleton } from './initramfs.ts'
import { packModules } from './kernel.ts'
import type { Architecture } from './lock.ts'
import { closeModules, moduleName } from './modules.ts'
import { programsWithLibraries, unpackTree } from './tree.ts'

/** What the initramfs loads; built in is as good. */
const wantedModules = ['loop', 'erofs', 'overlay']
/** The largest kernels of distributions have 60 MB. */
const kernelBytesMax = 256 * 1024 * 1024
const moduleBytesMax = 64 * 1024 * 1024

export type BootParts = { kernel: Buffer; initramfs: Buffer; kernelVersion: string }

/**
 * @param programs Debian packages that hold BusyBox
 * @throws layer-invalid where the image has no kernel; build-failed where its kernel cannot do what is needed
 */
export async function makeBootParts(options: {
  flattened: Flattened
  arch: Architecture
  programs: readonly string[]
}): Promise<BootParts> {
  const { arch, flattened } = options
  const found = findKernel(flattened.tree)
  const kernel = await readWhole(flattened, found.kernel, kernelBytesMax)
  const modules = await readModules(flattened, found)
  const init = await readFile(join(imagesFolder, 'ram-root/init'))
  const busybox = programsWithLibraries({
    tree: await unpackTree(options.programs),
    arch,
    programs: ['usr/bin/busybox'],
    stubs: unusedLibraries,
  })
  const initramfs = await compressCpio([...rootSkeleton(), ...busybox, ...modules, executable('init', init)])
  return { kernel, initramfs, kernelVersion: found.version }
}

async function readModules(flattened: Flattened, { version }: Bootable) {
  const folder = `usr/lib/modules/${version}`
  const builtinFile = flattened.tree.lookup(`${folder}/modules.builtin`)
  const builtinText =
    builtinFile?.kind === 'file'
      ? (await readWhole(flattened, builtinFile, moduleBytesMax)).toString('latin1')
      : ''
  const builtin = new Set(builtinText.split('\n').map(moduleName))
  const paths = new Map<string, string>()
  for (const path of modulePaths(flattened.tree, folder)) paths.set(moduleName(path), path)
  const missing = wantedModules.filter((name) => !builtin.has(name) && !paths.has(name))
  if (missing.length > 0)
    throw new MusterError(
      'build-failed',
      `The image's kernel ${version} has no ${missing.join(', no ')}, which a root file system in memory needs.`,
    )
  const load = async (path: string) => {
    const inode = flattened.tree.lookup(`${folder}/${path}`)
    if (inode?.kind !== 'file') throw new MusterError('build-failed', `The image has no ${folder}/${path}.`)
    return await decompressModule(path, await readWhole(flattened, inode, moduleBytesMax))
  }
  const modules = await closeModules(wantedModules, { paths, builtin, load })
  return modules.size === 0 ? [] : packModules(modules, folder, builtinText)
}

/** Below the folder: `kernel/fs/erofs/erofs.ko.xz`. */
function modulePaths(tree: FileTree, folder: string): string[] {
  const paths: string[] = []
  const visit = (path: string) => {
    const inode = tree.lookup(`${folder}/${path}`)
    if (inode?.kind === 'directory') for (const name of inode.children.keys()) visit(`${path}/${name}`)
    else if (/\.ko(\.(xz|zst|gz))?$/.test(path)) paths.push(path)
  }
  visit('kernel')
  return paths
}

async function decompressModule(path: string, bytes: Buffer): Promise<Buffer> {
  const limit = { maxOutputLength: moduleBytesMax }
  if (path.endsWith('.xz')) return await decompressXz(bytes, path)
  if (path.endsWith('.zst')) return await promisify(zstdDecompress)(bytes, limit)
  if (path.endsWith('.gz')) return await promisify(gunzip)(bytes, limit)
  return bytes
}

async function readWhole(
  { read }: Flattened,
  { at, size }: Bootable['kernel'],
  bytesMax: number,
): Promise<Buffer> {
  if (size > bytesMax)
    throw new MusterError(
      'layer-invalid',
      `A kernel or module has ${size} bytes, at most ${bytesMax} make sense.`,
    )
  const parts: Uint8Array[] = []
  for await (const part of read(at, size)) parts.push(part)
  return Buffer.concat(parts)
}
