/** LinuxBoot: u-root's pxeboot takes the agent from our server, by what its parsers know. */
import { bootWholly } from '../../support/whole-boot.ts'
import { makeBridge, serverAddress, startDnsmasq } from '../network.ts'
import type { Scenarios } from '../scenario.ts'
import { buildURoot, uRootFiles } from '../u-root.ts'

const mac = '52:54:00:77:00:21'

export const uRootScenarios: Scenarios = {
  'u-root': {
    about: "u-root's pxeboot, dnsmasq's DHCP, pxelinux.cfg and the agent by HTTP, kexec",
    prepare: buildURoot,
    async run() {
      const [tap] = makeBridge(1)
      // The URL that every iPXE gets: u-root is told apart by its user agent.
      await using _dhcp = await startDnsmasq([`dhcp-boot=http://${serverAddress}:8080/boot/autoexec.ipxe`])
      const result = await bootWholly({
        settings: {
          advertise: serverAddress,
          'firmware.host': '0.0.0.0',
          'agent.host': '0.0.0.0',
          'firmware.port': '8080',
        },
        network: { kind: 'tap', name: tap as string },
        direct: { ...uRootFiles, append: 'console=ttyS0,115200' },
        mac,
        print: console.log,
      })
      if (result.outcome !== 'joined')
        throw new Error(`the machine did not join: ${result.cause}\n${result.console.slice(-3000)}`)
      if (!/Parsing boot files as iPXE failed/.test(result.console))
        throw new Error('u-root took the script of iPXE for one of its own')
      return result
    },
  },
}
