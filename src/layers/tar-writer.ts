/**
 * Writes tar (POSIX.1-2017, pax). What fits into the old header stands there alone; everything else comes as pax records, in one
 * fixed order and without a time of writing, so that the same tree is the same bytes.
 */
import { type ByteString, toBytes } from './byte-string.ts'
import { encodePaxRecord } from './pax.ts'
import { blockBytes, type TarKind } from './tar-header.ts'
import type { TarEntry } from './tar-reader.ts'

const types: Readonly<Record<TarKind, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
}

/** Two blocks of zeros. */
export const tarEnd = new Uint8Array(2 * blockBytes)

/** Everything before the entry's data; behind the data comes `paddingOf(size)`. */
export function encodeTarEntry(entry: TarEntry): Uint8Array {
  const records: Uint8Array[] = []
  const record = (key: string, value: Uint8Array) => records.push(encodePaxRecord(key, value))
  const fits = {
    name: nameBytes(entry.name, 'path', record),
    linkName: nameBytes(entry.linkName, 'linkpath', record),
    uid: octal(entry.uid, 7, 'uid', record),
    gid: octal(entry.gid, 7, 'gid', record),
    size: octal(entry.size, 11, 'size', record),
    mtime: octal(entry.mtime, 11, 'mtime', record),
  }
  for (const [name, value] of [...entry.xattrs].sort(byName)) record(`SCHILY.xattr.${name}`, value)
  const block = header(types[entry.kind], {
    ...fits,
    mode: entry.mode,
    major: entry.major,
    minor: entry.minor,
  })
  if (records.length === 0) return block
  const pax = joined(records)
  const paxBlock = header('x', {
    ...{ name: toBytes('pax'), linkName: toBytes(''), uid: 0, gid: 0, mtime: 0 },
    ...{ size: pax.length, mode: 0o644, major: 0, minor: 0 },
  })
  return joined([paxBlock, pax, new Uint8Array(paddingOf(pax.length)), block])
}

export function paddingOf(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes
}

type Fields = {
  name: Uint8Array
  linkName: Uint8Array
  mode: number
  uid: number
  gid: number
  size: number
  mtime: number
  major: number
  minor: number
}

function header(type: string, fields: Fields): Uint8Array {
  const block = new Uint8Array(blockBytes)
  const put = (at: number, text: string) => block.set(toBytes(text), at)
  const number = (at: number, value: number, digits: number) =>
    put(at, value.toString(8).padStart(digits, '0'))
  block.set(fields.name, 0)
  number(100, fields.mode, 7)
  number(108, fields.uid, 7)
  number(116, fields.gid, 7)
  number(124, fields.size, 11)
  number(136, fields.mtime, 11)
  put(156, type)
  block.set(fields.linkName, 157)
  put(257, 'ustar\x0000')
  number(329, fields.major, 7)
  number(337, fields.minor, 7)
  put(148, '        ')
  const sum = block.reduce((total, byte) => total + byte, 0)
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `)
  return block
}

type Keep = (key: string, value: Uint8Array) => void

/** What goes into the header's own field; a longer one leaves its beginning there, for programs that know no pax. */
function nameBytes(name: ByteString, key: string, record: Keep): Uint8Array {
  const bytes = toBytes(name)
  if (bytes.length <= 100) return bytes
  record(key, bytes)
  return bytes.subarray(0, 100)
}

function octal(value: number, digits: number, key: string, record: Keep): number {
  if (value >= 0 && value < 8 ** digits) return value
  record(key, toBytes(String(value)))
  return 0
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

function byName([a]: [ByteString, unknown], [b]: [ByteString, unknown]): number {
  return a < b ? -1 : 1
}
