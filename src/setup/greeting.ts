/**
 * What `npm start` prints: addresses, the lines a DHCP server needs and what to back up as soon as it listens; what is missing
 * and the next command when the preparation is over.
 */
import { join } from 'node:path'
import { reachableHost } from '../boot/urls.ts'
import type { Config } from '../config/schema.ts'
import { isLoopbackHost } from '../http/admin-access.ts'
import { missingLine } from '../http/admin-status.ts'
import type { Commands } from './commands.ts'
import type { Missing } from './first-start.ts'
import { ownHosts } from './own-hosts.ts'
import type { Paths } from './paths.ts'

export type Greeting = {
  config: Config
  paths: Paths
  commands: Commands
  ports: { firmware: number; agent: number; admin: number; tftp: number | undefined }
  /** The admin token when this start made it: printed here once, and never logged. */
  newToken: string | undefined
  /** Whether nobody was told before what a first start tells. */
  firstStart: boolean
}

/** Addresses at every start; the rest at the first one, or when something is not as it should be. */
export function greeting(facts: Greeting): string[] {
  const { commands, config, ports, newToken, firstStart } = facts
  const host = hostOf(config)
  const inUrl = reachableHost({ advertise: host, serverAddress: host })
  const tftp = ports.tftp === undefined ? '' : `, TFTP ${ports.tftp}`
  const lines = [
    '',
    `Muster serves machines at http://${inUrl}:${ports.firmware}${tftp}; their agents at https://${inUrl}:${ports.agent}.`,
    isLoopbackHost(config.admin.host)
      ? `Commands: ${commands.muster} --help, on this machine; from others when admin.host lets them in.`
      : `Commands: ${commands.muster} --help, on this machine; from others by the API on port ${ports.admin}.`,
  ]
  if (ports.tftp !== undefined && ports.tftp !== 69) lines.push(...lowPortLines(ports.tftp, config.tftp.port))
  const onlyHere = config.advertise === undefined && isLoopbackHost(host)
  if (onlyHere) lines.push(`Only this machine reaches it: firmware.host is ${config.firmware.host}.`)
  if (config.dhcp.mode !== 'off') lines.push(dhcpLine(config))
  if (firstStart) lines.push(...firstStartLines(facts, onlyHere ? undefined : host))
  else if (!onlyHere && config.dhcp.mode === 'off')
    lines.push(`Lines for your DHCP server: docs/dhcp.md, with ${host} for the address.`)
  if (newToken !== undefined) {
    lines.push(
      '',
      `Token for the API, shown this once (${commands.muster} token new makes another):`,
      `  ${newToken}`,
    )
  }
  return [...lines, '']
}

/** When the preparation is over; nothing where nothing was made and nothing is missing. */
export function preparedLines(facts: {
  missing: readonly Missing[]
  made: boolean
  commands: Commands
}): string[] {
  const { commands, made, missing } = facts
  if (missing.length === 0) return made ? ['', `See a machine boot:  ${commands.boot}`, ''] : []
  const lines = missing.flatMap((one) => ['', commands.typed(missingLine(one))])
  lines.push('', 'What is here is served. Start again when that is mended.')
  if (missing.some(({ code }) => code === 'download-failed'))
    lines.push(
      'No mirror in reach? Run ./muster agent fetch where there is one, and copy its cache folder here.',
    )
  return [...lines, '']
}

/** `host`: what other machines reach; undefined: none does. */
function firstStartLines({ config, paths, ports }: Greeting, host: string | undefined): string[] {
  const lines = ['']
  if (host !== undefined && config.dhcp.mode === 'off')
    lines.push(
      'Give your DHCP server these lines (dnsmasq; docs/dhcp.md has ISC, Kea, OpenWrt):',
      ...dnsmasqLines(host, ports.firmware).map((line) => `  ${line}`),
      '',
    )
  if (config.image.hardware === 'virtual' && config.image.prepare)
    lines.push(
      'The agent knows virtual machines. For a rack: image.hardware: server in muster.yaml, and start again.',
    )
  lines.push(...keyLines(config, paths))
  if (config.enrolment.mode === 'auto' && config.releases.upstream === undefined && config.image.prepare)
    lines.push('New machines get the demonstration image by themselves; for anything more you are asked.')
  return lines
}

