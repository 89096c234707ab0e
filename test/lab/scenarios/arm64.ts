/** arm64 machines with UEFI: AAVMF. */
import { documentedDhcpLines } from '../dhcp-lines.ts'
import { joins } from '../join.ts'
import type { Scenarios } from '../scenario.ts'

export const arm64Scenarios: Scenarios = {
  'arm64-uefi': {
    about: 'AAVMF, HTTP Boot: straight into the arm64 agent as a unified kernel image',
    architectures: ['arm64'],
    run: () =>
      joins({
        machine: { firmware: 'uefi-arm64', road: 'http' },
        // AAVMF tries PXE first whatever it is told, and gives up at once where DHCP names no file for it.
        dhcp: documentedDhcpLines().filter((line) => !line.includes('tag:arm64,')),
        road: [
          'HTTP Boot over IPv4',
          'agent-arm64.efi',
          'muster agent: started',
          'muster: hello: ',
          'aarch64',
        ],
      }),
  },
}
