/**
 * u-root (LinuxBoot), which takes an iPXE script for a list: `kernel FILE ARGUMENTS…`, `initrd FILE,FILE`, `boot`. It knows no
 * variables, no labels and no `||`, and prints "Ignoring unsupported ipxe cmd" for any other word (u-root v0.16.0,
 * pkg/boot/netboot/ipxe/ipxe.go). It sends nothing but Go's user agent, so only a URL that names the machine gets one;
 * for the rest it reads pxelinux.cfg/01-<mac> (pkg/boot/netboot/pxe/pxe.go).
 */
import { MusterError } from '../../errors.ts'
import type { Given } from '../firmware.ts'
import { bootInterfaceArgument, fillTemplate, plainPath, type ScriptContext } from './template.ts'

/** net/http of Go, as u-root's pkg/curl uses it, without a name of its own. */
export function isURoot(userAgent: string | undefined): boolean {
  return userAgent?.startsWith('Go-http-client/') ?? false
}

/** @throws MusterError file-not-found for a machine that is to go on: a script without a kernel would count as bootable. */
export function uRootScript(given: Given, context: ScriptContext): string {
  if (given.give === 'skip')
    throw new MusterError('file-not-found', `Nothing is booted here: ${given.reason}`)
  const [kernel, initrd, args] =
    given.give === 'agent'
      ? [
          `agent/${given.arch}/kernel`,
          `agent/${given.arch}/initramfs`,
          [...context.agentArguments(given.arch), `muster.server=${context.agentServers}`],
        ]
      : [
          `../files/${plainPath(given.kernel)}`,
          given.initrd.map((path) => `../files/${plainPath(path)}`).join(','),
          given.arguments,
        ]
  return fillTemplate(
    'u-root/boot.ipxe',
    encodeURoot,
    { arguments: [...args, bootInterfaceArgument(context.mac)].filter((each) => each !== '').join(' ') },
    { kernel, initrdLine: initrd === '' ? '' : `initrd ${initrd}` },
  )
}

/** Its parser splits at line ends and white space and knows no quotes: only a line end could add a command. */
export function encodeURoot(text: string): string {
  return text.replace(/[^A-Za-z0-9 ._:,/=@%+[\]-]/g, '_').slice(0, 2048)
}
