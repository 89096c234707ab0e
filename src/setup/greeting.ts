/** What `npm start` prints: addresses, the lines a DHCP server needs, what to back up, and the next command. */
import { networkInterfaces } from 'node:os'
import type { Config } from '../config/schema.ts'
import { isLoopbackHost } from '../http/admin-access.ts'
import type { Missing } from './first-start.ts'
import type { Paths } from './paths.ts'

export type Greeting = {
  config: Config
  paths: Paths
  ports: { firmware: number; agent: number; admin: number; tftp: number | undefined }
  /** The admin token when this start made it: printed here once, and never logged. */
  newToken: string | undefined
  missing: readonly Missing[]
  firstStart: boolean
}

/** Addresses at every start; the rest at the first one, or when something is not as it should be. */
export function greeting(facts: Greeting): string[] {
  const { config, ports, newToken, missing, firstStart } = facts
  const host = config.advertise ?? ownAddress() ?? '127.0.0.1'
  const tftp = ports.tftp === undefined ? '' : `, TFTP ${ports.tftp}`
  const lines = [
    '',
    `Muster serves machines at http://${host}:${ports.firmware}${tftp}; their agents at https://${host}:${ports.agent}.`,
    isLoopbackHost(config.admin.host)
      ? 'Commands: ./muster --help, on this machine; from others when admin.host lets them in.'
      : `Commands: ./muster --help, on this machine; from others by the API on port ${ports.admin}.`,
  ]
  if (ports.tftp !== undefined && ports.tftp !== 69) lines.push(...lowPortLines(ports.tftp))
  if (firstStart) lines.push(...firstStartLines(facts, host))
  else lines.push(`Lines for your DHCP server: docs/dhcp.md, with ${host} for the address.`)
  if (newToken !== undefined) {
    lines.push('', 'Token for the API, shown this once (./muster token new makes another):', `  ${newToken}`)
  }
  for (const { what, code, reason } of missing) lines.push('', `MISSING: ${what} (${code}). ${reason}`)
  if (missing.length > 0) lines.push('', 'What is here is served. Start again when that is mended.')
  if (missing.some(({ code }) => code === 'download-failed'))
    lines.push(
      'No mirror in reach? Run ./muster agent fetch where there is one, and copy its cache folder here.',
    )
  if (missing.length === 0 && firstStart) lines.push('', 'See a machine boot:  npm run boot')
  return [...lines, '']
}

function firstStartLines({ config, paths, ports }: Greeting, host: string): string[] {
  const lines = [
    '',
    'Give your DHCP server these lines (dnsmasq; docs/dhcp.md has ISC, Kea, OpenWrt):',
    ...dnsmasqLines(host, ports.firmware).map((line) => `  ${line}`),
    '',
    `Back up ${paths.keys} now: without its root.pem every agent in the field has to be replaced.`,
  ]
  if (config.enrolment.mode === 'auto' && config.releases.upstream === undefined)
    lines.push('New machines get the demonstration image by themselves; for anything more you are asked.')
  return lines
}

function lowPortLines(port: number): string[] {
  return [
    '',
    `PXE ROMs cannot use TFTP here: they ask port 69, this user may take ${port} only. As root, then start again:`,
    '  sysctl net.ipv4.ip_unprivileged_port_start=69',
  ]
}

/** RFC 4578 architectures: 0 BIOS, 7 and 9 UEFI x64, 11 UEFI arm64, 16 and 19 UEFI HTTP Boot. iPXE is known by option 175. */
export function dnsmasqLines(host: string, firmwarePort: number): string[] {
  const http = `http://${host}:${firmwarePort}/boot`
  return [
    'dhcp-match=set:ipxe,175',
    'dhcp-match=set:bios,option:client-arch,0',
    'dhcp-match=set:efi64,option:client-arch,7',
    'dhcp-match=set:efi64,option:client-arch,9',
    'dhcp-match=set:arm64,option:client-arch,11',
    'dhcp-match=set:http64,option:client-arch,16',
    'dhcp-match=set:httparm64,option:client-arch,19',
    `dhcp-boot=tag:ipxe,${http}/autoexec.ipxe`,
    `dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe,muster,${host}`,
    `dhcp-boot=tag:!ipxe,tag:efi64,ipxe-amd64.efi,muster,${host}`,
    `dhcp-boot=tag:!ipxe,tag:arm64,ipxe-arm64.efi,muster,${host}`,
    'dhcp-option-force=tag:http64,60,HTTPClient',
    `dhcp-boot=tag:http64,${http}/ipxe-amd64.efi`,
    'dhcp-option-force=tag:httparm64,60,HTTPClient',
    `dhcp-boot=tag:httparm64,${http}/ipxe-arm64.efi`,
  ]
}

/** An address of this machine that others may reach: the first that is not loopback, IPv4 before IPv6. */
function ownAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const outside = all.filter(({ internal, address }) => !internal && !address.startsWith('fe80'))
  return (outside.find(({ family }) => family === 'IPv4') ?? outside[0])?.address
}
