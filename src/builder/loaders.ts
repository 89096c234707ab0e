/** Boot loaders from Debian's packages, for every architecture: what a PXE ROM or UEFI fetches first. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '../errors.ts'
import { readImagesLock } from './agent-image.ts'
import { readDeb } from './deb.ts'
import { type DownloadOptions, fetchPackages } from './download.ts'
import { type Architecture, type Lock, lockedPackages } from './lock.ts'
import { replaceFile } from './partial-file.ts'

type Source = { set: string; arch: Architecture; path: string }

const ipxe = (name: string): Source => ({ set: 'loaders', arch: 'amd64', path: `usr/lib/ipxe/${name}` })
const signed = (arch: Architecture, path: string): Source => ({ set: 'loaders-signed', arch, path })

/** Where each stands in its package, by the name that it is served under. */
const loaders = {
  /** BIOS: uses the network card's own driver (UNDI). */
  'undionly.kpxe': ipxe('undionly.kpxe'),
  /** UEFI on x64: all of iPXE's drivers; under a second name that older DHCP configurations have. */
  'ipxe-amd64.efi': ipxe('ipxe-amd64.efi'),
  'ipxe.efi': ipxe('ipxe-amd64.efi'),
  /** UEFI on x64: uses the firmware's driver. */
  'snponly.efi': ipxe('snponly.efi'),
  'ipxe-arm64.efi': ipxe('ipxe-arm64.efi'),
  /**
   * Secure Boot with Microsoft's keys: shim, which firmware trusts, and GRUB, which shim does. Shim asks for GRUB by this name beside
   * itself, in the folder of DHCP's boot file: by TFTP from siaddr (shim, netboot.c, parseDhcp4), by HTTP where it came so (httpboot.c).
   */
  'shimx64.efi': signed('amd64', 'usr/lib/shim/shimx64.efi.signed'),
  'grubx64.efi': signed('amd64', 'usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed'),
  'shimaa64.efi': signed('arm64', 'usr/lib/shim/shimaa64.efi.signed'),
  'grubaa64.efi': signed('arm64', 'usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed'),
} as const

/**
 * Writes the loaders into `outDir` and gives their paths by name.
 * @throws package-missing, download-failed as fetchPackages
 * @throws build-failed where the package lacks one
 */
export async function fetchLoaders(
  options: DownloadOptions & { outDir: string; lock?: Lock },
): Promise<Record<keyof typeof loaders, string>> {
  const lock = options.lock ?? (await readImagesLock())
  const cacheDir = join(options.cacheDir, 'packages')
  await mkdir(options.outDir, { recursive: true })
  const wanted = new Map(Object.values(loaders).map((source) => [`${source.set} ${source.arch}`, source]))
  const found = new Map<string, Buffer>()
  for (const { set, arch } of wanted.values()) {
    const files = await fetchPackages(lockedPackages(lock, [set], arch), { ...options, cacheDir })
    for (const file of files.values())
      for (const entry of (
        await readDeb(file, (path) => /^usr\/lib\/(ipxe|shim|grub)\//.test(path))
      ).values())
        if (entry.type === 'file') found.set(`${set} ${arch} ${entry.path}`, entry.bytes)
  }
  const written: [string, string][] = []
  for (const [name, { set, arch, path: source }] of Object.entries(loaders)) {
    const bytes = found.get(`${set} ${arch} ${source}`)
    if (bytes === undefined)
      throw new MusterError('build-failed', `The packages '${set}' for ${arch} have no ${source}.`)
    const path = join(options.outDir, name)
    await replaceFile(path, bytes)
    written.push([name, path])
  }
  return Object.fromEntries(written) as Record<keyof typeof loaders, string>
}
