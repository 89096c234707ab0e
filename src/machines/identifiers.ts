/**
 * What machines say of themselves, made comparable. Attacker-controlled, and honest machines lie too: whole product lines
 * leave the factory with one UUID, or with the firmware vendor's placeholder for a serial number.
 */
import type { Identifiers } from '../protocol/hello.ts'

export type CleanIdentifiers = { macs: string[]; uuid?: string; serial?: string }

/** Placeholders seen in the field, in lower case without spaces and punctuation. */
const junkTexts = new Set([
  'tobefilledbyoem',
  'defaultstring',
  'systemserialnumber',
  'systemproductname',
  'chassisserialnumber',
  'boardserialnumber',
  'baseboardserialnumber',
  'serialnumber',
  'notspecified',
  'notapplicable',
  'notavailable',
  'notset',
  'none',
  'na',
  'null',
  'oem',
  'unknown',
  'invalid',
  'empty',
  'type1serial',
  'sernum',
  'xxxxxxxx',
  '123456789',
  '0123456789',
  '1234567890',
  'abcdefghijk',
])
const junkUuids = new Set([
  '03000200-0400-0500-0006-000700080009',
  '00020003-0004-0005-0006-000700080009',
  '12345678-1234-5678-90ab-cddeefaabbcc',
  'fefefefe-fefe-fefe-fefe-fefefefefefe',
  '01234567-8910-1112-1314-151617181920',
])

/** Lower case and canonical; undefined for junk. */
export function normaliseUuid(text: string | undefined): string | undefined {
  const hex = text?.toLowerCase().replace(/[^0-9a-f]/g, '') ?? ''
  if (hex.length !== 32 || new Set(hex).size === 1) return undefined
  const uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  return junkUuids.has(uuid) ? undefined : uuid
}

/** Trimmed, in lower case; undefined for junk: placeholders, one repeated character, fewer than four characters. */
export function normaliseSerial(text: string | undefined): string | undefined {
  const serial = text?.trim().toLowerCase() ?? ''
  const bare = serial.replace(/[^a-z0-9]/g, '')
  if (bare.length < 4 || new Set(bare).size === 1 || junkTexts.has(bare)) return undefined
  if ([...serial].some((character) => character < ' ' || character > '~')) return undefined
  return serial
}

/** Six octets with colons, from the forms that people and firmware write; undefined when it is no station's address. */
export function normaliseMac(text: string): string | undefined {
  if (!/^[0-9a-f]{2}([:-]?[0-9a-f]{2}){5}$|^([0-9a-f]{4}\.){2}[0-9a-f]{4}$/i.test(text)) return undefined
  const hex = text.toLowerCase().replace(/[^0-9a-f]/g, '')
  // IEEE 802: the lowest bit of the first octet marks a group; such an address is never a sender.
  if (hex === '000000000000' || Number.parseInt(hex.slice(0, 2), 16) % 2 === 1) return undefined
  return hex.match(/../g)?.join(':')
}

export function cleanIdentifiers(identifiers: Identifiers): CleanIdentifiers {
  const macs = new Set<string>()
  for (const text of identifiers.macs) {
    const mac = normaliseMac(text)
    if (mac !== undefined) macs.add(mac)
  }
  const uuid = normaliseUuid(identifiers.uuid)
  const serial = normaliseSerial(identifiers.serial)
  return {
    macs: [...macs].sort(),
    ...(uuid === undefined ? {} : { uuid }),
    ...(serial === undefined ? {} : { serial }),
  }
}

/**
 * What limits count an address by. `host`: itself, in one form. `network`: the /64 of an IPv6 address, undefined for IPv4. One host
 * may have as many addresses of its /64 as it likes (RFC 8981), and all hosts of a LAN share it: so neither alone will do. Link-local
 * addresses keep their zone, because every link has the same fe80::/64 (RFC 4007 §6).
 */
export type Source = { host: string; network?: string }

/**
 * A /64 gets so many times what one of its addresses gets: enough for a hall of machines, and with the settings' defaults too little
 * for it to push out everybody else's: 8 times undecidedPerAddressMax is 512, and undecidedMax 1000. Both are the operator's to set, and
 * the description of undecidedPerAddressMax says what to keep.
 */
export const sharesOfNetwork = 8

export function sourceOf(address: string): Source {
  const [, plain = '', zone = ''] = /^(?:::ffff:(?=\d+\.))?([^%]*)(%.*)?$/is.exec(address) ?? []
  if (!plain.includes(':')) return { host: plain }
  const [head = '', tail] = plain.toLowerCase().split('::')
  const front = head === '' ? [] : head.split(':')
  const back = tail === undefined || tail === '' ? [] : tail.split(':')
  const gap = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length)
  const groups = [...front, ...Array<string>(gap).fill('0'), ...back].map((group) =>
    Number.parseInt(group, 16).toString(16),
  )
  const kept = /^fe[89ab]/.test(groups[0] ?? '') ? zone : ''
  return { host: `${groups.join(':')}${kept}`, network: `${groups.slice(0, 4).join(':')}::/64${kept}` }
}
