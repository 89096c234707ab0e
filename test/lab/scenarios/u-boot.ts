/**
 * Boards with U-Boot: Debian's build for QEMU's arm64 machine. Its environment lacks what boards for sale have in theirs, so every
 * scenario sets that at the prompt, as a person does once before `saveenv`; `boot` then runs the board's own bootcmd, `bootflow scan`.
 *
 *     boot_script_dhcp     without it the method `script` asks for nothing over the network (boot/bootmeth_script.c)
 *     boot_targets         `pxe` is not among QEMU's; `dhcp` is, which is UEFI first, then the script
 *     fdt_addr_r, fdtfile  without them the method `efi` drops what it has loaded (boot/bootmeth_efi.c, before 2026.07)
 */
import type { Running } from '../../../src/serve.ts'
import { helloOf } from '../../machines/world.ts'
import type { Typed } from '../../support/virtual-machine.ts'
import { ipv6Peer, joins, labMac } from '../join.ts'
import type { Scenarios } from '../scenario.ts'

const asksForScript = 'setenv boot_script_dhcp boot.scr.uimg'

export const uBootScenarios: Scenarios = {
  'arm64-uboot': {
    about:
      'U-Boot, boot.scr.uimg: it asks by its MAC address, its own script loads kernel and initramfs by TFTP',
    architectures: ['arm64'],
    run: () =>
      joins({
        machine: { firmware: 'u-boot-arm64', typed: atPrompt(asksForScript) },
        settings: ipv6Peer.settings,
        road: [
          "Filename 'boot.scr.uimg'",
          `Muster: asking what ${labMac} boots`,
          "Filename 'u-boot/arm/armv8/52-54-00-77-00-01.scr.uimg'",
          "Filename 'agent/arm64/initramfs'",
          ipv6Peer.sign,
          'muster agent: started',
          'muster: hello: ',
          'aarch64',
        ],
      }),
  },
  'uboot-pxe': {
    about: "U-Boot's pxe: pxelinux.cfg/01-<mac> by TFTP, on Muster's own DHCP",
    architectures: ['arm64'],
    run: () =>
      joins({
        machine: { firmware: 'u-boot-arm64', typed: atPrompt('setenv boot_targets pxe') },
        dhcp: 'own',
        road: [
          "Filename 'pxelinux.cfg/01-52-54-00-77-00-01'",
          "Filename 'agent/arm64/initramfs'",
          'muster agent: started',
          'aarch64',
        ],
      }),
  },
  'uboot-efi': {
    about: "U-Boot's UEFI: the agent as one executable by TFTP, on Muster's own DHCP",
    architectures: ['arm64'],
    run: () =>
      joins({
        machine: {
          firmware: 'u-boot-arm64',
          typed: atPrompt('setenv fdt_addr_r 0x4f000000', 'setenv fdtfile board.dtb'),
        },
        dhcp: 'own',
        road: ["Filename 'agent-arm64.efi'", 'EFI stub: Loaded initrd', 'muster agent: started', 'aarch64'],
      }),
  },
  'uboot-fit': {
    about:
      'U-Boot, a profile with kernelFormat fit: kernel and initramfs in one image tree, its hashes checked',
    architectures: ['arm64'],
    run: () =>
      joins({
        machine: { firmware: 'u-boot-arm64', typed: atPrompt(asksForScript) },
        prepare: wantsFit,
        road: [
          "Filename 'agent/arm64/fit'",
          /Verifying Hash Integrity \.\.\. sha256\+ OK/,
          'muster agent: started',
          'aarch64',
        ],
      }),
  },
}

/** Stops the countdown, types the commands, and `boot`. */
function atPrompt(...commands: string[]): readonly Typed[] {
  return [
    { at: 'Hit any key to stop autoboot', text: ' ' },
    ...[...commands, 'boot'].map((command) => ({ at: '\n=> ', text: `${command}\n` })),
  ]
}

/** A profile speaks of how firmware is served, so the machine has to be known before its firmware asks: it was here once. */
async function wantsFit({ machines }: Running): Promise<void> {
  await machines.profiles.put({
    name: 'board-without-booti',
    selector: { macs: [labMac] },
    image: { name: 'hello', channel: 'stable' },
    firmware: { kernelFormat: 'fit' },
  })
  const hello = helloOf(labMac)
  hello.agent.arch = 'arm64'
  const rawBytes = Buffer.from(JSON.stringify(hello))
  const { machine } = await machines.hello(hello, { address: '10.77.0.50', rawBytes })
  await machines.approve(machine.id, 'lab')
}
