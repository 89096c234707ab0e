/**
 * A FIT (flattened image tree, U-Boot doc/usage/fit/source_file_format.rst): a device tree whose /images hold kernel and
 * initramfs with a hash each, and whose /configurations say what belongs together. For boards without `booti`. It is not signed:
 * the hashes find a broken transfer, not an attacker.
 */
import type { Arch } from '../../protocol/identifiers.ts'
import { encodeDeviceTree, type TreeNode, type TreePart } from './device-tree.ts'

export type FitContent = { elsewhere: string; size: number; sha256: Uint8Array }

/** U-Boot's names (boot/image.c, uimage_arch). */
const architectures: Readonly<Record<Arch, string>> = { amd64: 'x86_64', arm64: 'arm64' }

/**
 * The image in parts, as it is sent. `kernel_noload`: U-Boot puts the kernel where it wants it, because where memory begins differs
 * from board to board.
 */
export function encodeFit(options: {
  description: string
  arch: Arch
  kernel: FitContent
  initramfs?: FitContent | undefined
}): TreePart[] {
  const { description, arch, kernel, initramfs } = options
  const shared = { arch: architectures[arch], os: 'linux', compression: 'none' }
  const root: TreeNode = {
    properties: { description, timestamp: 0, '#address-cells': 1 },
    children: {
      images: {
        properties: {},
        // The initramfs first: U-Boot moves an arm64 kernel up to the next 2 MiB before it takes the initramfs out (boot/bootm.c,
        // bootm_load_os; arch/arm/lib/image.c), over whatever follows the kernel. Run: with the kernel first, an initramfs that is no archive.
        children: {
          ...(initramfs === undefined
            ? {}
            : { initramfs: imageNode(initramfs, { description: 'initramfs', type: 'ramdisk', ...shared }) }),
          kernel: imageNode(kernel, {
            ...{ description: 'kernel', type: 'kernel_noload', ...shared },
            ...{ load: 0, entry: 0 },
          }),
        },
      },
      configurations: {
        properties: { default: 'muster' },
        children: {
          muster: {
            properties: {
              description,
              kernel: 'kernel',
              ...(initramfs === undefined ? {} : { ramdisk: 'initramfs' }),
            },
            children: {},
          },
        },
      },
    },
  }
  return encodeDeviceTree(root)
}

function imageNode(content: FitContent, properties: TreeNode['properties']): TreeNode {
  const { elsewhere, size, sha256 } = content
  return {
    properties: { ...properties, data: { elsewhere, size } },
    children: { 'hash-1': { properties: { algo: 'sha256', value: sha256 }, children: {} } },
  }
}
