/** IPv4 and hardware addresses between bytes, numbers and text. Dotted text is what the rest of this room handles. */
import { MusterError } from '../errors.ts'

export const anyAddress = '0.0.0.0'
export const broadcastAddress = '255.255.255.255'

/** The four bytes from `offset` on; the caller knows that they are there. */
export function readAddress(bytes: Uint8Array, offset = 0): string {
  const isAny = bytes[offset] === 0 && bytes[offset + 1] === 0
  // Most fields of most packets: no text to make.
  if (isAny && bytes[offset + 2] === 0 && bytes[offset + 3] === 0) return anyAddress
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`
}

/**
 * `192.0.2.1` as a number; undefined for anything else, leading zeros and short forms included. By hand: every reply writes a dozen, and an
 * expression with groups is most of what that costs.
 */
export function toNumber(text: string): number | undefined {
  let value = 0
  let octet = 0
  let digits = 0
  let dots = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === dotCode && digits > 0 && dots < 3) {
      value = value * 256 + octet
      octet = 0
      digits = 0
      dots += 1
      continue
    }
    const digit = code - zeroCode
    const isLeadingZero = digits === 1 && octet === 0
    if (digit < 0 || digit > 9 || isLeadingZero) return undefined
    octet = octet * 10 + digit
    digits += 1
    if (octet > 255) return undefined
  }
  return dots === 3 && digits > 0 ? value * 256 + octet : undefined
}

const dotCode = 0x2e
const zeroCode = 0x30

export function toText(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`
}

/** @throws config-invalid */
export function requireNumber(text: string, what: string): number {
  const value = toNumber(text)
  if (value !== undefined) return value
  throw new MusterError(
    'config-invalid',
    `${what}: '${text.slice(0, 40)}' is no IPv4 address, as in 192.0.2.10`,
  )
}

/** The bytes of an option that holds addresses. */
export function addressBytes(...addresses: readonly string[]): Uint8Array {
  const out = new Uint8Array(addresses.length * 4)
  for (let index = 0; index < addresses.length; index += 1) {
    const value = toNumber(addresses[index] as string) ?? 0
    out[index * 4] = value >>> 24
    out[index * 4 + 1] = value >>> 16
    out[index * 4 + 2] = value >>> 8
    out[index * 4 + 3] = value
  }
  return out
}

export type Network = { first: number; prefix: number }

/** `192.0.2.0/24`. @throws config-invalid where host bits are set or it is no network at all */
export function parseNetwork(text: string, what: string): Network {
  const [address = '', length = ''] = text.split('/')
  const first = toNumber(address)
  const prefix = /^\d{1,2}$/.test(length) ? Number(length) : Number.NaN
  if (first === undefined || !(prefix >= 8 && prefix <= 30) || networkOf(first, prefix) !== first)
    throw new MusterError(
      'config-invalid',
      `${what}: '${text.slice(0, 40)}' is no IPv4 network from /8 to /30, as in 192.0.2.0/24`,
    )
  return { first, prefix }
}

export function networkOf(address: number, prefix: number): number {
  return (address & maskOf(prefix)) >>> 0
}

export function maskOf(prefix: number): number {
  return prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0
}

export function isWithin(address: number, network: Network): boolean {
  return networkOf(address, network.prefix) === network.first
}

/** A station's MAC address in our form, from the notations that people write; undefined for anything else. */
export function parseMac(text: string): string | undefined {
  if (!/^[0-9a-f]{2}([:-]?[0-9a-f]{2}){5}$|^([0-9a-f]{4}\.){2}[0-9a-f]{4}$/i.test(text)) return undefined
  const hex = text.toLowerCase().replace(/[^0-9a-f]/g, '')
  // IEEE 802: the lowest bit of the first octet marks a group, which is never a sender.
  return Number.parseInt(hex.slice(0, 2), 16) % 2 === 1 ? undefined : hex.match(/../g)?.join(':')
}

const hexBytes = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
/** Character codes of the two digits of a byte. */
const high = Uint8Array.from(hexBytes, (text) => text.charCodeAt(0))
const low = Uint8Array.from(hexBytes, (text) => text.charCodeAt(1))
const colon = 0x3a

/** `52:54:00:12:34:56`. */
export function macText(bytes: Uint8Array): string {
  if (bytes.length !== 6) return Array.from(bytes, (byte) => hexBytes[byte]).join(':')
  // At once: text put together piece by piece is a chain, which each map that it is a key of has to walk first.
  // biome-ignore format: a line for each two bytes
  return String.fromCharCode(
    high[bytes[0]!]!, low[bytes[0]!]!, colon, high[bytes[1]!]!, low[bytes[1]!]!, colon,
    high[bytes[2]!]!, low[bytes[2]!]!, colon, high[bytes[3]!]!, low[bytes[3]!]!, colon,
    high[bytes[4]!]!, low[bytes[4]!]!, colon, high[bytes[5]!]!, low[bytes[5]!]!,
  )
}
