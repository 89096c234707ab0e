/**
 * What the names mean that firmware asks for, over TFTP and HTTP alike. Names are virtual: only what stands here leads to
 * anything. Boot loaders look for their configuration under many names, the most special first; the first one that identifies
 * the machine is answered, so that none waits through the rest:
 *
 *     pxelinux.cfg/  <uuid>, 01-<mac>, C0A80102 … C, default-arm-…, default     SYSLINUX, U-Boot `pxe get` (boot/pxe_utils.c),
 *                                                                              u-root (without <uuid>)
 *     grub.cfg-      <uuid>, 01-<mac>, C0A80102 … C, then grub.cfg              GRUB's net search (grub-core/net/net.c); Debian's signed
 *                                                                              GRUB asks for grub.cfg alone, below grub/
 *     <serial>/ , <mac>/                                                       Raspberry Pi, TFTP_PREFIX 0 and 2
 *
 * They are asked below the folder that the loader itself came from, so leading folders are taken off: boot/, grub/, and the
 * architecture, which then says what the loader was built for.
 */
import { normaliseMac, normaliseUuid } from '../machines/identifiers.ts'
import type { Arch } from '../protocol/identifiers.ts'
import type { AgentFile } from './files.ts'
import type { Claimed } from './firmware.ts'
import { uBootArchitecture } from './languages/u-boot.ts'

export type BootName =
  /** The first script of a language, the same for everyone: it asks again and says who it is. */
  | { kind: 'first'; language: 'ipxe' | 'grub' | 'u-boot' }
  /** The script of one machine. `search`: only a machine that has a record is answered, because better names follow. */
  | {
      kind: 'script'
      language: 'grub' | 'pxelinux' | 'u-boot'
      claimed: Claimed
      arch?: Arch | undefined
      search?: true
    }
  /** U-Boot on a processor that there are no agents for. */
  | { kind: 'unsupported'; language: 'u-boot'; processor: string }
  | { kind: 'raspberry-pi'; claimed: Claimed; file: string }
  | { kind: 'agent'; arch: Arch; file: AgentFile }
  | { kind: 'loader'; file: string }
  | { kind: 'operator'; file: string }

const architectures = new Map<string, Arch>([
  ['amd64', 'amd64'],
  ['x86_64', 'amd64'],
  ['arm64', 'arm64'],
  ['aarch64', 'arm64'],
])
const leading = /^(?:boot\/)?(?:grub2?\/)?(?:(amd64|x86_64|arm64|aarch64)\/)?/
/** Attacker-controlled, and on its way into regular expressions: no name that is served is longer. */
const nameCharsMax = 512

/** Undefined: nothing is called so. @param text as it was asked for. */
export function parseBootName(text: string): BootName | undefined {
  if (text.length > nameCharsMax) return undefined
  const name = text.replace(/^\/+/, '')
  if (name.startsWith('files/')) return { kind: 'operator', file: name.slice('files/'.length) }
  const prefix = leading.exec(name)
  const rest = name.slice(prefix?.[0].length ?? 0)
  const arch = architectures.get(prefix?.[1] ?? '')
  if (rest.startsWith('files/')) return { kind: 'operator', file: rest.slice('files/'.length) }
  return (
    parseFirst(rest) ??
    parsePxelinux(rest, arch) ??
    parseGrub(rest, arch) ??
    parseUBoot(rest) ??
    parseAgent(rest) ??
    parseLoader(rest) ??
    parseRaspberryPi(name)
  )
}

function parseFirst(name: string): BootName | undefined {
  if (name === 'autoexec.ipxe') return { kind: 'first', language: 'ipxe' }
  if (name === 'grub.cfg') return { kind: 'first', language: 'grub' }
  // U-Boot's distro boot asks for both (include/config_distro_bootcmd.h, boot/bootmeth_script.c).
  if (name === 'boot.scr.uimg' || name === 'boot.scr') return { kind: 'first', language: 'u-boot' }
  return undefined
}

function parsePxelinux(name: string, arch: Arch | undefined): BootName | undefined {
  const asked = /^pxelinux\.cfg\/(.+)$/.exec(name)?.[1]
  if (asked === undefined) return undefined
  const language = 'pxelinux'
  if (asked === 'default') return { kind: 'script', language, claimed: {}, arch }
  // U-Boot calls 64-bit ARM `arm` too, and there are no agents for 32 bits.
  const board = /^default-([a-z0-9]+)/.exec(asked)?.[1]
  if (board !== undefined) {
    const built = board === 'arm' ? 'arm64' : board === 'x86' ? 'amd64' : undefined
    return built === undefined ? undefined : { kind: 'script', language, claimed: {}, arch: built }
  }
  const claimed = parseIdentity(asked)
  if (claimed === undefined) return undefined
  return { kind: 'script', language, claimed, arch, ...(claimed.mac === undefined ? { search: true } : {}) }
}

function parseGrub(name: string, arch: Arch | undefined): BootName | undefined {
  const language = 'grub'
  if (name === 'agent.cfg') return { kind: 'script', language, claimed: {}, arch }
  const asked = /^grub\.cfg-(.+)$/.exec(name)?.[1]
  const claimed = asked === undefined ? undefined : parseIdentity(asked)
  if (claimed === undefined) return undefined
  return { kind: 'script', language, claimed, arch, ...(claimed.mac === undefined ? { search: true } : {}) }
}

