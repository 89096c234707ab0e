/**
 * Makes the boot agent: a Debian kernel as it is, and an initramfs with the programs that the agent uses.
 *
 *     agent.initrd = zstd(cpio of programs, modules, /init, agent.js) ‖ cpio of /etc/muster
 *
 * The first part depends on the lock and the bundle alone, so it is made once and kept; the second is one agent's configuration.
 */
import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { MusterError } from '../errors.ts'
import { systemReason } from '../system-error.ts'
import { type ImageSigner, signImage } from './authenticode.ts'
import type { CpioEntry } from './cpio.ts'
import { type DownloadOptions, fetchPackages, type Progress } from './download.ts'
import { compressCpio, plainCpio, rootSkeleton } from './initramfs.ts'
import { firmwareFiles, readKernel } from './kernel.ts'
import { type Architecture, type Lock, lockedPackages, parseLock } from './lock.ts'
import { replaceFile } from './partial-file.ts'
import { programsWithLibraries, unpackTree } from './tree.ts'
import { readStub, unifiedKernelImage } from './uki.ts'

export type Hardware = 'virtual' | 'server'

/** Where images/ is: the recipes are data of the program, beside src/. */
export const imagesFolder = join(import.meta.dirname, '../../images')
const lockFile = join(imagesFolder, 'agent/packages.lock')

/** What is new in agents whose inputs are the same: part of the cache's key. */
const recipeVersion = 3

const programs = ['usr/bin/busybox', 'usr/bin/curl', 'usr/bin/openssl', 'usr/bin/qjs', 'usr/sbin/kexec']

/**
 * What curl loads for protocols and names that neither agent nor hello image speaks (LDAP, Kerberos, RTMP, SSH, cookies' public suffixes,
 * international names).
 */
export const unusedLibraries = [
  'libgssapi_krb5.so.2',
  'libidn2.so.0',
  'liblber.so.2',
  'libldap.so.2',
  'libpsl.so.5',
  'librtmp.so.1',
  'libssh2.so.1',
]

export type BuildOptions = Omit<DownloadOptions, 'cacheDir' | 'progress'> & {
  arch: Architecture
  /** Packages are kept in `packages/` and finished parts in `images/` of it. */
  cacheDir: string
  outDir: string
  lock?: Lock
  progress?: Progress
}

export type BuildAgentOptions = BuildOptions & {
  hardware: Hardware
  /** /etc/muster/config.json and /etc/muster/root.json. */
  config: Uint8Array
  trustedRoot: Uint8Array
  /** Kernel arguments in the unified kernel image; other ways of booting bring their own. */
  commandLine: string
  /** Signs the unified kernel image for Secure Boot. */
  signer?: ImageSigner
  /** The agent as one ES module for `qjs`. */
  agentBundle: Uint8Array
}

export type BuiltAgent = BuiltImage & {
  /** Path of the unified kernel image, which UEFI starts itself (uki.ts). */
  unified: string
  unifiedBytes: number
  unifiedSha256: string
}

export type BuiltImage = {
  /** Paths of the files. */
  kernel: string
  initramfs: string
  kernelBytes: number
  initramfsBytes: number
  kernelSha256: string
  initramfsSha256: string
  /** `uname -r` of the kernel. */
  kernelRelease: string
  /** The newest date among the locked inputs, RFC 3339: no signed time before it can be true. */
  timeFloor: string
}

/**
 * Writes `kernel`, `initramfs` and `agent.efi`, which is both in one, into `outDir`.
 * @throws package-missing, download-failed as fetchPackages
 * @throws build-failed where the packages do not hold what the recipe needs
 */
export async function buildAgent(options: BuildAgentOptions): Promise<BuiltAgent> {
  const { arch, hardware } = options
  const lock = options.lock ?? (await readImagesLock())
  const sets = ['agent', `kernel-${hardware}`, ...(hardware === 'server' ? ['firmware'] : [])]
  const part = (name: string) => readFile(join(imagesFolder, 'agent', name))
  const [init, devices, modules] = await Promise.all(['init', 'devices.sh', 'modules.yaml'].map(part))
  const parts = [init!, devices!, modules!, options.agentBundle, hardware, 'agent']
  const base = await cachedBase(options, lock, sets, parts, async (files) => {
    const recipe = parse(modules!.toString()) as ModuleRecipe
    const kernel = await readKernel(files.kernel, recipe[hardware])
    const firmware = [...kernel.firmware].filter((name) => !recipe['without-firmware'].includes(name))
    const entries = [
      ...rootSkeleton(),
      ...programsWithLibraries({
        tree: await unpackTree(files.programs),
        arch,
        programs,
        stubs: unusedLibraries,
      }),
      ...kernel.modules,
      ...(await firmwareFiles(files.firmware, firmware)),
      executable('init', init!),
      plainFile('usr/lib/muster/devices.sh', devices!),
      plainFile('usr/lib/muster/agent.js', options.agentBundle),
    ]
    return { kernel: kernel.image, release: kernel.release, initramfs: await compressCpio(entries) }
  })
  const settings = plainCpio([
    { type: 'directory', path: 'etc/muster', mode: 0o755 },
    plainFile('etc/muster/config.json', options.config),
    plainFile('etc/muster/root.json', options.trustedRoot),
  ])
  const image = await writeImage(options.outDir, base, [settings], lock)
  return { ...image, ...(await writeUnified(options, base, [settings], lock)) }
}

