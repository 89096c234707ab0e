/**
 * boot.img: the boot agent and a Raspberry Pi's firmware in one FAT file system, which the EEPROM loads by HTTP, from a stick or
 * from an SD card, and with secure boot only when boot.sig is made with the board's key. Its config.txt and cmdline.txt are the
 * same for every board, because HTTP boot does not say who asks.
 */
import { MusterError } from '../errors.ts'
import { encodeFat16 } from './formats/fat16.ts'
import { piArguments, piConfig, piInitramfs, piKernel } from './languages/raspberry-pi.ts'
import { firmwareFiles } from './raspberry-pi-lint.ts'

/** Never in an image: what updates an EEPROM, and images themselves. */
const leftOut = /^(boot\.(img|sig)|pieeprom\..*|vl805\..*|recovery\.bin|config\.txt|cmdline\.txt)$/

/** Linux, Documentation/arch/arm64/booting.rst: its magic at byte 56. */
function isArm64Kernel(kernel: Uint8Array): boolean {
  return Buffer.from(kernel.subarray(56, 60)).toString('latin1') === 'ARM\x64'
}

export type PiImage = { image: Uint8Array; boards: string[]; lacking: string[] }

/**
 * @param content.firmware by path below the firmware's folder: `start4.elf`, `overlays/disable-bt.dtbo`.
 * @returns the image, the boards that it boots, and for the others what they lack
 * @throws MusterError `file-not-found` when no board's firmware is whole, `build-failed` for a kernel that is not for arm64 and as the FAT
 * writer says
 */
export function makePiImage(content: {
  kernel: Uint8Array
  initramfs: Uint8Array
  firmware: Readonly<Record<string, Uint8Array>>
  /** Kernel arguments of the agent. */
  arguments: readonly string[]
}): PiImage {
  if (!isArm64Kernel(content.kernel)) {
    const sentence =
      "The agent's kernel is not for arm64: build it with 'muster agent build --arch arm64 --hardware server'."
    throw new MusterError('build-failed', sentence)
  }
  const firmware = Object.fromEntries(
    Object.entries(content.firmware).filter(([name]) => !leftOut.test(name)),
  )
  const boards: string[] = []
  const lacking: string[] = []
  for (const [board, names] of Object.entries(firmwareFiles)) {
    const missing = names.filter((name) => firmware[name] === undefined)
    if (missing.length === 0) boards.push(board)
    else lacking.push(`${board} lacks ${missing.join(', ')}`)
  }
  if (boards.length === 0) {
    const sentence = `The firmware is whole for no board (${lacking.join('; ')}). docs/boot-methods.md says where it comes from.`
    throw new MusterError('file-not-found', sentence)
  }
  const config = piConfig({ give: 'agent', reason: 'boot agent of every board that loads this image' })
  const image = encodeFat16(
    {
      ...firmware,
      'config.txt': Buffer.from(config),
      'cmdline.txt': Buffer.from(piArguments(content.arguments)),
      [piKernel]: content.kernel,
      [piInitramfs]: content.initramfs,
    },
    { label: 'MUSTER' },
  )
  return { image, boards, lacking }
}
