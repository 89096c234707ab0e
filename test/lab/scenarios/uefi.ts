/** PCs with UEFI: OVMF. */
import { joins } from '../join.ts'
import type { Scenarios } from '../scenario.ts'

export const uefiScenarios: Scenarios = {
  'uefi-pxe': {
    about: 'OVMF, PXE: iPXE by TFTP, then its script and the agent by HTTP',
    run: () =>
      joins({
        machine: { firmware: 'uefi-x64', road: 'pxe' },
        road: ['PXE over IPv4', 'NBP file downloaded successfully', 'starting the boot agent'],
      }),
  },
  'uefi-http': {
    about: 'OVMF, HTTP Boot: straight into the agent as a unified kernel image, no loader between',
    run: () =>
      joins({
        machine: { firmware: 'uefi-x64', road: 'http' },
        road: ['HTTP Boot over IPv4', 'agent-amd64.efi', 'muster agent: started'],
      }),
  },
}
