/**
 * One tar header (POSIX.1-2017, pax, "ustar Interchange Format"), as Go's archive/tar reads it, because that is what wrote nearly
 * every layer there is:
 *
 *   0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8 | 156 type 1 | 157 link 100
 *   257 magic 6 | 263 version 2 | 265 user 32 | 297 group 32 | 329 major 8 | 337 minor 8 | 345 prefix 155 | 500 zeros 12
 *
 * Numbers are octal, or binary after a first byte with its high bit set (GNU, base-256). Attacker-controlled throughout.
 */
import { type ByteString, toByteString } from './byte-string.ts'
import { layerInvalid } from './errors.ts'

export const blockBytes = 512

export type TarKind = 'file' | 'directory' | 'symlink' | 'link' | 'character' | 'block' | 'fifo'

/** Kinds whose size is not followed by data, whatever the header says. */
const dataless: ReadonlySet<string> = new Set('123456')

const kinds: Readonly<Record<string, TarKind>> = {
  '0': 'file',
  '\0': 'file',
  /** "Contiguous": a file everywhere but on the machines of 1988. */
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
}

export type TarHeader = {
  type: string
  name: ByteString
  linkName: ByteString
  mode: number
  uid: number
  gid: number
  size: number
  mtime: number
  major: number
  minor: number
}

/** @returns undefined for a block of zeros, which ends an archive. @throws layer-invalid */
export function parseTarHeader(block: Uint8Array): TarHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined
  if (!hasChecksum(block))
    throw layerInvalid('a tar header has a wrong checksum: this is no tar, or it is damaged')
  const magic = text(block, 257, 6)
  const isDeviceField = magic === 'ustar' || magic === 'ustar '
  // GNU's own format has times where POSIX has the prefix.
  const prefix = magic === 'ustar' && block[262] === 0 ? text(block, 345, 155) : ''
  const name = text(block, 0, 100)
  return {
    type: String.fromCharCode(block[156] as number),
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: text(block, 157, 100),
    mode: number(block, 100, 8, 'mode'),
    uid: number(block, 108, 8, 'uid'),
    gid: number(block, 116, 8, 'gid'),
    size: number(block, 124, 12, 'size'),
    mtime: number(block, 136, 12, 'mtime'),
    major: isDeviceField ? number(block, 329, 8, 'device number') : 0,
    minor: isDeviceField ? number(block, 337, 8, 'device number') : 0,
  }
}

/** @returns undefined for a type that is none of a file system: headers about headers, and what nobody reads. */
export function kindOf({ type, name }: Pick<TarHeader, 'type' | 'name'>): TarKind | undefined {
  // Before 1988 a folder was a file whose name ends so.
  if (type === '\0' && name.endsWith('/')) return 'directory'
  return kinds[type]
}

export function dataBytesOf({ type, size }: Pick<TarHeader, 'type' | 'size'>): number {
  return dataless.has(type) ? 0 : size
}

/** The sum of all bytes with the checksum's own taken for spaces. Some old programs summed signed bytes. */
function hasChecksum(block: Uint8Array): boolean {
  let unsigned = 0
  let signed = 0
  for (let at = 0; at < blockBytes; at += 1) {
    const byte = at >= 148 && at < 156 ? 0x20 : (block[at] as number)
    unsigned += byte
    signed += byte > 127 ? byte - 256 : byte
  }
  const stated = number(block, 148, 8, 'checksum')
  return stated === unsigned || stated === signed
}

/** Up to the first NUL. */
function text(block: Uint8Array, at: number, length: number): ByteString {
  const field = block.subarray(at, at + length)
  const end = field.indexOf(0)
  return toByteString(end < 0 ? field : field.subarray(0, end))
}

function number(block: Uint8Array, at: number, length: number, what: string): number {
  const first = block[at] as number
  if (first >= 0x80) return binary(block.subarray(at, at + length), what)
  const digits = text(block, at, length).replaceAll(/^ +| +$/g, '')
  if (!/^[0-7]*$/.test(digits))
    throw layerInvalid(`a tar header has ${JSON.stringify(digits)} for its ${what}`)
  return digits === '' ? 0 : Number.parseInt(digits, 8)
}

/** Two's complement, big-endian; the high bit of the first byte only marks it. */
function binary(field: Uint8Array, what: string): number {
  const isNegative = ((field[0] as number) & 0x40) !== 0
  let value = isNegative ? -1n : 0n
  for (const [index, byte] of field.entries()) {
    const bits = index === 0 ? byte & 0x7f : byte
    value = index === 0 ? BigInt(isNegative ? bits | ~0x7f : bits) : (value << 8n) | BigInt(bits)
  }
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER))
    throw layerInvalid(`a tar header has a ${what} that no file has`)
  return Number(value)
}
