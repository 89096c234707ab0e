/**
 * Option 93 (RFC 4578 §2.1): IANA's registry "Processor Architecture Types". The transport is part of the type: a firmware that
 * wants a URL has a number of its own.
 */

/** What has to run there; `unknown` for what nobody makes a loader for any more. */
export type Platform =
  | 'bios'
  | 'uefi-ia32'
  | 'uefi-x64'
  | 'uefi-arm32'
  | 'uefi-arm64'
  | 'uefi-riscv32'
  | 'uefi-riscv64'
  | 'uefi-loong64'
  | 'u-boot-arm32'
  | 'u-boot-arm64'
  | 'raspberry-pi'
  | 'unknown'

type Architecture = { platform: Platform; http: boolean; name: string }

const architectures = new Map<number, Architecture>()

function known(type: number, platform: Platform, name: string, http = false): void {
  architectures.set(type, { platform, http, name })
}

known(0, 'bios', 'x86 BIOS')
known(1, 'unknown', 'NEC PC98')
known(2, 'unknown', 'Itanium')
known(6, 'uefi-ia32', 'x86 UEFI, 32 bits')
known(7, 'uefi-x64', 'x64 UEFI')
// EFI byte code by the registry. RFC 4578's own text had 7 and 9 the other way round until its erratum of 2016, and x64 firmware
// made by that text says 9; firmware that wants byte code was never seen.
known(9, 'uefi-x64', 'x64 UEFI (as EFI BC)')
known(10, 'uefi-arm32', 'ARM UEFI, 32 bits')
known(11, 'uefi-arm64', 'ARM UEFI, 64 bits')
known(12, 'unknown', 'PowerPC Open Firmware')
known(13, 'unknown', 'PowerPC ePAPR')
known(14, 'unknown', 'POWER OPAL v3')
known(15, 'uefi-ia32', 'x86 UEFI, 32 bits, HTTP', true)
known(16, 'uefi-x64', 'x64 UEFI, HTTP', true)
known(17, 'uefi-x64', 'x64 UEFI (as EFI BC), HTTP', true)
known(18, 'uefi-arm32', 'ARM UEFI, 32 bits, HTTP', true)
known(19, 'uefi-arm64', 'ARM UEFI, 64 bits, HTTP', true)
known(20, 'bios', 'x86 BIOS, HTTP', true)
known(21, 'u-boot-arm32', 'ARM U-Boot, 32 bits')
known(22, 'u-boot-arm64', 'ARM U-Boot, 64 bits')
known(23, 'u-boot-arm32', 'ARM U-Boot, 32 bits, HTTP', true)
known(24, 'u-boot-arm64', 'ARM U-Boot, 64 bits, HTTP', true)
known(25, 'uefi-riscv32', 'RISC-V UEFI, 32 bits')
known(26, 'uefi-riscv32', 'RISC-V UEFI, 32 bits, HTTP', true)
known(27, 'uefi-riscv64', 'RISC-V UEFI, 64 bits')
known(28, 'uefi-riscv64', 'RISC-V UEFI, 64 bits, HTTP', true)
known(31, 'unknown', 's390 basic')
known(32, 'unknown', 's390 extended')
known(33, 'unknown', 'MIPS UEFI, 32 bits')
known(34, 'unknown', 'MIPS UEFI, 64 bits')
known(39, 'uefi-loong64', 'LoongArch UEFI, 64 bits')
known(40, 'uefi-loong64', 'LoongArch UEFI, 64 bits, HTTP', true)
known(41, 'raspberry-pi', 'Raspberry Pi boot ROM')

export function architectureOf(type: number): Architecture {
  return architectures.get(type) ?? { platform: 'unknown', http: false, name: `architecture ${type}` }
}
