/**
 * What DHCP tells each firmware to load. One table: a firmware that learns something new gets another row.
 *
 *     firmware                 gets
 *     iPXE, any                the first script, by HTTP where its build can, else by TFTP; never a loader again
 *     PXE ROM of a BIOS, UEFI  an iPXE that was built for it, by TFTP
 *     UEFI HTTP Boot           the agent itself, as one UEFI executable; no iPXE between
 *     U-Boot's UEFI            the agent itself, by TFTP: iPXE hangs there
 *     U-Boot                   the name that its scripts ask for, and this server for the rest
 *     Raspberry Pi             this server: the boot ROM asks for names of its own
 */
import type { Platform } from '../dhcp/architectures.ts'
import type { ClientKind, DhcpClient } from '../dhcp/client.ts'
import type { BootAnswer } from '../dhcp/reply.ts'
import { isIpv6, reachableHost } from './urls.ts'

type Row = { by: 'tftp' | 'http'; file: string }

const tftp = (file: string): Row => ({ by: 'tftp', file })
const http = (path: string): Row => ({ by: 'http', file: path })

const table: Readonly<Record<ClientKind, Partial<Record<Platform | 'any', Row>>>> = {
  ipxe: { any: http('boot/autoexec.ipxe') },
  pxe: {
    bios: tftp('undionly.kpxe'),
    'uefi-x64': tftp('ipxe-amd64.efi'),
    'uefi-arm64': tftp('ipxe-arm64.efi'),
  },
  http: {
    'uefi-x64': http('boot/agent-amd64.efi'),
    'uefi-arm64': http('boot/agent-arm64.efi'),
  },
  // No option 209: U-Boot's `pxe get` would then ask for that one file and not for the machine's own.
  'u-boot': { any: tftp('boot.scr.uimg') },
  'raspberry-pi': { any: tftp('') },
  'u-root': {},
  other: {},
}

/**
 * iPXE for arm64 hangs under U-Boot at its first prompt: it naps until an interrupt (wfi), and U-Boot has none for it (run: U-Boot
 * 2025.01 with Debian 13's iPXE). The agent as one executable starts there. What U-Boot calls UEFI on other processors was not tried.
 */
const unifiedByTftp = tftp('agent-arm64.efi')

/** iPXE without HTTP, as some ROMs of network cards are. */
const scriptByTftp = tftp('autoexec.ipxe')

export type DhcpBoot = (client: DhcpClient, server: string) => BootAnswer | { nothing: string }

/** @param ports those that are listened on; port 69 is the only one that firmware asks by TFTP. */
export function createDhcpBoot(options: {
  /** Host that machines reach this server at; undefined: the address on their own segment. */
  advertise: string | undefined
  ports: () => { firmware: number; tftp: number | undefined }
}): DhcpBoot {
  const { advertise, ports } = options
  return (client, server) => {
    const row = rowOf(client)
    if (row === undefined) return { nothing: `there is nothing to boot for ${client.what} here` }
    const nextServer = advertise !== undefined && /^\d+(\.\d+){3}$/.test(advertise) ? advertise : server
    // Firmware that asks for an IPv4 address boots over IPv4: EDK2 then asks DNS for any other host (HttpDxe, EfiHttpRequest).
    const overIpv4 = advertise !== undefined && isIpv6(advertise) ? undefined : advertise
    if (row.by === 'http') {
      const host = reachableHost({ advertise: overIpv4, serverAddress: server })
      return { file: `http://${host}:${ports().firmware}/${row.file}`, nextServer }
    }
    const port = ports().tftp
    if (port !== tftpPort)
      return {
        nothing: `${client.what} asks for TFTP at port ${tftpPort} only, and this server ${port === undefined ? 'serves no TFTP (tftp.enabled)' : `has port ${port}`}: docs/ports.md`,
      }
    return { file: row.file, nextServer }
  }
}

const tftpPort = 69

function rowOf(client: DhcpClient): Row | undefined {
  if (client.kind === 'ipxe' && client.ipxe?.http === false) return scriptByTftp
  if (client.uBoot === true && client.platform === 'uefi-arm64') return unifiedByTftp
  const rows = table[client.kind]
  return rows[client.platform] ?? rows.any
}
