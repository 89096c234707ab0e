/** Kernel arguments of the boot agent where the configuration gives none. */
import type { Config } from './schema.ts'

/**
 * A PC's firmware does not say where a person sits, so both of its usual consoles are named. On arm64 none is: the first `console=`
 * keeps Linux from the serial port that the device tree names in stdout-path (of_console_check: a Rockchip's ttyS2, a Pi 4's ttyS1, a
 * Pi 5's ttyAMA10) and from SPCR's, which no fixed list has all of. With a device tree the screen is a console then too;
 * with SPCR it shows what the agent says, and no kernel messages.
 */
const defaults = {
  amd64: ['console=tty0', 'console=ttyS0,115200'],
  arm64: [],
} as const

export function agentArgumentsOf(
  { image }: Pick<Config, 'image'>,
  arch: keyof typeof defaults,
): readonly string[] {
  return image.arguments ?? defaults[arch]
}
