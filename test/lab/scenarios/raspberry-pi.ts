/** Raspberry Pis: no firmware of theirs runs in an emulator, so a client plays their published requests (support/raspberry-pi.ts). */
import { runRack } from '../../support/raspberry-pi-rack.ts'
import { makeBridge, serverAddress } from '../network.ts'
import type { Scenarios } from '../scenario.ts'

export const raspberryPiScenarios: Scenarios = {
  'raspberry-pi': {
    about: 'the requests of a Pi 3, 4 and 5, at port 69: a bootable tree for each board',
    async run() {
      makeBridge(0)
      await runRack({
        settings: { advertise: serverAddress, 'tftp.host': '0.0.0.0', 'tftp.port': '69' },
        host: serverAddress,
        print: console.log,
      })
    },
  },
}