/** A follower has no root.pem: what its agents trust beside upstream's root is its agent plane's key alone. */
function keyLines({ releases }: Config, paths: Paths): string[] {
  if (releases.upstream === undefined)
    return [`Back up ${paths.keys} now: without its root.pem every agent in the field has to be replaced.`]
  return [
    `It follows ${releases.upstream.url} and signs plans with the plan key of that server: ${join(paths.keys, releases.repository, 'plan.pem')} (docs/followers.md).`,
    `Back up ${paths.keys} now: without its agent-plane.key.pem agents on flash or a stick do not know this server any more.`,
  ]
}

function dhcpLine({ dhcp }: Config): string {
  const does = {
    off: '',
    proxy: 'says what to boot, beside the DHCP server that is there',
    server: 'gives addresses and says what to boot',
    auto: 'gives addresses where nobody else does, and says what to boot',
  }
  return `DHCP (${dhcp.mode}): ${does[dhcp.mode]}.`
}

/** @param chosen tftp.port: one other than 69 is a person's choice, and no right of a user would change it. */
function lowPortLines(port: number, chosen: number): string[] {
  if (chosen !== 69)
    return [
      '',
      `PXE ROMs cannot use TFTP here: they ask port 69 only, and tftp.port is ${port}. Without tftp.port it is 69.`,
    ]
  return [
    '',
    `PXE ROMs cannot use TFTP here: they ask port 69 only, which this user may not take; it is at ${port}. As root, then start again:`,
    '  sysctl net.ipv4.ip_unprivileged_port_start=69',
  ]
}

/**
 * RFC 4578 architectures: 0 BIOS, 7 and 9 UEFI x64, 11 UEFI arm64, 16 and 19 UEFI HTTP Boot, 22 U-Boot arm64. iPXE is known by option
 * 175; U-Boot's UEFI, where iPXE hangs, by option 94 (dhcp/client.ts).
 */
export function dnsmasqLines(host: string, firmwarePort: number): string[] {
  const http = `http://${reachableHost({ advertise: host, serverAddress: host })}:${firmwarePort}/boot`
  return [
    'dhcp-match=set:ipxe,175',
    'dhcp-match=set:bios,option:client-arch,0',
    'dhcp-match=set:efi64,option:client-arch,7',
    'dhcp-match=set:efi64,option:client-arch,9',
    'dhcp-match=set:arm64,option:client-arch,11',
    'dhcp-match=set:http64,option:client-arch,16',
    'dhcp-match=set:httparm64,option:client-arch,19',
    'dhcp-match=set:uboot64,option:client-arch,22',
    'dhcp-match=set:uboot,94,01:00:00',
    `dhcp-boot=tag:ipxe,${http}/autoexec.ipxe`,
    `dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe,muster,${host}`,
    `dhcp-boot=tag:!ipxe,tag:efi64,ipxe-amd64.efi,muster,${host}`,
    `dhcp-boot=tag:!ipxe,tag:!uboot,tag:arm64,ipxe-arm64.efi,muster,${host}`,
    `dhcp-boot=tag:uboot,tag:arm64,agent-arm64.efi,muster,${host}`,
    `dhcp-boot=tag:uboot64,boot.scr.uimg,muster,${host}`,
    'dhcp-option-force=tag:http64,60,HTTPClient',
    `dhcp-boot=tag:http64,${http}/agent-amd64.efi`,
    'dhcp-option-force=tag:httparm64,60,HTTPClient',
    `dhcp-boot=tag:httparm64,${http}/agent-arm64.efi`,
  ]
}

/** The host to print: the name that was given, the one address that is listened on, else one that others may reach. */
function hostOf(config: Config): string {
  return ownHosts(config)[0] ?? '127.0.0.1'
}
