/**
 * A Raspberry Pi's firmware from Debian: boot code of Pi 3 and 4 (`raspi-firmware`, component non-free-firmware; a Pi 5 has its own in its
 * EEPROM), and the device trees of the kernel that the agent for real hardware is made of. Its licence allows to pass it on together
 * with its text, and to use it with Raspberry Pis alone; so it is made where the operator asks for it.
 */
import { mkdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { MusterError } from '../errors.ts'
import { readImagesLock } from './agent-image.ts'
import { readDeb } from './deb.ts'
import { type DownloadOptions, fetchPackages } from './download.ts'
import { type Lock, lockedPackages } from './lock.ts'
import { replaceFile } from './partial-file.ts'

const sets = ['raspberry-pi', 'kernel-server']
/** Boot code, without its variants that only a config.txt of one's own asks for, its licence, and the boards' device trees. */
const wanted =
  /^usr\/(?:lib\/raspi-firmware\/(?:bootcode\.bin|start4?\.elf|fixup4?\.dat)|share\/doc\/raspi-firmware\/copyright|lib\/linux-image-[^/]+\/broadcom\/bcm2[78][^/]*\.dtb)$/
/** Without one of these some board would not boot; the packages are not what they were. */
const needed = [
  'bootcode.bin',
  'start.elf',
  'fixup.dat',
  'start4.elf',
  'fixup4.dat',
  'copyright',
  'bcm2837-rpi-3-b.dtb',
  'bcm2711-rpi-4-b.dtb',
]

/** What it downloads, for those who only fill a cache. */
export const raspberryPiPackages = (lock: Lock) => lockedPackages(lock, sets, 'arm64')

/**
 * Writes the firmware into `outDir`, all in one folder as a Pi looks for it, and gives the names.
 * @throws package-missing, download-failed as fetchPackages
 * @throws build-failed where a package lacks what a board needs
 */
export async function fetchRaspberryPiFirmware(
  options: DownloadOptions & { outDir: string; lock?: Lock },
): Promise<string[]> {
  const lock = options.lock ?? (await readImagesLock())
  const files = await fetchPackages(raspberryPiPackages(lock), {
    ...options,
    cacheDir: join(options.cacheDir, 'packages'),
  })
  const found = new Map<string, Uint8Array>()
  for (const file of files.values())
    for (const entry of (await readDeb(file, (path) => wanted.test(path))).values())
      if (entry.type === 'file' && wanted.test(entry.path)) found.set(basename(entry.path), entry.bytes)
  const missing = needed.filter((name) => !found.has(name))
  if (missing.length > 0)
    throw new MusterError(
      'build-failed',
      `The packages '${sets.join("' and '")}' have no ${missing.join(', ')}; put them into raspberry-pi/ of the files folder yourself.`,
    )
  await mkdir(options.outDir, { recursive: true })
  for (const [name, bytes] of found) await replaceFile(join(options.outDir, name), bytes)
  return [...found.keys()].sort()
}
