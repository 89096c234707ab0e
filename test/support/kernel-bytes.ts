/** Bytes that begin as a kernel does (src/builder/kernel-format.ts), for images of a few bytes. */
import type { Arch } from '../../src/protocol/identifiers.ts'

/** A copy with the header of a kernel over its own beginning; the rest stays what it was. */
export function asKernel(bytes: Buffer, arch: Arch = 'amd64'): Buffer {
  const kernel = Buffer.from(bytes)
  if (arch === 'arm64') {
    kernel.write('ARM\x64', 0x38, 'latin1')
    return kernel
  }
  kernel.writeUInt16LE(0xaa55, 0x1fe)
  kernel.write('HdrS', 0x202, 'latin1')
  kernel.writeUInt16LE(0x020f, 0x206)
  kernel.writeUInt16LE(3, 0x236)
  return kernel
}
