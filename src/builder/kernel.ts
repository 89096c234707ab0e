/** A Debian kernel package: the kernel itself, and the modules and firmware that machines of a kind need. */
import { MusterError } from '../errors.ts'
import type { CpioEntry } from './cpio.ts'
import { type DebEntry, decompressXz, readDeb } from './deb.ts'
import { closeModules, type KernelModule, moduleName, moduleTables } from './modules.ts'
import { followLinks } from './tree.ts'

export type Kernel = { release: string; image: Buffer; modules: CpioEntry[]; firmware: Set<string> }

/**
 * Modules are packed uncompressed: the archive around them compresses better, and BusyBox need not unpack them.
 * @throws build-failed where the package holds no kernel
 */
export async function readKernel(fileName: string, wantedModules: readonly string[]): Promise<Kernel> {
  const entries = await readDeb(fileName, (path) =>
    /^boot\/vmlinuz-|^usr\/lib\/modules\/[^/]+\/(kernel\/|modules\.)/.test(path),
  )
  const image = [...entries.values()].find((entry) => entry.path.startsWith('boot/vmlinuz-'))
  if (image?.type !== 'file')
    throw new MusterError('build-failed', `${fileName} holds no boot/vmlinuz-…: not a kernel package.`)
  const release = image.path.slice('boot/vmlinuz-'.length)
  const folder = `usr/lib/modules/${release}`
  const modules = await closeModules(wantedModules, moduleSource(entries, folder))
  return {
    release,
    image: image.bytes,
    modules:
      modules.size === 0 ? [] : packModules(modules, folder, text(entries, `${folder}/modules.builtin`)),
    firmware: new Set([...modules.values()].flatMap((module) => module.firmware)),
  }
}

/**
 * Of the firmware that modules name, what the packages have, under the names that the kernel asks for. A module may name more than there
 * is: it works with several versions, or with cards that nobody ships firmware for.
 */
export async function firmwareFiles(
  packages: readonly string[],
  names: Iterable<string>,
): Promise<CpioEntry[]> {
  const wanted = [...names]
  const found = new Map<string, CpioEntry>()
  for (const fileName of packages) {
    const tree = await readDeb(fileName, (path) => path.startsWith('usr/lib/firmware/'))
    for (const name of wanted) {
      const path = `usr/lib/firmware/${name}`
      const file = followLinks(tree, path)
      if (file !== undefined) found.set(path, { type: 'file', path, mode: 0o644, bytes: file.bytes })
    }
  }
  return [...found.values()]
}

function moduleSource(entries: ReadonlyMap<string, DebEntry>, folder: string) {
  const paths = new Map<string, string>()
  for (const path of entries.keys())
    if (/\.ko(\.xz)?$/.test(path)) paths.set(moduleName(path), path.slice(folder.length + 1))
  const builtin = new Set(text(entries, `${folder}/modules.builtin`).split('\n').map(moduleName))
  const load = async (path: string) => {
    const entry = entries.get(`${folder}/${path}`)
    if (entry?.type !== 'file') throw new MusterError('build-failed', `The kernel package has no ${path}.`)
    return path.endsWith('.xz') ? await decompressXz(entry.bytes, path) : entry.bytes
  }
  return { paths, builtin, load }
}

/** Modules with the tables that modprobe reads, below `folder`. */
export function packModules(
  modules: Map<string, KernelModule>,
  folder: string,
  builtin: string,
): CpioEntry[] {
  const file = (path: string, bytes: Uint8Array): CpioEntry => ({
    type: 'file',
    path: `${folder}/${path}`,
    mode: 0o644,
    bytes,
  })
  const tables = moduleTables(modules)
  return [
    ...[...modules.values()].map((module) => file(module.path, module.bytes)),
    file('modules.dep', Buffer.from(tables.dep)),
    file('modules.alias', Buffer.from(tables.alias)),
    file('modules.builtin', Buffer.from(builtin)),
  ]
}

function text(entries: ReadonlyMap<string, DebEntry>, path: string): string {
  const entry = entries.get(path)
  return entry?.type === 'file' ? entry.bytes.toString('latin1') : ''
}