async function writeUnified(
  options: BuildAgentOptions,
  base: Base,
  more: readonly Buffer[],
  lock: Lock,
): Promise<Pick<BuiltAgent, 'unified' | 'unifiedBytes' | 'unifiedSha256'>> {
  const { arch, commandLine } = options
  const packages = lockedPackages(lock, ['stub'], arch)
  const cacheDir = join(options.cacheDir, 'packages')
  const [stub] = (await fetchPackages(packages, { ...options, cacheDir })).values()
  const unsigned = unifiedKernelImage({
    arch,
    stub: await readStub(stub!, arch),
    kernel: base.kernel,
    initramfs: Buffer.concat([base.initramfs, ...more]),
    commandLine,
    osRelease: { ID: 'muster-agent', NAME: 'Muster boot agent', PRETTY_NAME: 'Muster boot agent' },
    kernelRelease: base.release,
  })
  const { signer } = options
  const bytes = signer === undefined ? unsigned : signImage(unsigned, signer, 'the agent')
  const unified = join(options.outDir, 'agent.efi')
  await writeOut(unified, bytes)
  const unifiedSha256 = createHash('sha256').update(bytes).digest('hex')
  return { unified, unifiedBytes: bytes.length, unifiedSha256 }
}

export async function readImagesLock(): Promise<Lock> {
  return parseLock(await readFile(lockFile, 'utf8'), lockFile)
}

export const executable = (path: string, bytes: Uint8Array): CpioEntry => ({
  type: 'file',
  path,
  mode: 0o755,
  bytes,
})
export const plainFile = (path: string, bytes: Uint8Array): CpioEntry => ({
  type: 'file',
  path,
  mode: 0o644,
  bytes,
})

export type Base = { kernel: Buffer; release: string; initramfs: Buffer }
type PackageFiles = { kernel: string; programs: string[]; firmware: string[] }

/**
 * The part of an image that its lock and recipe decide, made or taken from the cache. A cached part is trusted as far as the folder
 * it lies in: it is the server's own, like its keys.
 */
export async function cachedBase(
  options: BuildOptions,
  lock: Lock,
  sets: readonly string[],
  recipe: readonly (string | Uint8Array)[],
  make: (files: PackageFiles) => Promise<Base>,
): Promise<Base> {
  const packages = lockedPackages(lock, sets, options.arch)
  const key = createHash('sha256').update(`${recipeVersion} ${process.versions.zstd}\n`)
  for (const item of packages) key.update(`${item.sha256} ${item.name} ${item.sets}\n`)
  for (const part of recipe) key.update(createHash('sha256').update(part).digest())
  const folder = join(options.cacheDir, 'images', key.digest('hex').slice(0, 32))
  const cached = await readBase(folder)
  if (cached !== undefined) return cached
  const files = await fetchPackages(packages, { ...options, cacheDir: join(options.cacheDir, 'packages') })
  const filesOf = (wanted: (set: string) => boolean) =>
    packages.filter((item) => item.sets.some(wanted)).map((item) => files.get(item.name)!)
  const [kernel] = filesOf((set) => set.startsWith('kernel-'))
  if (kernel === undefined)
    throw new MusterError('build-failed', 'The package lock has no kernel; make it with --refresh.')
  const made = await make({
    kernel,
    programs: filesOf((set) => set === 'agent' || set === 'hello'),
    firmware: filesOf((set) => set === 'firmware'),
  })
  await writeBase(folder, made)
  return made
}

export async function writeImage(
  outDir: string,
  base: Base,
  more: readonly Buffer[],
  lock: Lock,
): Promise<BuiltImage> {
  await mkdir(outDir, { recursive: true })
  const initramfs = Buffer.concat([base.initramfs, ...more])
  const paths = { kernel: join(outDir, 'kernel'), initramfs: join(outDir, 'initramfs') }
  await writeOut(paths.kernel, base.kernel)
  await writeOut(paths.initramfs, initramfs)
  return {
    ...paths,
    kernelBytes: base.kernel.length,
    initramfsBytes: initramfs.length,
    kernelSha256: createHash('sha256').update(base.kernel).digest('hex'),
    initramfsSha256: createHash('sha256').update(initramfs).digest('hex'),
    kernelRelease: base.release,
    timeFloor: lock.date,
  }
}

async function writeOut(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await replaceFile(path, bytes)
  } catch (cause) {
    throw new MusterError(
      'build-failed',
      `${path} could not be written: ${systemReason(cause)}. See to the disk, or choose another folder.`,
      { cause, details: { path } },
    )
  }
}

/** images/agent/modules.yaml: names of modules by hardware, and firmware to leave out. */
export type ModuleRecipe = Record<Hardware, string[]> & { 'without-firmware': string[] }

async function readBase(folder: string): Promise<Base | undefined> {
  try {
    const [kernel, initramfs, release] = await Promise.all([
      readFile(join(folder, 'kernel')),
      readFile(join(folder, 'initramfs')),
      readFile(join(folder, 'release'), 'utf8'),
    ])
    return { kernel, initramfs, release }
  } catch {
    return undefined
  }
}

/** `release` comes last: a folder without it is not read. */
async function writeBase(folder: string, base: Base): Promise<void> {
  await mkdir(folder, { recursive: true })
  await replaceFile(join(folder, 'kernel'), base.kernel)
  await replaceFile(join(folder, 'initramfs'), base.initramfs)
  await replaceFile(join(folder, 'release'), base.release)
}
