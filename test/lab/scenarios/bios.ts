/** Old PCs: SeaBIOS with a PXE ROM. */
import { bootWholly } from '../../support/whole-boot.ts'
import { joins } from '../join.ts'
import { makeBridge, serverAddress, startDnsmasq } from '../network.ts'
import { plainRom } from '../plain-rom.ts'
import type { Scenarios } from '../scenario.ts'

const mac = '52:54:00:77:00:01'

export const biosScenarios: Scenarios = {
  'bios-pxe': {
    about: "SeaBIOS, iPXE ROM, dnsmasq's DHCP, the first script by TFTP on port 69, the rest by HTTP",
    async run() {
      const [tap] = makeBridge(1)
      await using _dhcp = await startDnsmasq([`dhcp-boot=autoexec.ipxe,muster,${serverAddress}`])
      const result = await bootWholly({
        settings: {
          'firmware.host': '0.0.0.0',
          'agent.host': '0.0.0.0',
          'tftp.host': '0.0.0.0',
          'tftp.port': '69',
          'firmware.port': '8080',
          'tftp.enabled': 'true',
        },
        network: { kind: 'tap', name: tap as string },
        mac,
        print: console.log,
      })
      if (result.outcome !== 'joined') throw new Error(`the machine did not join: ${result.cause}`)
      if (!result.console.includes('tftp://')) throw new Error('the first script did not come by TFTP')
      return result
    },
  },
  'bios-undionly': {
    about:
      'SeaBIOS, a PXE ROM that does not say it is iPXE: undionly.kpxe by TFTP on its UNDI, the rest by HTTP',
    run: () => joins({ ...plainRomMachine, road: undionlyRoad }),
  },
  'dhcp-undionly': {
    about: "the same on Muster's own DHCP, which tells the ROM from the iPXE that runs after it",
    run: () => joins({ ...plainRomMachine, dhcp: 'own', road: undionlyRoad }),
  },
}

const plainRomMachine = { machine: { firmware: 'bios', outgoing: plainRom('undionly.kpxe') } } as const
/** `[PXE-NBP]` and what UNDI it found are words of undionly.kpxe's; then iPXE starts a second time. */
const undionlyRoad = [
  'Filename: undionly.kpxe',
  /UNDI device is PCI/,
  'iPXE initialising devices',
  'starting the boot agent',
  'muster agent: started',
]
