/**
 * pxelinux.cfg, for SYSLINUX, U-Boot's `pxe` command and u-root, which read three dialects of it:
 *
 *   - Paths are relative to the folder of the boot file (syslinux wiki, "Working directory"; U-Boot boot/pxe_utils.c get_relfile).
 *   - INITRD stands before APPEND: U-Boot looks for `initrd=` in what it appends while it knows no INITRD yet, and crashes
 *     when no space follows it (parse_label).
 *   - BOOTIF is written out, because u-root knows no IPAPPEND and the name that was asked for says the address.
 *   - U-Boot expands `$` and `\` in APPEND (cli_simple_process_macros), and takes what follows `#` in KERNEL for a FIT configuration.
 */
import type { Given } from '../firmware.ts'
import { bootInterfaceArgument, fillTemplate, plainPath, type ScriptContext, spoken } from './template.ts'

export function pxelinuxConfig(given: Given, context: ScriptContext): string {
  const reason = spoken(given.reason)
  if (given.give === 'skip') return fillTemplate('pxelinux/skip.cfg', encodePxelinux, { reason })
  const label = (given.give === 'agent' ? agentLines : unverifiedLines)(given as never)
  const args =
    given.give === 'agent'
      ? [...context.agentArguments(given.arch), `muster.server=${context.agentServers}`]
      : given.arguments
  const message = given.give === 'agent' ? reason : `UNVERIFIED: ${reason} - nothing checked it`
  const append = [...args, bootInterfaceArgument(context.mac)].filter((each) => each !== '')
  const lines = [...label, ...deviceTreeLines(given)].map((line) => `  ${line}`).join('\n')
  return fillTemplate(
    'pxelinux/boot.cfg',
    encodePxelinux,
    { message, arguments: append.join(' ') },
    { lines },
  )
}

function agentLines({ arch, firmware }: Extract<Given, { give: 'agent' }>): string[] {
  if (firmware?.kernelFormat === 'fit') return [`LINUX agent/${arch}/fit#muster`]
  return [`LINUX agent/${arch}/kernel`, `INITRD agent/${arch}/initramfs`]
}

function unverifiedLines({ kernel, initrd }: Extract<Given, { give: 'unverified' }>): string[] {
  const path = (name: string) => `files/${plainPath(name)}`
  return [`LINUX ${path(kernel)}`, ...(initrd.length === 0 ? [] : [`INITRD ${initrd.map(path).join(',')}`])]
}

/** FDT names one file and fails without it; FDTDIR lets U-Boot choose, and its own device tree serves where it finds none. */
function deviceTreeLines({ firmware }: Exclude<Given, { give: 'skip' }>): string[] {
  if (firmware?.deviceTree !== undefined) return [`FDT files/${plainPath(firmware.deviceTree)}`]
  if (firmware?.deviceTrees !== undefined) return [`FDTDIR files/${plainPath(firmware.deviceTrees)}`]
  return []
}

/** One line, no expansion, no second initrd. A lone `-` after APPEND would mean "nothing" to SYSLINUX; ours never stands alone. */
export function encodePxelinux(text: string): string {
  return text
    .replace(/[^A-Za-z0-9 ._:,/=@%+[\]-]/g, '_')
    .replace(/initrd=/gi, 'initrd_')
    .slice(0, 2048)
}
