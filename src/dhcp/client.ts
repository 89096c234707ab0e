/**
 * Which firmware sent a packet. Everything here is a claim: it chooses what is offered, never what is trusted.
 *
 *     77 "iPXE" or 175          iPXE                   first of all: it also says PXEClient
 *     60 "HTTPClient…"          UEFI HTTP Boot
 *     60 "U-Boot…"              U-Boot, its script pass
 *     97 RPi4 RPi5 44×16,       Raspberry Pi boot ROM or EEPROM; it says PXEClient:Arch:00000 like a PC
 *       or 93 = 41, or the OUI
 *     60 "PXEClient…"           a PXE ROM; with 94 = 1.0.0 U-Boot's UEFI pass
 *     60 "PXE UROOT"            u-root's pxeboot
 *     else                      an operating system, a loader's own client: not ours
 */
import { macText } from './address.ts'
import { architectureOf, type Platform } from './architectures.ts'
import { options, printableText } from './options.ts'
import type { DhcpPacket } from './packet.ts'

export type ClientKind = 'ipxe' | 'http' | 'pxe' | 'u-boot' | 'raspberry-pi' | 'u-root' | 'other'

export type DhcpClient = {
  kind: ClientKind
  platform: Platform
  /** Undefined where the hardware address is no Ethernet station's. */
  mac: string | undefined
  /** For people: `PXE firmware (x64 UEFI)`, … */
  what: string
  /** The facts that decided it, in words. */
  because: string[]
  /** iPXE: what this build can load by (option 175). A build that says nothing can do everything. */
  ipxe?: { http: boolean; version: string | undefined }
  /** PXE: it is U-Boot that asks for a UEFI executable. */
  uBoot?: true
  /** Raspberry Pi: 3 for the boot ROM, 4 and 5 for the EEPROM; undefined where only the address tells that it is one. */
  model?: 3 | 4 | 5 | undefined
}

/**
 * Raspberry Pi's address blocks (IEEE). A Pi with other firmware or an operating system has them too, so they count only
 * where the packet is that of a PXE BIOS, which no Pi can be.
 */
const raspberryPiOuis = ['b8:27:eb', 'dc:a6:32', 'e4:5f:01', '28:cd:c1', 'd8:3a:dd', '2c:cf:67', '88:a2:9e']

/** iPXE's feature tags (its features.h): a byte that is not 0 says that the build has it. */
const ipxeHttpFeature = 0x13
const ipxeVersionTag = 0xeb

export function identifyClient(packet: DhcpPacket): DhcpClient {
  const { htype, chaddr } = packet
  const mac = htype === 1 && chaddr.length === 6 ? macText(chaddr) : undefined
  const vendorClass = textOf(packet, options.vendorClass)
  const { platform, named, because } = platformOf(packet, vendorClass)
  if (vendorClass !== undefined) because.push(`vendor class "${vendorClass}" (option 60)`)
  const client = (kind: ClientKind, what: string, more: Partial<DhcpClient> = {}): DhcpClient => ({
    ...{ kind, platform, mac, what, because },
    ...more,
  })

  const ipxe = ipxeOf(packet, because)
  if (ipxe !== undefined)
    return client('ipxe', `iPXE${ipxe.version === undefined ? '' : ` ${ipxe.version}`} (${named})`, { ipxe })
  if (vendorClass?.startsWith('HTTPClient') === true) return client('http', `UEFI HTTP Boot (${named})`)
  if (vendorClass?.startsWith('U-Boot') === true) return client('u-boot', `U-Boot (${named})`)
  const pi = raspberryPiOf(packet, platform, mac, because)
  if (pi !== undefined)
    return client(
      'raspberry-pi',
      `Raspberry Pi${pi.model === undefined ? '' : ` ${pi.model}`} boot firmware`,
      {
        platform: 'raspberry-pi',
        ...pi,
      },
    )
  if (vendorClass?.startsWith('PXEClient') === true) {
    if (isUBoot(packet, because)) return client('pxe', `U-Boot, its UEFI (${named})`, { uBoot: true })
    return client('pxe', `PXE firmware (${named})`)
  }
  if (vendorClass === 'PXE UROOT') return client('u-root', "u-root's pxeboot")
  return client(
    'other',
    vendorClass === undefined ? 'a DHCP client without a vendor class' : `a DHCP client ("${vendorClass}")`,
  )
}

