/** IPv4 and hardware addresses between bytes, numbers and text. Dotted text is what the rest of this room handles. */
import { MusterError } from '../errors.ts'

export const anyAddress = '0.0.0.0'
export const broadcastAddress = '255.255.255.255'

/** The four bytes from `offset` on; the caller knows that they are there. */
export function readAddress(bytes: Uint8Array, offset = 0): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`
}

/** `192.0.2.1` as a number; undefined for anything else, leading zeros and short forms included. */
export function toNumber(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (match === null) return undefined
  let value = 0
  for (const part of match.slice(1)) {
    const octet = Number(part)
    if (octet > 255 || (part.length > 1 && part.startsWith('0'))) return undefined
    value = value * 256 + octet
  }
  return value
}

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
  for (const [index, text] of addresses.entries())
    new DataView(out.buffer).setUint32(index * 4, toNumber(text) ?? 0)
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

/** `52:54:00:12:34:56`. */
export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}
