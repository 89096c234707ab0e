/**
 * Puts an initial root file system together: the same for the agent and the hello image, and the same bytes every time.
 *
 * Compressed by zstd, which the kernel unpacks many times faster than xz; docs/decisions/0008 has the numbers.
 */
import { promisify } from 'node:util'
import { constants, zstdCompress } from 'node:zlib'
import { type CpioEntry, encodeCpio } from './cpio.ts'

/**
 * The kernel takes a window of up to 128 MiB (lib/decompress_unzstd.c, ZSTD_WINDOWSIZE_MAX); 32 MiB spans all that we pack and is
 * what unpacking then takes of memory.
 */
const windowLog = 25

const link = (path: string, target: string): CpioEntry => ({ type: 'symlink', path, target })

/** Folders, links and the two devices that /init needs before it has mounted anything. */
export function rootSkeleton(): CpioEntry[] {
  const folders = [
    'dev',
    'etc',
    'mnt',
    'proc',
    'root',
    'run',
    'sys',
    'tmp',
    'usr/bin',
    'usr/lib',
    'usr/lib64',
    'usr/sbin',
    'var',
  ]
  return [
    ...folders.map((path): CpioEntry => ({ type: 'directory', path, mode: path === 'root' ? 0o700 : 0o755 })),
    ...['bin', 'lib', 'lib64', 'sbin'].map((name) => link(name, `usr/${name}`)),
    { type: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { type: 'character-device', path: 'dev/null', mode: 0o666, major: 1, minor: 3 },
    link('usr/bin/sh', 'busybox'),
    link('var/run', '../run'),
  ]
}

/** A compressed archive, filled up to a multiple of four so that another may follow it. */
export async function compressCpio(entries: readonly CpioEntry[]): Promise<Buffer> {
  const archive = encodeCpio(entries)
  const compressed = await promisify(zstdCompress)(archive, {
    params: {
      [constants.ZSTD_c_compressionLevel]: 19,
      [constants.ZSTD_c_windowLog]: windowLog,
      [constants.ZSTD_c_enableLongDistanceMatching]: 1,
      // One thread: how work is shared out must not show in the bytes.
      [constants.ZSTD_c_nbWorkers]: 0,
      [constants.ZSTD_c_contentSizeFlag]: 1,
    },
    pledgedSrcSize: archive.length,
  })
  return alignFour(compressed)
}

/** Small files of one build (configuration, trusted root) as an archive of their own: it stands after the big one and wins over it. */
export function plainCpio(entries: readonly CpioEntry[]): Buffer {
  return alignFour(encodeCpio(entries))
}

/** Between two archives the kernel skips NULs, and looks for the next one at multiples of four (init/initramfs.c). */
function alignFour(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}
