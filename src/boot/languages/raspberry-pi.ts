/**
 * A Raspberry Pi reads config.txt and cmdline.txt where others read a script. The kernel and the initramfs that they name are ours
 * under names of our own; everything else below the machine's folder is the Pi's firmware (raspberrypi/documentation,
 * "EEPROM boot flow", "config.txt").
 */
import type { Given } from '../firmware.ts'
import { bootInterfaceArgument, fillTemplate, type ScriptContext, spoken } from './template.ts'

export const piKernel = 'muster-kernel'
export const piInitramfs = 'muster-initramfs'

type Bootable = Exclude<Given, { give: 'skip' }>

export function piConfig(
  given: Pick<Extract<Bootable, { give: 'agent' }>, 'give' | 'reason'> | Bootable,
): string {
  const hasInitramfs = given.give === 'agent' || given.initrd.length > 0
  return fillTemplate(
    'raspberry-pi/config.txt',
    encodePiConfig,
    { message: spoken(given.give === 'agent' ? given.reason : `UNVERIFIED: ${given.reason}`) },
    { kernel: piKernel, initramfsLine: hasInitramfs ? `initramfs ${piInitramfs} followkernel` : '' },
  )
}

/** One line; what a Pi's firmware adds to it (board, serial console, MAC address) comes from its device tree. */
export function piCommandLine(given: Bootable, context: ScriptContext): string {
  const args =
    given.give === 'agent'
      ? [...context.agentArguments(given.arch), `muster.server=${context.agentServers}`]
      : given.arguments
  return piArguments([...args, bootInterfaceArgument(context.mac)])
}

/** cmdline.txt of these arguments. */
export function piArguments(args: readonly string[]): string {
  return fillTemplate('raspberry-pi/cmdline.txt', encodePiCommandLine, {
    arguments: args.filter((each) => each !== '').join(' '),
  })
}

/** The firmware cuts a line of config.txt after 98 characters, and reads `[` as a filter at the beginning of one. */
export function encodePiConfig(text: string): string {
  return text.replace(/[^A-Za-z0-9 ._:,/=@%+-]/g, '_').slice(0, 80)
}

export function encodePiCommandLine(text: string): string {
  return text.replace(/[^A-Za-z0-9 ._:,/=@%+[\]-]/g, '_').slice(0, 2048)
}
