/**
 * Whether the agent's kexec can load a file as a kernel, told by the first bytes of it: before it is signed, because afterwards only a
 * machine finds out.
 *
 *     amd64   bzImage: "HdrS" at 0x202, protocol version at 0x206, XLF_KERNEL_64 in bit 0 at 0x236 (Linux, x86/boot.rst). Nothing
 *             else: kexec -s hands the file to the kernel, which reads no other and unpacks nothing
 *     arm64   Image: "ARM\x64" at 0x38 (Linux, arm64/booting.rst), as it is or gzipped; EFI zboot: "MZ", "zimg" at 4, the
 *             compression's name at 0x18 (Linux, zboot-header.S). kexec-tools 2.0.29 unpacks gzip and lzma
 */
import { constants, gunzipSync } from 'node:zlib'
import type { Arch } from '../protocol/identifiers.ts'
import { peMachines } from './pe.ts'

/** How many of a file's first bytes tell what it is; also of a gzipped one. */
export const kernelHeadBytes = 4096

const wanted: Record<Arch, string> = {
  amd64: 'a bzImage for 64 bits, as distributions call vmlinuz',
  arm64: 'an Image, plain, gzipped, or as an EFI zboot',
}

type Found = { what: string; arch?: Arch }

/**
 * What keeps machines of `arch` from loading it, as a clause; undefined: nothing that can be seen.
 *
 * @param head at least `kernelHeadBytes`, or all of a shorter file. Attacker-controlled
 */
export function kernelProblem(head: Buffer, arch: Arch): string | undefined {
  const { arch: made, what } = identify(head)
  if (made === arch) return undefined
  return `it is ${what}, and kexec on ${arch} takes ${wanted[arch]}`
}

function identify(head: Buffer): Found {
  return linuxKernel(head) ?? gzipped(head) ?? { what: otherFile(head) }
}

function linuxKernel(head: Buffer): Found | undefined {
  if (head.length >= 0x238 && textAt(head, 0x202, 4) === 'HdrS') {
    // Version 2.12 brought xloadflags.
    const is64 = head.readUInt16LE(0x206) >= 0x020c && (head.readUInt16LE(0x236) & 1) === 1
    return is64 ? { what: 'a bzImage of amd64', arch: 'amd64' } : { what: 'a bzImage for 32 bits' }
  }
  if (textAt(head, 0x38, 4) === 'ARM\x64') return { what: 'an Image of arm64', arch: 'arm64' }
  if (textAt(head, 0, 2) === 'MZ' && textAt(head, 4, 4) === 'zimg') return zboot(head)
  return undefined
}

function zboot(head: Buffer): Found {
  const by = textAt(head, 0x18, 32).split('\0')[0] ?? ''
  if (machineOf(head) !== peMachines.arm64) return { what: 'an EFI zboot of another processor' }
  if (by === 'gzip' || by === 'lzma') return { what: 'an EFI zboot of arm64', arch: 'arm64' }
  return { what: `an EFI zboot compressed by '${by.replace(/[^\w.-]/g, '?')}', which kexec cannot unpack` }
}

function gzipped(head: Buffer): Found | undefined {
  if (!startsWith(head, '1f8b')) return undefined
  let inner: Buffer
  try {
    // Of the beginning alone: the stream ends in the middle, and is flushed there.
    inner = gunzipSync(head.subarray(0, kernelHeadBytes), { finishFlush: constants.Z_SYNC_FLUSH })
  } catch {
    return { what: 'a damaged gzip file' }
  }
  const found = linuxKernel(inner)
  if (found?.arch === 'arm64') return found
  return { what: `gzipped (${found?.what ?? otherFile(inner)} in it)` }
}

/** By the first bytes, what is published in a kernel's place by mistake. */
const others: readonly [string, string][] = [
  ['7f454c46', 'an ELF file, such as a vmlinux'],
  ['303730373031', 'a cpio archive, such as an initramfs'],
  ['fd377a585a00', 'compressed by xz'],
  ['28b52ffd', 'compressed by zstd'],
  ['d00dfeed', 'a device tree or FIT image'],
  ['27051956', 'a uImage of U-Boot'],
]

function otherFile(head: Buffer): string {
  const known = others.find(([magic]) => startsWith(head, magic))
  if (known !== undefined) return known[1]
  if (head.length >= 0x28 && head.readUInt32LE(0x24) === 0x016f2818) return 'a zImage of 32-bit ARM'
  if (textAt(head, 0, 2) === 'MZ' && machineOf(head) !== undefined)
    return 'a UEFI executable without the header of a kernel, such as a unified kernel image (publish the kernel in it)'
  if (textAt(head, 257, 5) === 'ustar') return 'a tar archive'
  if (head.every((byte) => (byte >= 0x20 && byte < 0x7f) || (byte >= 9 && byte <= 13))) return 'text'
  return 'no kernel by its first bytes'
}

/** `IMAGE_FILE_HEADER.Machine` of a PE image. */
function machineOf(head: Buffer): number | undefined {
  if (head.length < 64) return undefined
  const at = head.readUInt32LE(60)
  return at + 6 <= head.length && textAt(head, at, 4) === 'PE\0\0' ? head.readUInt16LE(at + 4) : undefined
}

const textAt = (head: Buffer, at: number, length: number) => head.toString('latin1', at, at + length)
const startsWith = (head: Buffer, hex: string) => head.subarray(0, hex.length / 2).toString('hex') === hex
