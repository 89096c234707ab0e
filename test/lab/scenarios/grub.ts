/** PCs whose firmware loads shim and GRUB as Debian and Microsoft signed them; the kernel and initramfs come the way GRUB came. */
import { dataFile } from '../../support/tools.ts'
import { documentedDhcpLines } from '../dhcp-lines.ts'
import { ipv6Peer, joins, labMac } from '../join.ts'
import type { Scenarios } from '../scenario.ts'

/** The documented lines, with shim in the place of what they name for UEFI. */
const shimFor = (loader: string) => documentedDhcpLines().map((line) => line.replace(loader, 'shimx64.efi'))

/** GRUB as it is signed asks for `grub/grub.cfg` alone, and is told to ask again. */
const asked = [`Muster: asking what ${labMac} boots`, /Muster: .*starting the boot agent/]

export const grubScenarios: Scenarios = {
  'uefi-grub': {
    about: 'OVMF, PXE: shim and GRUB, GRUB asks by its MAC address, the agent by TFTP',
    run: () =>
      joins({
        machine: { firmware: 'uefi-x64', road: 'pxe' },
        dhcp: shimFor('ipxe-amd64.efi'),
        settings: ipv6Peer.settings,
        road: [
          'PXE over IPv4',
          'Fetching Netboot Image grubx64.efi',
          ...asked,
          ipv6Peer.sign,
          'muster agent: started',
        ],
      }),
  },
  'uefi-grub-http': {
    about: 'OVMF, HTTP Boot: shim and GRUB, its settings and the agent, all by HTTP',
    run: () =>
      joins({
        machine: { firmware: 'uefi-x64', road: 'http' },
        dhcp: shimFor('agent-amd64.efi'),
        road: ['HTTP Boot over IPv4', ...asked, 'muster agent: started'],
      }),
  },
  'uefi-grub-secure-boot': {
    about:
      "OVMF with Microsoft's keys and Secure Boot: shim, GRUB and Debian's kernels, locked down, both signed",
    run: async () => {
      const result = await joins({
        machine: {
          firmware: 'uefi-x64-secure',
          road: 'pxe',
          variables: dataFile('usr/share/OVMF/OVMF_VARS_4M.ms.fd') ?? '',
        },
        dhcp: shimFor('ipxe-amd64.efi'),
        road: [
          'PXE over IPv4',
          ...asked,
          'UEFI Secure Boot is enabled',
          'Kernel is locked down from EFI Secure Boot',
          'muster agent: started',
        ],
      })
      // Its settings and its initramfs came by the network, and nobody signed them.
      const origin = result.events.find(({ kind }) => kind === 'hello')?.data['origin']
      if (origin !== 'network') throw new Error(`the boot's agentOrigin is ${String(origin)}, not network`)
      return result
    },
  },
}
