/** A bad cable: frames are lost in both directions, from the first DHCP packet to the report. */
import type { WholeBoot } from '../../support/whole-boot.ts'
import { type Join, joins } from '../join.ts'
import { addLossyLink, type LossyLink } from '../lossy-link.ts'
import { serverAddress } from '../network.ts'
import type { Scenarios } from '../scenario.ts'

const lostPercent = 5

export const lossScenarios: Scenarios = {
  'loss-5-percent': {
    about: 'SeaBIOS, iPXE ROM, 5 of 100 frames lost each way: the first script by TFTP, the rest by HTTP',
    run: () =>
      joinsBy({
        machine: { firmware: 'bios' },
        dhcp: [`dhcp-boot=autoexec.ipxe,muster,${serverAddress}`],
        road: ['tftp://', 'starting the boot agent', 'muster agent: started'],
      }),
  },
  'loss-5-percent-uefi': {
    about: 'OVMF, PXE, 5 of 100 frames lost each way: iPXE itself by TFTP, the rest by HTTP',
    run: () =>
      joinsBy({
        machine: { firmware: 'uefi-x64', road: 'pxe' },
        road: ['PXE over IPv4', 'NBP file downloaded successfully', 'starting the boot agent'],
      }),
  },
}

async function joinsBy(options: Omit<Join, 'wire'>): Promise<WholeBoot> {
  let link: LossyLink | undefined
  const wire = (tap: string) => {
    link = addLossyLink(tap, lostPercent)
  }
  const result = await joins({ timeoutMs: 600_000, ...options, wire })
  const { toMachine = 0, fromMachine = 0 } = link?.lost() ?? {}
  console.log(`${link?.by} lost ${toMachine} frames to the machine and ${fromMachine} from it`)
  // A boot is thousands of frames to the machine, and hundreds from it.
  if (toMachine < 50 || fromMachine < 5) throw new Error('the cable was a good one: hardly a frame was lost')
  return result
}
