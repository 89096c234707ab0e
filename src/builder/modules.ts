/**
 * Chooses kernel modules and writes the tables that `modprobe` reads. Debian makes those tables on the installed machine
 * (depmod), so they are not in the package: what a module depends on, serves and loads stands in its own `.modinfo`, NUL-separated
 * `name=value` (Linux, include/linux/module.h).
 */
import { MusterError } from '../errors.ts'
import { elfSection } from './elf.ts'
import { compareText } from './lock.ts'

export type KernelModule = {
  name: string
  /** Below /usr/lib/modules/<release>: `kernel/drivers/net/virtio_net.ko`. */
  path: string
  bytes: Buffer
  depends: string[]
  aliases: string[]
  /** Modules to load before it that it does not name as symbols (`softdep: pre:`). */
  softDepends: string[]
  firmware: string[]
}

/** A kernel package's modules by name (dashes as underscores), still compressed. */
export type ModuleSource = {
  /** Path below the modules folder, `kernel/…/name.ko.xz`, by module name. */
  paths: ReadonlyMap<string, string>
  builtin: ReadonlySet<string>
  /** The module's ELF bytes. */
  load: (path: string) => Promise<Buffer>
}

/**
 * The wanted modules and all that they need, by name. What is built into the kernel counts as there; a wanted module that this kernel
 * does not have is left out (architectures differ), one that another needs is an error.
 * @throws build-failed
 */
export async function closeModules(
  wanted: readonly string[],
  source: ModuleSource,
): Promise<Map<string, KernelModule>> {
  const found = new Map<string, KernelModule>()
  const queue = wanted.map(moduleName).filter((name) => source.paths.has(name))
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    if (found.has(name) || source.builtin.has(name)) continue
    const path = source.paths.get(name)
    if (path === undefined)
      throw new MusterError(
        'build-failed',
        `A kernel module needs '${name}', which the kernel package lacks.`,
      )
    const module = readModule(name, path.replace(/\.(xz|zst|gz)$/, ''), await source.load(path))
    found.set(name, module)
    queue.push(...module.depends, ...module.softDepends.filter((soft) => source.paths.has(soft)))
  }
  return new Map([...found].sort(([a], [b]) => compareText(a, b)))
}

export function readModule(name: string, path: string, bytes: Buffer): KernelModule {
  const fields = (elfSection(bytes, '.modinfo', path) ?? Buffer.alloc(0)).toString('latin1').split('\0')
  const all = (key: string) =>
    fields.filter((field) => field.startsWith(`${key}=`)).map((field) => field.slice(key.length + 1))
  const softDepends = all('softdep').flatMap(
    (text) => /pre:\s*([^:]*?)(?:\s*post:.*)?$/.exec(text)?.[1]?.split(/\s+/) ?? [],
  )
  return {
    name,
    path,
    bytes,
    depends: all('depends')
      .flatMap((text) => text.split(','))
      .filter((text) => text !== '')
      .map(moduleName),
    aliases: all('alias'),
    softDepends: softDepends.filter((text) => text !== '').map(moduleName),
    firmware: all('firmware'),
  }
}

/**
 * modules.dep and modules.alias as modprobe reads them: a line of modules.dep names a module and everything to load before it, the
 * innermost last. Soft dependencies are listed like hard ones, which BusyBox's modprobe then loads first.
 */
export function moduleTables(modules: ReadonlyMap<string, KernelModule>): { dep: string; alias: string } {
  const needs = (module: KernelModule) =>
    [...module.softDepends, ...module.depends].flatMap((name) => modules.get(name) ?? [])
  const closure = (module: KernelModule, seen = new Set<KernelModule>()): Set<KernelModule> => {
    for (const needed of needs(module)) {
      // Deeper ones are moved behind those that need them.
      seen.delete(needed)
      seen.add(needed)
      closure(needed, seen)
    }
    return seen
  }
  const all = [...modules.values()]
  return {
    dep: all
      .map((module) => `${[`${module.path}:`, ...[...closure(module)].map((m) => m.path)].join(' ')}\n`)
      .join(''),
    alias: all.flatMap((module) => module.aliases.map((alias) => `alias ${alias} ${module.name}\n`)).join(''),
  }
}

/** `kernel/drivers/net/virtio-net.ko.xz` or `virtio-net` to `virtio_net`: the kernel writes names with underscores. */
export function moduleName(path: string): string {
  return path
    .slice(path.lastIndexOf('/') + 1)
    .replace(/\.ko(\.(xz|zst|gz))?$/, '')
    .replaceAll('-', '_')
}
