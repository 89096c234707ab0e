/**
 * DHCP packets as bytes (RFC 2131 §2, RFC 2132). Numbers are big-endian.
 *
 *     0  op 1      1  htype 1   2  hlen 1    3  hops 1
 *     4  xid 4                  8  secs 2   10  flags 2 (0x8000: broadcast)
 *    12  ciaddr 4  16  yiaddr 4  20  siaddr 4  24  giaddr 4
 *    28  chaddr 16
 *    44  sname 64               108  file 128            both may hold options instead (option 52)
 *   236  cookie 63 82 53 63     240  { code 1 | length 1 | value }… | 255
 */
import { MusterError } from '../errors.ts'
import { anyAddress, readAddress, toNumber } from './address.ts'
import { OptionParts } from './option-parts.ts'
import { options } from './options.ts'

export type DhcpPacket = {
  op: 'request' | 'reply'
  htype: number
  hops: number
  xid: number
  secs: number
  flags: number
  /** Dotted; `0.0.0.0` for none. */
  ciaddr: string
  yiaddr: string
  siaddr: string
  giaddr: string
  /** hlen bytes, at most 16. */
  chaddr: Uint8Array
  /** Up to the first zero byte, one character a byte; empty where the field holds options. */
  sname: string
  file: string
  /** Parts of a long option are put together (RFC 3396 §7). In the order of the packet. Empty for plain BOOTP. */
  options: ReadonlyMap<number, Uint8Array>
}

const headerBytes = 236
const magicCookie = 0x63825363
const optionsOffset = headerBytes + 4
/** RFC 3396 §5: what one length can say. */
const partBytes = 255
const snameBytes = 64
const fileBytes = 128
/** RFC 1542 §2.1: a BOOTP message has 300 bytes; old relays and Linux's in-kernel client drop shorter ones. */
const leastBytes = 300
export const broadcastFlag = 0x8000

/**
 * Any BOOTP or DHCP packet from its bytes, which are attacker-controlled. Option values are views into them.
 * @throws packet-invalid
 */
export function parsePacket(bytes: Uint8Array): DhcpPacket {
  const { chaddr, op } = parseSender(bytes)
  const sname = bytes.subarray(44, 108)
  const file = bytes.subarray(108, headerBytes)
  const { found, overload } = parseOptionFields(bytes, sname, file)
  return {
    op,
    htype: bytes[1]!,
    hops: bytes[3]!,
    xid: u32(bytes, 4),
    secs: u16(bytes, 8),
    flags: u16(bytes, 10),
    ciaddr: readAddress(bytes, 12),
    yiaddr: readAddress(bytes, 16),
    siaddr: readAddress(bytes, 20),
    giaddr: readAddress(bytes, 24),
    chaddr,
    sname: overload & 2 ? '' : zeroEnded(sname),
    file: overload & 1 ? '' : zeroEnded(file),
    options: found,
  }
}

/**
 * Who sent a packet, attacker-controlled as all of it: next to nothing of the work that `parsePacket` is, so that a rate comes before that.
 * @throws packet-invalid
 */
export function parseSender(bytes: Uint8Array): Pick<DhcpPacket, 'op' | 'chaddr'> {
  if (bytes.length < headerBytes)
    throw malformed(`${bytes.length} bytes, a header has ${headerBytes}`, { found: bytes.length })
  const [op, hlen] = [bytes[0]!, bytes[2]!]
  if (op !== 1 && op !== 2) throw malformed(`op ${op} is neither request nor reply`, { found: op })
  if (hlen > 16) throw malformed(`a hardware address of ${hlen} bytes, the field has 16`, { found: hlen })
  return { op: op === 1 ? 'request' : 'reply', chaddr: bytes.subarray(28, 28 + hlen) }
}

/** RFC 2131 §4.1: options first, then `file`, then `sname`, where option 52 says that they hold options. */
function parseOptionFields(bytes: Uint8Array, sname: Uint8Array, file: Uint8Array) {
  const found = new Map<number, Uint8Array>()
  // Without the cookie the area is a vendor's own (RFC 951): plain BOOTP, as GRUB's older net_bootp sends it.
  if (bytes.length < optionsOffset || u32(bytes, headerBytes) !== magicCookie) return { found, overload: 0 }
  const parts = new OptionParts(found)
  parts.read(bytes.subarray(optionsOffset))
  // One byte, which cannot come in parts.
  const overload = found.get(options.overload)?.[0] ?? 0
  if (overload & 1) parts.read(file)
  if (overload & 2) parts.read(sname)
  parts.join()
  // How it was packed is not what it says.
  found.delete(options.overload)
  return { found, overload }
}

/**
 * The packet in at most `limitBytes` (the client's option 57), at least 300. Options that do not fit go into `file` and `sname` where
 * those are empty (RFC 2131 §4.1), a long one in parts (RFC 3396 §5).
 * @throws packet-invalid when it does not fit all the same
 */
