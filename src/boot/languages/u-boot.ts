/**
 * U-Boot's boot.scr.uimg: commands for its hush shell in a legacy script image. The first script is the same for every board
 * and asks again by what the board knows of itself; `arch` and `cpu` come from U-Boot's build (CONFIG_ENV_VARS_UBOOT_CONFIG).
 */
import type { Arch } from '../../protocol/identifiers.ts'
import type { Given } from '../firmware.ts'
import { encodeScriptImage } from '../formats/legacy-image.ts'
import { bootInterfaceArgument, fillTemplate, plainPath, type ScriptContext, spoken } from './template.ts'

/** `U-Boot.armv8` in its DHCP vendor class, `arm` and `armv8` in its environment; 32-bit ARM says `arm` and `armv7`. */
export function uBootArchitecture(arch: string, cpu: string): Arch | undefined {
  if (cpu === 'armv8') return 'arm64'
  return arch === 'x86' ? 'amd64' : undefined
}

export function uBootFirstScript(context: Pick<ScriptContext, 'ipv6'> = {}): Uint8Array {
  return image('muster: ask', fillTemplate('u-boot/ask.cmd', encodeHush, {}, { ipv6: ipv6Flag(context) }))
}

/**
 * U-Boot asks over IPv4 unless each command says otherwise, last of all (cmd/net.c, parse_args, CONFIG_IPV6): one that came over IPv6
 * may have no IPv4 address of a server at all. `serverip6` stays in its environment. A build without IPv6 never comes here by it.
 */
function ipv6Flag({ ipv6 }: Pick<ScriptContext, 'ipv6'>): string {
  return ipv6 === true ? ' -ipv6' : ''
}

export function uBootScript(given: Given, context: ScriptContext): Uint8Array {
  return image(`muster: ${given.give}`, uBootCommands(given, context))
}

/** The text inside; what tests read. */
export function uBootCommands(given: Given, context: ScriptContext): string {
  const reason = spoken(given.reason)
  if (given.give === 'skip') return fillTemplate('u-boot/skip.cmd', encodeHush, { reason })
  const agent = given.give === 'agent'
  const fit = agent && given.firmware?.kernelFormat === 'fit'
  const files = agent
    ? [`agent/${given.arch}/${fit ? 'fit' : 'kernel'}`, ...(fit ? [] : [`agent/${given.arch}/initramfs`])]
    : [given.kernel, ...given.initrd.slice(0, 1)].map((path) => `files/${plainPath(path)}`)
  const args = agent
    ? [...context.agentArguments(given.arch), `muster.server=${context.agentServers}`]
    : given.arguments
  const deviceTree = given.firmware?.deviceTree
  const ipv6 = ipv6Flag(context)
  const load = (addressVariable: string, file: string, remember?: string) =>
    loadCommand(addressVariable, `${file}${ipv6}`, file, remember)
  return fillTemplate(
    'u-boot/boot.cmd',
    encodeHush,
    {
      message: agent ? reason : `UNVERIFIED: ${reason} - nothing checked it`,
      arguments: [...args, bootInterfaceArgument(context.mac)].filter((each) => each !== '').join(' '),
    },
    {
      kernel: files[0] ?? '',
      ipv6,
      deviceTree:
        deviceTree === undefined ? '' : load('fdt_addr_r', `files/${plainPath(deviceTree)}`, 'muster_fdt'),
      initrd: files[1] === undefined ? '' : load('ramdisk_addr_r', files[1]),
      boot: bootCommand(given.arch, { fit, initrd: files[1] !== undefined }),
    },
  )
}

/** `until`, so that a lost packet does not send the machine on to its disk. */
function loadCommand(addressVariable: string, source: string, file: string, remember?: string): string {
  const said = remember === undefined ? '' : `setenv ${remember} \${${addressVariable}}\n`
  return `${said}until tftpboot \${${addressVariable}} ${source}; do echo Muster: ${file} could not be loaded - trying again in 10 seconds; sleep 10; done`
}

/** doc/usage/cmd/booti.rst, bootm.rst; x86 has no device tree to hand over. */
function bootCommand(arch: Arch, options: { fit: boolean; initrd: boolean }): string {
  if (options.fit) return `bootm \${kernel_addr_r}#muster \${kernel_addr_r}#muster \${muster_fdt}`
  if (arch === 'amd64')
    return `zboot \${kernel_addr_r} 0${options.initrd ? ` \${ramdisk_addr_r} \${filesize}` : ''}`
  const ramdisk = options.initrd ? `\${ramdisk_addr_r}:\${filesize}` : '-'
  return `booti \${kernel_addr_r} ${ramdisk} \${muster_fdt}`
}

function image(name: string, commands: string): Uint8Array {
  return encodeScriptImage({ name, script: Buffer.from(commands) })
}

/**
 * Hush reads `;`, `&`, `|`, `$`, quotes, `\`, `#`, braces, parentheses, `<`, `>` (common/cli_hush.c). It was built without wildcards, so
 * the brackets of an IPv6 address stay what they are (run: 2025.01); in quotes, old builds would put a `\` before them.
 */
export function encodeHush(text: string): string {
  return text.replace(/[^A-Za-z0-9 ._:,/=@%+[\]-]/g, '_').slice(0, 2048)
}
