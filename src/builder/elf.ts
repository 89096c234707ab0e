/**
 * The little of ELF that a builder needs: which libraries a program loads, and a section by name (kernel modules keep
 * what they depend on in `.modinfo`). 64-bit little-endian only, as amd64 and arm64 are.
 *
 *     ELF header    0 magic, 4 class (2), 5 data (1), 18 machine, 32 phoff, 40 shoff, 54 phentsize, 56 phnum,
 *                  58 shentsize, 60 shnum, 62 shstrndx
 *     program       0 type (1 LOAD, 2 DYNAMIC, 3 INTERP), 8 offset, 16 vaddr, 32 filesz
 *     section       0 name, 4 type, 24 offset, 32 size
 *     dynamic       0 tag (1 NEEDED, 5 STRTAB, 14 SONAME), 8 value
 */
import { MusterError } from '../errors.ts'

export type Elf = {
  /** `e_machine`: 62 is x86-64, 183 is AArch64. */
  machine: number
  /** Absolute path of the program loader; undefined for libraries and static programs. */
  interpreter: string | undefined
  soname: string | undefined
  needed: string[]
}

type Segment = { type: number; offset: number; address: number; bytes: number }

export function isElf(bytes: Buffer): boolean {
  return bytes.length >= 64 && bytes.readUInt32BE(0) === 0x7f454c46
}

/** @throws build-failed where it is no ELF file of 64 bits, or its tables point outside of it. */
export function readElf(bytes: Buffer, name: string): Elf {
  return guarded(bytes, name, () => {
    const segments = readSegments(bytes)
    const interpreter = segments.find((segment) => segment.type === 3)
    const dynamic = segments.find((segment) => segment.type === 2)
    const tags = dynamic === undefined ? [] : readDynamic(bytes, dynamic)
    const strings = tags.find(({ tag }) => tag === 5)
    const text = (offset: number) => {
      if (strings === undefined) throw new RangeError('no string table')
      return cString(bytes, fileOffset(segments, strings.value) + offset)
    }
    const soname = tags.find(({ tag }) => tag === 14)
    return {
      machine: bytes.readUInt16LE(18),
      interpreter: interpreter && cString(bytes, interpreter.offset),
      soname: soname && text(soname.value),
      needed: tags.filter(({ tag }) => tag === 1).map(({ value }) => text(value)),
    }
  })
}

/** The bytes of a section, or undefined where the file has none of that name. @throws build-failed as readElf. */
export function elfSection(bytes: Buffer, wanted: string, name: string): Buffer | undefined {
  return guarded(bytes, name, () => {
    const start = readUint(bytes, 40)
    const entryBytes = bytes.readUInt16LE(58)
    const section = (index: number) => {
      const at = start + index * entryBytes
      return {
        name: bytes.readUInt32LE(at),
        offset: readUint(bytes, at + 24),
        bytes: readUint(bytes, at + 32),
      }
    }
    const names = section(bytes.readUInt16LE(62)).offset
    for (let index = 0; index < bytes.readUInt16LE(60); index++) {
      const found = section(index)
      if (cString(bytes, names + found.name) !== wanted) continue
      if (found.offset + found.bytes > bytes.length)
        throw new RangeError(`${wanted} ends outside of the file`)
      return bytes.subarray(found.offset, found.offset + found.bytes)
    }
    return undefined
  })
}

function readSegments(bytes: Buffer): Segment[] {
  const start = readUint(bytes, 32)
  const entryBytes = bytes.readUInt16LE(54)
  return Array.from({ length: bytes.readUInt16LE(56) }, (_, index) => {
    const at = start + index * entryBytes
    return {
      type: bytes.readUInt32LE(at),
      offset: readUint(bytes, at + 8),
      address: readUint(bytes, at + 16),
      bytes: readUint(bytes, at + 32),
    }
  })
}

function readDynamic(bytes: Buffer, segment: Segment): { tag: number; value: number }[] {
  const tags: { tag: number; value: number }[] = []
  for (let at = segment.offset; at < segment.offset + segment.bytes; at += 16) {
    const tag = bytes.readBigUInt64LE(at)
    if (tag === 0n) break
    // Tags of the system's own range may hold what is no offset at all; none of them is needed here.
    if (tag < 0x60000000n) tags.push({ tag: Number(tag), value: readUint(bytes, at + 8) })
  }
  return tags
}

function fileOffset(segments: Segment[], address: number): number {
  const segment = segments.find((s) => s.type === 1 && address >= s.address && address < s.address + s.bytes)
  if (segment === undefined) throw new RangeError(`address ${address} is in no segment`)
  return address - segment.address + segment.offset
}

function readUint(bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64LE(at)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`offset ${value} at ${at}`)
  return Number(value)
}

function cString(bytes: Buffer, start: number): string {
  const end = bytes.indexOf(0, start)
  if (start >= bytes.length || end < 0) throw new RangeError(`no text at ${start}`)
  return bytes.toString('latin1', start, end)
}

function guarded<T>(bytes: Buffer, name: string, read: () => T): T {
  try {
    if (!isElf(bytes) || bytes[4] !== 2 || bytes[5] !== 1)
      throw new RangeError('not ELF of 64 bits, little endian')
    return read()
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw new MusterError('build-failed', `${name} is not an ELF file that can be read: ${cause.message}.`, {
      cause,
    })
  }
}
