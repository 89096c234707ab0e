/**
 * The firmware that a virtual machine can have: one kind, one row. Files are below the unpacked tree (tools.ts), and what firmware
 * stores in its variables is forgotten with each machine (`snapshot=on` writes beside the file).
 */

export type FirmwareKind = 'bios' | 'uefi-x64' | 'uefi-x64-secure' | 'uefi-arm64' | 'u-boot-arm64'

export type FirmwareRow = {
  about: string
  arch: 'amd64' | 'arm64'
  program: 'qemu-system-x86_64' | 'qemu-system-aarch64'
  /** Package of data that has its files (src/builder/tools.ts); none where QEMU brings it. */
  data?: string
  machine: string
  /** An old x86 without fast `rep movsb`: the emulator checks every single write to a page that once held code, and after a kexec
   * most pages did, so copying by bytes costs half a minute. */
  processor: string
  /** Flash: the firmware itself, and the variables it starts with. */
  flash?: { code: string; variables: string }
  /** The firmware as one image. */
  image?: string
  /** More of QEMU's arguments. */
  more?: readonly string[]
  /** Who runs the network card: the firmware's own driver, or the card's option ROM (which is iPXE, whatever the card). */
  driver: 'firmware' | 'option-rom'
}

const secureFlash = ['-global', 'driver=cfi.pflash01,property=secure,value=on']

export const firmwareKinds: Readonly<Record<FirmwareKind, FirmwareRow>> = {
  bios: {
    about: 'SeaBIOS',
    arch: 'amd64',
    program: 'qemu-system-x86_64',
    machine: 'pc,graphics=off',
    processor: 'Nehalem',
    more: ['-boot', 'n'],
    driver: 'option-rom',
  },
  'uefi-x64': {
    about: "OVMF, EDK2's firmware for virtual PCs",
    arch: 'amd64',
    program: 'qemu-system-x86_64',
    data: 'ovmf',
    machine: 'q35',
    processor: 'Nehalem',
    flash: { code: 'usr/share/OVMF/OVMF_CODE_4M.fd', variables: 'usr/share/OVMF/OVMF_VARS_4M.fd' },
    driver: 'firmware',
  },
  'uefi-x64-secure': {
    about: 'OVMF with Secure Boot; its variables are writable in system management mode alone',
    arch: 'amd64',
    program: 'qemu-system-x86_64',
    data: 'ovmf',
    machine: 'q35,smm=on',
    processor: 'Nehalem',
    flash: { code: 'usr/share/OVMF/OVMF_CODE_4M.secboot.fd', variables: 'usr/share/OVMF/OVMF_VARS_4M.fd' },
    more: secureFlash,
    driver: 'firmware',
  },
  'uefi-arm64': {
    about: "AAVMF, EDK2's firmware for virtual arm64 machines",
    arch: 'arm64',
    program: 'qemu-system-aarch64',
    data: 'aavmf',
    machine: 'virt',
    // EDK2 2025 has no network without a good source of random numbers, and of a Cortex-A57 takes virtio's for none. The pointer
    // authentication that `max` has too would take most of the time.
    processor: 'neoverse-v1,pauth-impdef=on',
    flash: {
      code: 'usr/share/AAVMF/AAVMF_CODE.no-secboot.fd',
      variables: 'usr/share/AAVMF/AAVMF_VARS.fd',
    },
    driver: 'firmware',
  },
  'u-boot-arm64': {
    about: 'U-Boot for virtual arm64 machines',
    arch: 'arm64',
    program: 'qemu-system-aarch64',
    data: 'u-boot',
    machine: 'virt',
    processor: 'cortex-a57',
    image: 'usr/lib/u-boot/qemu_arm64/u-boot.bin',
    driver: 'firmware',
  },
}
