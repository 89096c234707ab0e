/**
 * A unified kernel image: kernel, initramfs and arguments in one PE that UEFI starts itself, with Debian's systemd stub in front
 * (UAPI.5 "Unified Kernel Image"). One signature over it covers all three.
 *
 *     .text … .reloc    the stub
 *     .osrel            what it is, for a person and for boot menus
 *     .cmdline          kernel arguments; under Secure Boot the stub takes no others
 *     .uname            `uname -r`
 *     .initrd           the agent's initramfs with its configuration
 *     .linux            the kernel; last, as the stub may let it run where it lies
 */
import { MusterError } from '../errors.ts'
import { readDeb } from './deb.ts'
import type { Architecture } from './lock.ts'
import { addSections, peMachines, readPe } from './pe.ts'

const stubs: Record<Architecture, string> = {
  amd64: 'usr/lib/systemd/boot/efi/linuxx64.efi.stub',
  arm64: 'usr/lib/systemd/boot/efi/linuxaa64.efi.stub',
}

export type UnifiedKernelParts = {
  arch: Architecture
  stub: Buffer
  kernel: Uint8Array
  initramfs: Uint8Array
  /** Kernel arguments, one line of ASCII. */
  commandLine: string
  osRelease: Readonly<Record<string, string>>
  kernelRelease: string
}

/** The same bytes for the same parts. @throws build-failed */
export function unifiedKernelImage(parts: UnifiedKernelParts): Buffer {
  const { arch, stub, kernel } = parts
  if (!/^[\x20-\x7e]*$/.test(parts.commandLine))
    throw new MusterError(
      'build-failed',
      `The kernel arguments '${parts.commandLine}' are not one line of ASCII.`,
    )
  for (const [what, image] of Object.entries({ 'the boot stub': stub, 'the kernel': Buffer.from(kernel) })) {
    const { machine } = readPe(image, what)
    if (machine !== peMachines[arch])
      throw new MusterError(
        'build-failed',
        `${what} is for machine 0x${machine.toString(16)}, not for ${arch}.`,
      )
  }
  const osRelease = Object.entries(parts.osRelease).map(([key, value]) => `${key}=${quoted(value)}\n`)
  const text = (value: string) => Buffer.from(value)
  return addSections(
    stub,
    [
      { name: '.osrel', bytes: text(osRelease.join('')) },
      { name: '.cmdline', bytes: text(parts.commandLine) },
      { name: '.uname', bytes: text(parts.kernelRelease) },
      { name: '.initrd', bytes: parts.initramfs },
      { name: '.linux', bytes: kernel, code: true },
    ],
    'the boot stub',
  )
}

/** @param file the package systemd-boot-efi. @throws build-failed */
export async function readStub(file: string, arch: Architecture): Promise<Buffer> {
  const entry = (await readDeb(file, (path) => path === stubs[arch])).get(stubs[arch])
  if (entry?.type !== 'file')
    throw new MusterError('build-failed', `${file} has no ${stubs[arch]}: not the package systemd-boot-efi.`)
  return entry.bytes
}

/** os-release(5): quoted where it is not a plain word. */
function quoted(value: string): string {
  return /^[A-Za-z0-9._-]+$/.test(value) ? value : `"${value.replace(/["$`\\]/g, '\\$&')}"`
}
