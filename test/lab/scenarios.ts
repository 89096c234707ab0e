/** The lab's scenarios by name: each file of scenarios/ has those of one kind of firmware, or of one kind of trouble. */
import type { Scenarios } from './scenario.ts'
import { arm64Scenarios } from './scenarios/arm64.ts'
import { biosScenarios } from './scenarios/bios.ts'
import { containerScenarios } from './scenarios/container.ts'
import { dhcpScenarios } from './scenarios/dhcp.ts'
import { grubScenarios } from './scenarios/grub.ts'
import { lossScenarios } from './scenarios/loss.ts'
import { multiArchScenarios } from './scenarios/multi-arch.ts'
import { raspberryPiScenarios } from './scenarios/raspberry-pi.ts'
import { secureBootScenarios } from './scenarios/secure-boot.ts'
import { tenMachinesScenarios } from './scenarios/ten-machines.ts'
import { twoServersScenarios } from './scenarios/two-servers.ts'
import { uBootScenarios } from './scenarios/u-boot.ts'
import { uRootScenarios } from './scenarios/u-root.ts'
import { uefiScenarios } from './scenarios/uefi.ts'

export const scenarios: Scenarios = {
  ...biosScenarios,
  ...dhcpScenarios,
  ...uefiScenarios,
  ...grubScenarios,
  ...uBootScenarios,
  ...raspberryPiScenarios,
  ...uRootScenarios,
  ...secureBootScenarios,
  ...arm64Scenarios,
  ...lossScenarios,
  ...twoServersScenarios,
  ...tenMachinesScenarios,
  ...multiArchScenarios,
  ...containerScenarios,
}