/** `01-<mac>` (01 is ARP's number for Ethernet) or a UUID; hexadecimal IP addresses identify nobody to us. */
function parseIdentity(text: string): Claimed | undefined {
  if (/^01-/.test(text)) {
    const mac = normaliseMac(text.slice(3))
    return mac === undefined ? undefined : { mac }
  }
  const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text) ? normaliseUuid(text) : undefined
  return uuid === undefined ? undefined : { uuid }
}

/** As our own first script asks; an empty segment may have been folded. */
function parseUBoot(name: string): BootName | undefined {
  const match = /^u-boot\/(?:([a-z0-9_-]*)\/)?(?:([a-z0-9_-]*)\/)?([0-9a-f-]{17})\.scr\.uimg$/.exec(name)
  const mac = normaliseMac(match?.[3] ?? '')
  if (match === null || mac === undefined) return undefined
  const [, board = '', cpu = ''] = match
  const arch = uBootArchitecture(board, cpu)
  const language = 'u-boot'
  if (arch === undefined && board !== '') {
    return { kind: 'unsupported', language, processor: cpu === '' ? board : `${board}/${cpu}` }
  }
  return { kind: 'script', language, claimed: { mac }, arch }
}

function parseAgent(name: string): BootName | undefined {
  const unified = /^agent-(amd64|arm64)\.efi$/.exec(name)
  if (unified !== null) return { kind: 'agent', arch: unified[1] as Arch, file: 'unified' }
  const match = /^agent\/(amd64|x86_64|arm64|aarch64)\/(kernel|initramfs|fit)$/.exec(name)
  const arch = architectures.get(match?.[1] ?? '')
  if (arch === undefined) return undefined
  return { kind: 'agent', arch, file: match?.[2] as AgentFile }
}

function parseLoader(name: string): BootName | undefined {
  return /^[a-z0-9-]+\.(?:kpxe|pxe|efi)$/.test(name) ? { kind: 'loader', file: name } : undefined
}

/**
 * A Raspberry Pi asks below its serial number (the last 32 bits in hexadecimal), or below its MAC address with hyphens; with
 * TFTP_PREFIX=1 below whatever its owner wrote, for which `raspberry-pi/` is ours. Only the boot ROM of a Pi 3 asks for a
 * file of its own at the root. Nothing else is answered there: a Pi that finds nothing below its serial number
 * drops the prefix, and would get at the root what its profile kept from it.
 */
function parseRaspberryPi(name: string): BootName | undefined {
  if (name === 'bootcode.bin') return { kind: 'raspberry-pi', claimed: {}, file: name }
  const match = /^([^/]+)\/([A-Za-z0-9][A-Za-z0-9._+/-]*)$/.exec(name)
  if (match === null) return undefined
  const [, folder = '', file = ''] = match
  if (folder === 'raspberry-pi') return { kind: 'raspberry-pi', claimed: {}, file }
  if (/^[0-9a-f]{8}$/.test(folder)) return { kind: 'raspberry-pi', claimed: { serial: folder }, file }
  const mac = /^[0-9a-f]{2}(?:-[0-9a-f]{2}){5}$/.test(folder) ? normaliseMac(folder) : undefined
  return mac === undefined ? undefined : { kind: 'raspberry-pi', claimed: { mac }, file }
}

/** A UUID, a type of hardware and its address, an IPv4 address in hexadecimal and ever less of it: what loaders look for in turn. */
const searched =
  /^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{2}(?:[:-][0-9a-f]{2}){6,20}|[0-9a-f]{1,8})$/i

/**
 * Names that loaders try and that are not meant to be there: shorter prefixes, GRUB's module lists, shim's own lists of what it revokes
 * and trusts, what a Raspberry Pi probes for, and what our own doctor asks for. They are no news to anybody; a slip in one of them is.
 */
export function isProbe(text: string): boolean {
  const name = text.split('/').at(-1) ?? ''
  return (
    /(?:^|\/)pxelinux\.cfg\/default(?:-[a-z0-9_]+)*$/.test(text) ||
    searched.test(/(?:^|\/)(?:pxelinux\.cfg\/|grub\.cfg-)([^/]+)$/.exec(text)?.[1] ?? '') ||
    name === 'muster-doctor-asks-for-nothing' ||
    /\/(?:x86_64|arm64)-efi\//.test(text) ||
    /^(?:revocations(?:_sku|_sbat)?|shim_certificate_\d+)\.efi$/.test(name) ||
    /^(?:bootsig\.bin|autoboot\.txt|recovery\.elf|recover4\.elf|recovery[78]?\.img|dt-blob\.bin|bootcfg\.txt)$/.test(
      name,
    ) ||
    /^(?:pieeprom\.(?:sig|upd)|vl805\.(?:sig|bin)|armstub8(?:-\w+)?\.bin|overlay_map\.dtb|tryboot\.txt)$/.test(
      name,
    )
  )
}
