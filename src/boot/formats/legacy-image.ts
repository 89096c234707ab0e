/**
 * U-Boot's legacy image (`uimg`): a header of 64 bytes, big-endian, then data (U-Boot include/image.h, struct legacy_img_hdr):
 *
 *     offset  bytes
 *          0      4  magic 27 05 19 56
 *          4      4  CRC-32 of the header with this field as zero
 *          8      4  time of creation, seconds since 1970
 *         12      4  bytes of the data
 *         16      4  load address
 *         20      4  entry point
 *         24      4  CRC-32 of the data
 *         28      1  operating system: 5 Linux
 *         29      1  architecture: 2 ARM, 22 ARM64, 24 x86-64
 *         30      1  type: 2 kernel, 6 script
 *         31      1  compression: 0 none
 *         32     32  name, zero-padded
 *
 * The data of a script: the length of each of its parts, 4 bytes each, a zero, then the parts (doc/usage/cmd/source.rst).
 * `source` checks magic, both sums and the type, and no architecture.
 */
import { crc32 } from 'node:zlib'
import { MusterError } from '../../errors.ts'
import { ByteReader } from '../../wire/reader.ts'

const magic = 0x27051956
const headerBytes = 64
const nameBytes = 32

export const imageTypes = { kernel: 2, script: 6 } as const
export const imageArchitectures = { arm: 2, arm64: 22, amd64: 24 } as const
const linux = 5

export type LegacyImage = {
  /** At most 32 bytes of ASCII; longer ones are cut off. */
  name: string
  type: number
  architecture: number
  operatingSystem: number
  compression: number
  loadAddress: number
  entryPoint: number
  /** Seconds since 1970; 0 so that the same input gives the same bytes. */
  time: number
  data: Uint8Array
}

export function encodeLegacyImage(image: LegacyImage): Uint8Array {
  const bytes = Buffer.alloc(headerBytes + image.data.length)
  bytes.writeUInt32BE(magic, 0)
  bytes.writeUInt32BE(image.time, 8)
  bytes.writeUInt32BE(image.data.length, 12)
  bytes.writeUInt32BE(image.loadAddress, 16)
  bytes.writeUInt32BE(image.entryPoint, 20)
  bytes.writeUInt32BE(crc32(image.data), 24)
  bytes.set([image.operatingSystem, image.architecture, image.type, image.compression], 28)
  bytes.write(image.name.slice(0, nameBytes), 32, 'latin1')
  bytes.writeUInt32BE(crc32(bytes.subarray(0, headerBytes)), 4)
  bytes.set(image.data, headerBytes)
  return bytes
}

/** Bytes after the data are ignored, as U-Boot does. @throws MusterError packet-invalid */
export function parseLegacyImage(bytes: Uint8Array): LegacyImage {
  const reader = new ByteReader(bytes, { what: 'U-Boot image' })
  const invalid = (what: string, expected: number, found: number) =>
    new MusterError(
      'packet-invalid',
      `The U-Boot image is malformed: ${what} should be ${hex(expected)}, but is ${hex(found)}.`,
      { details: { expected, found } },
    )
  const found = reader.u32()
  if (found !== magic) throw invalid('its magic number', magic, found)
  const headerSum = reader.u32()
  const time = reader.u32()
  const size = reader.u32()
  const [loadAddress, entryPoint, dataSum] = [reader.u32(), reader.u32(), reader.u32()]
  const [operatingSystem, architecture, type, compression] = [
    reader.u8(),
    reader.u8(),
    reader.u8(),
    reader.u8(),
  ]
  const name = Buffer.from(reader.bytes(nameBytes)).toString('latin1').replace(/\0.*$/s, '')
  const header = Buffer.from(bytes.subarray(0, headerBytes))
  header.writeUInt32BE(0, 4)
  if (crc32(header) !== headerSum) throw invalid('the sum of its header', crc32(header), headerSum)
  const data = reader.bytes(size)
  if (crc32(data) !== dataSum) throw invalid('the sum of its data', crc32(data), dataSum)
  return { name, type, architecture, operatingSystem, compression, loadAddress, entryPoint, time, data }
}

/** A script of one part. */
export function encodeScriptImage(options: { name: string; script: Uint8Array }): Uint8Array {
  const { name, script } = options
  const data = Buffer.alloc(8 + script.length)
  data.writeUInt32BE(script.length, 0)
  data.set(script, 8)
  return encodeLegacyImage({
    name,
    data,
    type: imageTypes.script,
    architecture: imageArchitectures.arm,
    operatingSystem: linux,
    compression: 0,
    loadAddress: 0,
    entryPoint: 0,
    time: 0,
  })
}

/** The parts of a script. @throws MusterError packet-invalid */
export function parseScriptImage(bytes: Uint8Array): Uint8Array[] {
  const { data, type } = parseLegacyImage(bytes)
  if (type !== imageTypes.script)
    throw new MusterError(
      'packet-invalid',
      `The U-Boot image has type ${type}, where ${imageTypes.script} is a script.`,
    )
  const reader = new ByteReader(data, { what: 'U-Boot script' })
  const lengths: number[] = []
  for (let length = reader.u32(); length !== 0; length = reader.u32()) lengths.push(length)
  return lengths.map((length) => reader.bytes(length))
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`
}
