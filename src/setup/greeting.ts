/** What `npm start` prints: addresses, the lines a DHCP server needs, what to back up, and the next command. */
import { networkInterfaces } from 'node:os'
import type { Config } from '../config/schema.ts'
import type { Missing } from './first-start.ts'
import type { Paths } from './paths.ts'

export type Greeting = {
  config: Config
  paths: Paths
  ports: { firmware: number; agent: number; admin: number; tftp: number | undefined }
  /** The admin token, when this start made it. */
  newToken: string | undefined
  missing: readonly Missing[]
  firstStart: boolean
}

export function greeting({ config, paths, ports, newToken, missing, firstStart }: Greeting): string[] {
  const host = config.advertise ?? ownAddress() ?? '127.0.0.1'
  const http = `http://${host}:${ports.firmware}`
  const lines = [
    '',
    `Muster serves machines at ${http}/boot/autoexec.ipxe`,
    `  firmware plane  ${config.firmware.host}:${ports.firmware} (HTTP)${ports.tftp === undefined ? '' : `, ${config.tftp.host}:${ports.tftp} (TFTP)`}`,
    `  agent plane     ${config.agent.host}:${ports.agent} (TLS, pinned key)`,
    `  admin plane     ${config.admin.host}:${ports.admin}, and ${paths.socket} for ./muster on this machine`,
    '',
    'Your DHCP server needs these lines (dnsmasq; docs/dhcp.md has ISC, Kea, OpenWrt):',
    ...dnsmasqLines(host, ports.firmware).map((line) => `  ${line}`),
  ]
  if (ports.tftp !== undefined && ports.tftp !== 69) {
    lines.push(
      '',
      `TFTP is on port ${ports.tftp}, because this user may not take 69. PXE ROMs ask port 69 only. Once, as root:`,
      '  sysctl net.ipv4.ip_unprivileged_port_start=69      (then start again)',
    )
  }
  if (firstStart) {
    lines.push(
      '',
      `${paths.keys} holds every key of this site. Back it up now: losing root.pem means flashing every agent again.`,
    )
    if (config.enrolment.mode === 'auto' && config.releases.upstream === undefined) {
      lines.push(
        'New machines are approved by themselves for the demonstration image only; anything more asks you first.',
      )
    }
  }
  if (newToken !== undefined) {
    lines.push('', 'The admin token, shown this once (./muster token new makes another):', `  ${newToken}`)
  }
  for (const { what, code, reason } of missing) lines.push('', `MISSING: ${what} (${code}). ${reason}`)
  if (missing.length > 0) lines.push('Start again when that is mended; what is here is served meanwhile.')
  else lines.push('', 'See a machine boot:  npm run boot')
  return [...lines, '']
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
