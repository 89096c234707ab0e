/** iPXE's boot loaders from Debian's package `ipxe`: what a PXE ROM or UEFI fetches first, for every architecture. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '../errors.ts'
import { readImagesLock } from './agent-image.ts'
import { readDeb } from './deb.ts'
import { type DownloadOptions, fetchPackages } from './download.ts'
import { type Lock, lockedPackages } from './lock.ts'
import { replaceFile } from './partial-file.ts'

/** What each is called when served, and in the package. */
const loaders = {
  /** BIOS: uses the network card's own driver (UNDI). */
  'undionly.kpxe': 'undionly.kpxe',
  /** UEFI on x64: all of iPXE's drivers; under a second name that older DHCP configurations have. */
  'ipxe-amd64.efi': 'ipxe-amd64.efi',
  'ipxe.efi': 'ipxe-amd64.efi',
  /** UEFI on x64: uses the firmware's driver. */
  'snponly.efi': 'snponly.efi',
  'ipxe-arm64.efi': 'ipxe-arm64.efi',
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
  const [file] = (
    await fetchPackages(lockedPackages(lock, ['loaders'], 'amd64'), { ...options, cacheDir })
  ).values()
  const entries = await readDeb(file!, (path) => path.startsWith('usr/lib/ipxe/'))
  await mkdir(options.outDir, { recursive: true })
  const written: [string, string][] = []
  for (const [name, source] of Object.entries(loaders)) {
    const entry = entries.get(`usr/lib/ipxe/${source}`)
    if (entry?.type !== 'file')
      throw new MusterError('build-failed', `${file} has no ${source}: not the package ipxe.`)
    const path = join(options.outDir, name)
    await replaceFile(path, entry.bytes)
    written.push([name, path])
  }
  return Object.fromEntries(written) as Record<keyof typeof loaders, string>
}
