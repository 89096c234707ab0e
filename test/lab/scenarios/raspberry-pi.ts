/** Raspberry Pis: no firmware of theirs runs in an emulator, so a client plays their published requests (support/raspberry-pi.ts). */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { aptMirrors } from '../../../src/builder/mirror.ts'
import { fetchRaspberryPiFirmware } from '../../../src/builder/raspberry-pi.ts'
import { runRack } from '../../support/raspberry-pi-rack.ts'
import { makeBridge, serverAddress } from '../network.ts'
import type { Scenarios } from '../scenario.ts'

const cacheDir = join(import.meta.dirname, '../../../.cache/muster')

/** Inside its network it reaches no mirror, and takes the packages from the cache. */
async function fillCache(): Promise<void> {
  const outDir = await mkdtemp(join(tmpdir(), 'muster-lab-pi-'))
  try {
    await fetchRaspberryPiFirmware({ mirrors: await aptMirrors(), cacheDir, outDir })
  } finally {
    await rm(outDir, { recursive: true })
  }
}

export const raspberryPiScenarios: Scenarios = {
  'raspberry-pi': {
    about:
      "the requests of a Pi 3, 4 and 5, at port 69: a bootable tree for each board, of Debian's firmware",
    prepare: fillCache,
    async run() {
      makeBridge(0)
      await runRack({
        settings: { advertise: serverAddress, 'tftp.host': '0.0.0.0', 'tftp.port': '69' },
        host: serverAddress,
        firmware: (outDir) => fetchRaspberryPiFirmware({ mirrors: [], cacheDir, outDir }),
        print: console.log,
      })
    },
  },
}