/** By option 93, which may list several (RFC 4578 §2.1): the first that is known; else by the class's own text. */
function platformOf(packet: DhcpPacket, vendorClass: string | undefined) {
  const because: string[] = []
  const value = packet.options.get(options.clientArchitecture)
  const types: number[] = []
  if (value !== undefined && value.length % 2 === 0)
    for (let at = 0; at < value.length; at += 2) types.push((value[at]! << 8) | value[at + 1]!)
  if (types.length > 0) because.push(`architecture ${types.join(', ')} (option 93)`)
  else {
    // The same number in decimal, where 93 is missing or of an odd length.
    const inClass = /^(?:PXE|HTTP)Client:Arch:(\d{5})/.exec(vendorClass ?? '')?.[1]
    if (inClass !== undefined) types.push(Number(inClass))
  }
  const found = types.map(architectureOf)
  const { platform, name } = found.find((one) => one.platform !== 'unknown') ??
    found[0] ?? { platform: 'unknown' as const, name: 'no architecture named' }
  return { platform, named: name, because }
}

function ipxeOf(packet: DhcpPacket, because: string[]): DhcpClient['ipxe'] {
  // RFC 3004 wants a length before each word; iPXE sends the bare word, and other clients of its family the RFC's form.
  const userClass = textOf(packet, options.userClass)?.replace(/^\?/, '')
  const inside = packet.options.get(options.ipxe)
  if (userClass !== 'iPXE' && inside === undefined) return undefined
  if (userClass === 'iPXE') because.push('user class "iPXE" (option 77)')
  if (inside === undefined) return { http: true, version: undefined }
  because.push("iPXE's own option 175")
  const tags = subOptions(inside)
  const version = tags.get(ipxeVersionTag)
  return {
    http: tags.get(ipxeHttpFeature)?.[0] === 1,
    version: version?.length === 3 ? Array.from(version).join('.') : undefined,
  }
}

/** U-Boot has no UNDI and says so: type 1, version 0.0 (net/bootp.c, option 94). EDK2 says 3.0, iPXE 2.1 and 3.10. */
function isUBoot(packet: DhcpPacket, because: string[]): boolean {
  const value = packet.options.get(options.clientInterface)
  if (value?.length !== 3 || value[0] !== 1 || value[1] !== 0 || value[2] !== 0) return false
  because.push('no UNDI (option 94), as only U-Boot says')
  return true
}

function raspberryPiOf(
  packet: DhcpPacket,
  platform: Platform,
  mac: string | undefined,
  because: string[],
): { model?: 3 | 4 | 5 | undefined } | undefined {
  const uuid = packet.options.get(options.clientUuid)
  const fourCc = uuid?.length === 17 ? printableText(uuid.subarray(1, 5)) : ''
  if (fourCc === 'RPi4' || fourCc === 'RPi5') {
    because.push(`machine identifier that begins with ${fourCc} (option 97)`)
    return { model: fourCc === 'RPi4' ? 4 : 5 }
  }
  // The boot ROM of the Pi 3 fills it with one byte, D.
  if (uuid?.length === 17 && uuid.subarray(1).every((byte) => byte === 0x44)) {
    because.push('the machine identifier of a Raspberry Pi 3: 16 times 44 (option 97)')
    return { model: 3 }
  }
  const byOui = raspberryPiOuis.find((oui) => mac?.startsWith(oui) === true)
  if (platform === 'raspberry-pi') because.push('architecture 41 is rpiboot')
  else if (byOui === undefined || platform !== 'bios') return undefined
  if (byOui !== undefined) because.push(`hardware address of a Raspberry Pi (${byOui})`)
  return { model: byOui === 'b8:27:eb' ? 3 : undefined }
}

/** Options inside an option: code, length, value; 0 pads, 255 ends. What runs over the end is left out. */
export function subOptions(value: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>()
  let at = 0
  while (at + 1 < value.length) {
    const code = value[at]!
    if (code === 0) {
      at += 1
      continue
    }
    if (code === 255) break
    const end = at + 2 + value[at + 1]!
    if (end > value.length) break
    found.set(code, value.subarray(at + 2, end))
    at = end
  }
  return found
}

function textOf(packet: DhcpPacket, code: number): string | undefined {
  const value = packet.options.get(code)
  if (value === undefined) return undefined
  // Some ROMs count a zero byte into the text.
  return printableText(value.at(-1) === 0 ? value.subarray(0, -1) : value).slice(0, 128)
}
