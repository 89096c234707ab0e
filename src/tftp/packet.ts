/**
 * TFTP packets as bytes (RFC 1350 §5, RFC 2347). Numbers are big-endian.
 *
 *   RRQ 1, WRQ 2   | 2 opcode | filename | 0 | mode | 0 | { option | 0 | value | 0 }…   at most 512 bytes
 *   DATA 3         | 2 opcode | 2 block | 0 to blksize bytes |        a short one is the last
 *   ACK 4          | 2 opcode | 2 block |
 *   ERROR 5        | 2 opcode | 2 code | message | 0 |
 *   OACK 6         | 2 opcode | { option | 0 | value | 0 }…
 */
import { MusterError } from '../errors.ts'
import { ByteReader } from '../wire/reader.ts'
import { decodeUtf8, encodeUtf8 } from '../wire/utf8.ts'
import { ByteWriter } from '../wire/writer.ts'

export const opcodes = { read: 1, write: 2, data: 3, ack: 4, error: 5, oack: 6 } as const

/** Error codes of RFC 1350 §5 and, for the last, RFC 2347. */
export const tftpErrors = {
  undefined: 0,
  fileNotFound: 1,
  accessViolation: 2,
  illegalOperation: 4,
  unknownTransfer: 5,
  optionRefused: 8,
} as const

/** Option names in lower case: RFC 2347 compares them without regard to case. */
export type TftpOptions = ReadonlyMap<string, string>

export type RequestPacket = { op: 'read' | 'write'; filename: string; mode: string; options: TftpOptions }

export type Packet =
  | RequestPacket
  | { op: 'data'; block: number; data: Uint8Array }
  | { op: 'ack'; block: number }
  | { op: 'error'; code: number; message: string }
  | { op: 'oack'; options: TftpOptions }

/** RFC 2347: a request has at most 512 octets. No reply of ours that is not DATA is longer either. */
export const maxRequestBytes = 512
export const dataHeaderBytes = 4

/**
 * Any TFTP packet from its bytes, which are attacker-controlled. `data` is a view into them.
 * @throws packet-invalid
 */
export function parsePacket(bytes: Uint8Array): Packet {
  const reader = new ByteReader(bytes, { what: 'TFTP packet' })
  const opcode = reader.u16()
  switch (opcode) {
    case opcodes.read:
      return parseRequest('read', reader)
    case opcodes.write:
      return parseRequest('write', reader)
    case opcodes.data:
      return { op: 'data', block: reader.u16(), data: reader.rest() }
    case opcodes.ack:
      // Firmware pads short Ethernet frames and some hands the padding on: bytes after the block are no error.
      return { op: 'ack', block: reader.u16() }
    case opcodes.error:
      return { op: 'error', code: reader.u16(), message: parseMessage(reader) }
    case opcodes.oack:
      return { op: 'oack', options: parseOptions(reader) }
    default:
      throw new MusterError('packet-invalid', `TFTP packet is malformed: opcode ${opcode} is not 1 to 6`, {
        details: { found: opcode },
      })
  }
}

/** @throws packet-invalid when it does not fit: 512 bytes for all but DATA, 65 464 bytes of data (RFC 2348). */
export function encodePacket(packet: Packet): Uint8Array<ArrayBuffer> {
  const limitBytes = packet.op === 'data' ? dataHeaderBytes + 65_464 : maxRequestBytes
  const writer = new ByteWriter({ limitBytes, what: `TFTP ${packet.op} packet` }).u16(opcodes[packet.op])
  switch (packet.op) {
    case 'read':
    case 'write':
      writer.zeroTerminated(encodeUtf8(packet.filename)).zeroTerminated(encodeUtf8(packet.mode))
      return encodeOptions(writer, packet.options).finish()
    case 'data':
      return writer.u16(packet.block).bytes(packet.data).finish()
    case 'ack':
      return writer.u16(packet.block).finish()
    case 'error':
      return writer.u16(packet.code).zeroTerminated(encodeUtf8(packet.message)).finish()
    case 'oack':
      return encodeOptions(writer, packet.options).finish()
  }
}

/** Writes a DATA header in place, so that a file's blocks stand in one buffer as packets ready to go. */
export function writeDataHeader(bytes: Uint8Array, offset: number, block: number): void {
  bytes[offset] = 0
  bytes[offset + 1] = opcodes.data
  // RFC 1350 says nothing of files beyond 65 535 blocks. Every client that takes them counts on through 0.
  bytes[offset + 2] = (block >>> 8) & 0xff
  bytes[offset + 3] = block & 0xff
}

function parseRequest(op: 'read' | 'write', reader: ByteReader): RequestPacket {
  const filename = decodeUtf8(reader.untilZero(maxRequestBytes))
  const mode = decodeUtf8(reader.untilZero(maxRequestBytes)).toLowerCase()
  return { op, filename, mode, options: parseOptions(reader) }
}

/** The first of two equal names counts. An empty name is the zero padding of some ROMs: options end there. */
function parseOptions(reader: ByteReader): Map<string, string> {
  const options = new Map<string, string>()
  while (reader.remaining > 0) {
    const name = decodeUtf8(reader.untilZero(maxRequestBytes)).toLowerCase()
    if (name === '') break
    const value = decodeUtf8(reader.untilZero(maxRequestBytes))
    if (!options.has(name)) options.set(name, value)
  }
  return options
}

function encodeOptions(writer: ByteWriter, options: TftpOptions): ByteWriter {
  for (const [name, value] of options)
    writer.zeroTerminated(encodeUtf8(name)).zeroTerminated(encodeUtf8(value))
  return writer
}

/** The message is for people; a client that leaves its end or its encoding out still told us the code. */
function parseMessage(reader: ByteReader): string {
  const rest = reader.rest()
  const end = rest.indexOf(0)
  const text = end < 0 ? rest : rest.subarray(0, end)
  return Array.from(text.subarray(0, 128), (byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?',
  ).join('')
}
