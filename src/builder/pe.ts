/**
 * PE images, as UEFI loads them: reads their sections and adds some (Microsoft, "PE Format"; UEFI 2.10 §2.1.1). PE32+ only, which
 * is what 64-bit firmware takes.
 *
 *     DOS header       0 "MZ", 60 offset of the PE header
 *     PE header        0 "PE\0\0", 4 machine, 6 number of sections, 20 size of the optional header
 *     optional header  0 magic 0x20b, 8 size of initialised data, 32 section alignment, 36 file alignment, 56 size of the image,
 *                     60 size of all headers, 64 checksum, 108 number of directories, 112 + 8×4 certificate table (file offset, size)
 *     section header   0 name (8), 8 virtual size, 12 virtual address, 16 raw size, 20 raw offset, 36 characteristics
 *     certificate      0 length, 4 revision 0x0200, 6 type 2 (PKCS#7), 8 SignedData; each at a multiple of 8
 */
import { MusterError } from '../errors.ts'

export type PeSection = {
  name: string
  virtualAddress: number
  /** What it takes in memory; its bytes in the file may be fewer (zeros) or more (padding). */
  virtualBytes: number
  rawOffset: number
  rawBytes: number
}

export type Pe = {
  /** `IMAGE_FILE_HEADER.Machine`: 0x8664 is x86-64, 0xaa64 is AArch64. */
  machine: number
  sections: PeSection[]
  /** The Authenticode signatures (PKCS#7 SignedData), as many as there are. */
  signatures: Buffer[]
}

export const peMachines = { amd64: 0x8664, arm64: 0xaa64 } as const

const sectionHeaderBytes = 40
const sectionsMax = 96
const certificateBytesMax = 1 << 20
/** CNT_INITIALIZED_DATA | MEM_READ; and CNT_CODE | MEM_EXECUTE | MEM_READ. */
const characteristics = { data: 0x40000040, code: 0x60000020 }

type Header = {
  pe: number
  optional: number
  sectionTable: number
  sectionCount: number
  sectionAlignment: number
  fileAlignment: number
  headersBytes: number
}

/** Attacker-controlled where a kernel comes from outside. @throws build-failed where it is no PE32+ image or points outside of itself. */
export function readPe(bytes: Buffer, name: string): Pe {
  return guarded(name, () => {
    const header = readHeader(bytes)
    return {
      machine: bytes.readUInt16LE(header.pe + 4),
      sections: Array.from({ length: header.sectionCount }, (_, index) =>
        readSection(bytes, header.sectionTable + index * sectionHeaderBytes),
      ),
      signatures: readSignatures(bytes, header),
    }
  })
}

/** The bytes of a section as they are in memory, without the file's padding; undefined where there is none of that name. */
export function peSection(bytes: Buffer, wanted: string, name: string): Buffer | undefined {
  const section = readPe(bytes, name).sections.find((each) => each.name === wanted)
  if (section === undefined) return undefined
  const { rawOffset, rawBytes, virtualBytes } = section
  return bytes.subarray(rawOffset, rawOffset + Math.min(rawBytes, virtualBytes))
}

export type NewSection = { name: string; bytes: Uint8Array; code?: boolean }

/**
 * The image with more sections, in this order, behind its own. Same input, same bytes. A signature would hold no more, so an image
 * that has one is refused.
 * @throws build-failed
 */
export function addSections(image: Buffer, added: readonly NewSection[], name: string): Buffer {
  return guarded(name, () => {
    const header = readHeader(image)
    const { sections, signatures } = readPe(image, name)
    if (signatures.length > 0) throw new RangeError('it is signed already')
    const tableEnd = header.sectionTable + (sections.length + added.length) * sectionHeaderBytes
    const firstRaw = Math.min(
      header.headersBytes,
      ...sections.filter((each) => each.rawBytes > 0).map((each) => each.rawOffset),
    )
    if (tableEnd > firstRaw)
      throw new RangeError(`its headers have no room for ${added.length} more sections`)
    const align = (value: number) => alignUp(value, header.sectionAlignment)
    let address = align(Math.max(0, ...sections.map((each) => each.virtualAddress + each.virtualBytes)))
    const padded = alignUp(image.length, header.fileAlignment)
    const head = Buffer.alloc(padded)
    image.copy(head)
    const chunks: Buffer[] = [head]
    let offset = padded
    let dataBytes = image.readUInt32LE(header.optional + 8)
    added.forEach((section, index) => {
      const at = header.sectionTable + (sections.length + index) * sectionHeaderBytes
      const rawBytes = alignUp(section.bytes.length, header.fileAlignment)
      writeSection(head, at, section, { address, offset, rawBytes })
      const body = Buffer.alloc(rawBytes)
      body.set(section.bytes)
      chunks.push(body)
      offset += rawBytes
      address = align(address + Math.max(1, section.bytes.length))
      if (section.code !== true) dataBytes += rawBytes
    })
    head.writeUInt16LE(sections.length + added.length, header.pe + 6)
    head.writeUInt32LE(dataBytes, header.optional + 8)
    head.writeUInt32LE(address, header.optional + 56)
    head.writeUInt32LE(0, header.optional + 64)
    return Buffer.concat(chunks)
  })
}

