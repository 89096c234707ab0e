/** A bad cable: frames are lost in both directions, from the first DHCP packet to the report. */
import type { WholeBoot } from '../../support/whole-boot.ts'
import { type Join, joins } from '../join.ts'
import { addLossyLink, type Frames, type LossyLink } from '../lossy-link.ts'
import { serverAddress } from '../network.ts'
import type { Scenarios } from '../scenario.ts'

const lostPercent = 5
/** A UEFI machine sends some 300 frames in all, of which chance may lose few. */
const leastPart = 0.01

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
  if (link === undefined) throw new Error('there was no cable')
  const { toMachine, fromMachine } = link.counts()
  const told = ({ lost, sent }: Frames) => `${lost} of ${sent} frames (${((100 * lost) / sent).toFixed(1)} %)`
  console.log(`${link.by} lost ${told(toMachine)} to the machine and ${told(fromMachine)} from it`)
  for (const { lost, sent } of [toMachine, fromMachine])
    if (lost < leastPart * sent) throw new Error('the cable was a good one: hardly a frame was lost')
  return result
}