export function encodePacket(packet: DhcpPacket, limitBytes: number): Uint8Array<ArrayBuffer> {
  // The end mark, and option 52 where it is needed.
  const room = Math.max(leastBytes, limitBytes) - optionsOffset - 1
  const bytesOfOptions = encodedLength(packet.options)
  const out = zeroes(Math.max(leastBytes, Math.min(bytesOfOptions, room) + optionsOffset + 1))
  const fields = bytesOfOptions <= room ? undefined : spread(packet, room - 3)
  writeHeader(out, packet, fields)
  let at = optionsOffset
  if (fields === undefined) {
    for (const [code, value] of packet.options) at = writeOption(out, at, code, value)
  } else {
    const overload = (fields.file.length > 0 ? 1 : 0) + (fields.sname.length > 0 ? 2 : 0)
    at = writeOption(out, at, options.overload, Uint8Array.of(overload))
    for (const piece of fields.main) {
      out.set(piece, at)
      at += piece.length
    }
  }
  out[at] = options.end
  return out
}

function writeHeader(out: Uint8Array<ArrayBuffer>, packet: DhcpPacket, fields: Fields | undefined): void {
  out[0] = packet.op === 'request' ? 1 : 2
  out[1] = packet.htype
  out[2] = packet.chaddr.length
  out[3] = packet.hops
  writeU32(out, 4, packet.xid)
  writeU32(out, 8, packet.secs * 0x1_0000 + packet.flags)
  writeAddress(out, 12, packet.ciaddr)
  writeAddress(out, 16, packet.yiaddr)
  writeAddress(out, 20, packet.siaddr)
  writeAddress(out, 24, packet.giaddr)
  fixed(out, 28, packet.chaddr, 16)
  const textOr = (pieces: Uint8Array[] | undefined, text: string) =>
    pieces === undefined || pieces.length === 0 ? latin1(text) : area(pieces)
  if (packet.sname !== '' || fields !== undefined)
    fixed(out, 44, textOr(fields?.sname, packet.sname), snameBytes)
  if (packet.file !== '' || fields !== undefined)
    fixed(out, 108, textOr(fields?.file, packet.file), fileBytes)
  writeU32(out, headerBytes, magicCookie)
}

/** What `writeOption` needs for all of them. */
function encodedLength(all: DhcpPacket['options']): number {
  let sum = 0
  for (const { length } of all.values()) sum += length + 2 * Math.max(1, Math.ceil(length / partBytes))
  return sum
}

/** @returns where the next one begins; the room was counted before. */
function writeOption(out: Uint8Array, at: number, code: number, value: Uint8Array): number {
  let next = at
  for (let from = 0; from === 0 || from < value.length; from += partBytes) {
    const length = Math.min(partBytes, value.length - from)
    out[next] = code
    out[next + 1] = length
    out.set(length === value.length ? value : value.subarray(from, from + length), next + 2)
    next += 2 + length
  }
  return next
}

type Fields = { main: Uint8Array[]; file: Uint8Array[]; sname: Uint8Array[] }

/** Each option whole, as it travels. In order, so that the parts of a long option are put together again as they were: once one overflows, all that follow do. */
function spread(packet: DhcpPacket, room: number): Fields {
  const pieces: Uint8Array[] = []
  for (const [code, value] of packet.options)
    for (let from = 0; from === 0 || from < value.length; from += partBytes) {
      const part = value.subarray(from, from + partBytes)
      pieces.push(Uint8Array.from([code, part.length, ...part]))
    }
  const fields: Fields = { main: [], file: [], sname: [] }
  const places = [
    { into: fields.main, room },
    { into: fields.file, room: packet.file === '' ? fileBytes - 1 : 0 },
    { into: fields.sname, room: packet.sname === '' ? snameBytes - 1 : 0 },
  ]
  let place = 0
  for (const piece of pieces) {
    while (place < 3 && lengthOf(places[place]!.into) + piece.length > places[place]!.room) place += 1
    const target = places[place]
    if (target === undefined)
      throw new MusterError('packet-invalid', 'DHCP packet cannot be written: its options do not fit', {
        details: { expected: room, found: lengthOf(pieces) },
      })
    target.into.push(piece)
  }
  return fields
}

function area(pieces: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from([...pieces.flatMap((piece) => [...piece]), options.end])
}

function lengthOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0)
}

function fixed(out: Uint8Array, at: number, bytes: Uint8Array, size: number): void {
  if (bytes.length > size)
    throw new MusterError(
      'packet-invalid',
      `DHCP packet cannot be written: ${bytes.length} bytes for a field of ${size}`,
      { details: { expected: size, found: bytes.length } },
    )
  out.set(bytes, at)
}

/** Out of Node's pool: memory of its own for each packet is most of what keeps the garbage collector busy. */
function zeroes(length: number): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset } = Buffer.allocUnsafe(length)
  return new Uint8Array(buffer, byteOffset, length).fill(0)
}

function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!
}

function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 0x1_0000 + u16(bytes, at + 2)
}

function writeU32(out: Uint8Array, at: number, value: number): void {
  out[at] = value >>> 24
  out[at + 1] = value >>> 16
  out[at + 2] = value >>> 8
  out[at + 3] = value
}

function writeAddress(out: Uint8Array, at: number, address: string): void {
  if (address !== anyAddress) writeU32(out, at, toNumber(address) ?? 0)
}

/** One byte a character. */
export function latin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at)
  return bytes
}

function zeroEnded(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return latin1Text(end < 0 ? bytes : bytes.subarray(0, end))
}

export function latin1Text(bytes: Uint8Array): string {
  return bytes.length === 0 ? '' : String.fromCharCode(...bytes)
}

function malformed(reason: string, details: Record<string, unknown>): MusterError {
  return new MusterError('packet-invalid', `DHCP packet is malformed: ${reason}`, { details })
}