function readHeader(bytes: Buffer): Header {
  if (bytes.toString('latin1', 0, 2) !== 'MZ') throw new RangeError('it does not start with MZ')
  const pe = bytes.readUInt32LE(60)
  if (bytes.readUInt32BE(pe) !== 0x50450000) throw new RangeError('it has no PE header')
  const optional = pe + 24
  if (bytes.readUInt16LE(optional) !== 0x20b) throw new RangeError('it is not PE32+')
  const header = {
    pe,
    optional,
    sectionTable: optional + bytes.readUInt16LE(pe + 20),
    sectionCount: bytes.readUInt16LE(pe + 6),
    sectionAlignment: bytes.readUInt32LE(optional + 32),
    fileAlignment: bytes.readUInt32LE(optional + 36),
    headersBytes: bytes.readUInt32LE(optional + 60),
  }
  if (header.sectionCount > sectionsMax)
    throw new RangeError(`it says it has ${header.sectionCount} sections`)
  for (const alignment of [header.sectionAlignment, header.fileAlignment])
    if (alignment === 0 || alignment > 1 << 20 || (alignment & (alignment - 1)) !== 0)
      throw new RangeError(`it is aligned to ${alignment}`)
  return header
}

function readSection(bytes: Buffer, at: number): PeSection {
  const section = {
    name: bytes.toString('latin1', at, at + 8).replace(/\0.*$/s, ''),
    virtualBytes: bytes.readUInt32LE(at + 8),
    virtualAddress: bytes.readUInt32LE(at + 12),
    rawBytes: bytes.readUInt32LE(at + 16),
    rawOffset: bytes.readUInt32LE(at + 20),
  }
  if (section.rawBytes > 0 && section.rawOffset + section.rawBytes > bytes.length)
    throw new RangeError(`its section ${section.name} ends behind the file`)
  return section
}

function writeSection(
  head: Buffer,
  at: number,
  { name, bytes, code = false }: NewSection,
  place: { address: number; offset: number; rawBytes: number },
): void {
  if (!/^[\x21-\x7e]{1,8}$/.test(name))
    throw new RangeError(`'${name}' is no section name of up to 8 characters`)
  if (place.offset + place.rawBytes > 0x7fffffff) throw new RangeError('it would be larger than 2 GiB')
  head.fill(0, at, at + sectionHeaderBytes)
  head.write(name, at, 'latin1')
  head.writeUInt32LE(bytes.length, at + 8)
  head.writeUInt32LE(place.address, at + 12)
  head.writeUInt32LE(place.rawBytes, at + 16)
  head.writeUInt32LE(place.offset, at + 20)
  head.writeUInt32LE(code ? characteristics.code : characteristics.data, at + 36)
}

/** The certificate table: unlike every other directory, by its offset in the file. */
function readSignatures(bytes: Buffer, { optional }: Header): Buffer[] {
  if (bytes.readUInt32LE(optional + 108) <= 4) return []
  let at = bytes.readUInt32LE(optional + 144)
  const end = at + bytes.readUInt32LE(optional + 148)
  if (at === end) return []
  if (end > bytes.length) throw new RangeError('its certificate table ends behind the file')
  const signatures: Buffer[] = []
  while (at + 8 <= end) {
    const length = bytes.readUInt32LE(at)
    if (length < 8 || at + length > end || length > certificateBytesMax)
      throw new RangeError('its certificate table is broken')
    if (bytes.readUInt16LE(at + 6) === 2) signatures.push(bytes.subarray(at + 8, at + length))
    at += alignUp(length, 8)
  }
  return signatures
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment
}

function guarded<T>(name: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (cause instanceof MusterError) throw cause
    throw new MusterError(
      'build-failed',
      `${name} is no PE image that can be used: ${(cause as Error).message}.`,
      {
        cause,
      },
    )
  }
}
