/**
 * A flattened device tree (Devicetree Specification v0.4, chapter 5), version 17, big-endian:
 *
 *     offset  bytes
 *          0      4  magic d0 0d fe ed
 *          4      4  bytes of the whole
 *          8      4  offset of the structure block        12  offset of the strings block
 *         16      4  offset of the memory reservations    20  version 17
 *         24      4  last compatible version 16           28  boot processor
 *         32      4  bytes of the strings block           36  bytes of the structure block
 *         40     16  memory reservations: none, which is one entry of zeros
 *
 * Structure block, each token aligned to 4: 1 begin node + name + NUL; 2 end node; 3 property + length + offset of its name + value;
 * 4 nothing; 9 end.
 */
import { MusterError } from '../../errors.ts'
import { ByteReader } from '../../wire/reader.ts'

/** Content that is not in memory: it is put where it belongs when the tree is sent. */
export type Elsewhere = { elsewhere: string; size: number }
export type PropertyValue = Uint8Array | string | number | Elsewhere
export type TreeNode = {
  properties: Readonly<Record<string, PropertyValue>>
  children: Readonly<Record<string, TreeNode>>
}
/** The tree as it is sent: bytes, and where content from elsewhere goes. */
export type TreePart = Uint8Array | Elsewhere

const magic = 0xd00dfeed
const headerBytes = 56
const tokens = { beginNode: 1, endNode: 2, property: 3, nothing: 4, end: 9 } as const
/** Deeper than any device tree; parsing is recursive. */
const depthMax = 64

export function encodeDeviceTree(root: TreeNode): TreePart[] {
  const parts: TreePart[] = []
  const strings = new Map<string, number>()
  let stringsBytes = 0
  const nameOffset = (name: string): number => {
    const known = strings.get(name)
    if (known !== undefined) return known
    const offset = stringsBytes
    strings.set(name, offset)
    stringsBytes += Buffer.byteLength(name) + 1
    return offset
  }
  const node = (name: string, { properties, children }: TreeNode) => {
    parts.push(words(tokens.beginNode), padded(Buffer.from(`${name}\0`)))
    for (const [key, value] of Object.entries(properties)) {
      const content = toContent(value)
      parts.push(words(tokens.property, sizeOf(content), nameOffset(key)), content)
      const padding = -sizeOf(content) & 3
      if (padding > 0) parts.push(new Uint8Array(padding))
    }
    for (const [key, child] of Object.entries(children)) node(key, child)
    parts.push(words(tokens.endNode))
  }
  node('', root)
  parts.push(words(tokens.end))
  const structBytes = parts.reduce((sum, part) => sum + sizeOf(part), 0)
  const stringsBlock = Buffer.from([...strings.keys()].map((name) => `${name}\0`).join(''))
  const stringsAt = headerBytes + structBytes
  const total = stringsAt + stringsBlock.length
  const header = words(
    ...[magic, total, headerBytes, stringsAt, 40, 17, 16, 0, stringsBlock.length, structBytes],
    ...[0, 0, 0, 0],
  )
  return joined([header, ...parts, stringsBlock])
}

function toContent(value: PropertyValue): TreePart {
  if (typeof value === 'string') return Buffer.from(`${value}\0`)
  return typeof value === 'number' ? words(value) : value
}

export function sizeOf(part: TreePart): number {
  return part instanceof Uint8Array ? part.length : part.size
}

/** Neighbouring bytes in one piece. */
function joined(parts: readonly TreePart[]): TreePart[] {
  const out: TreePart[] = []
  let bytes: Uint8Array[] = []
  const flush = () => {
    if (bytes.length > 0) out.push(Buffer.concat(bytes))
    bytes = []
  }
  for (const part of parts) {
    if (part instanceof Uint8Array) bytes.push(part)
    else {
      flush()
      out.push(part)
    }
  }
  flush()
  return out
}

export type ParsedNode = {
  properties: ReadonlyMap<string, Uint8Array>
  children: ReadonlyMap<string, ParsedNode>
}

/** @throws MusterError packet-invalid */
export function parseDeviceTree(bytes: Uint8Array): ParsedNode {
  const header = new ByteReader(bytes, { what: 'device tree' })
  if (header.u32() !== magic) throw malformed('it does not begin with d0 0d fe ed')
  const total = header.u32()
  const [structAt, stringsAt] = [header.u32(), header.u32()]
  header.skip(4)
  if (header.u32() < 16) throw malformed('its version is older than 16')
  header.skip(8)
  const [stringsBytes, structBytes] = [header.u32(), header.u32()]
  if (total > bytes.length || structAt + structBytes > total || stringsAt + stringsBytes > total)
    throw malformed('a block lies outside of it')
  const strings = bytes.subarray(stringsAt, stringsAt + stringsBytes)
  const structure = new ByteReader(bytes.subarray(structAt, structAt + structBytes), { what: 'device tree' })
  if (nextToken(structure) !== tokens.beginNode) throw malformed('it has no root')
  readName(structure)
  const root = readNode(structure, strings, 0)
  if (nextToken(structure) !== tokens.end) throw malformed('something follows the root')
  return root
}

function readNode(reader: ByteReader, strings: Uint8Array, depth: number): ParsedNode {
  if (depth > depthMax) throw malformed(`its nodes are nested deeper than ${depthMax}`)
  const properties = new Map<string, Uint8Array>()
  const children = new Map<string, ParsedNode>()
  for (;;) {
    const token = nextToken(reader)
    if (token === tokens.endNode) return { properties, children }
    if (token === tokens.property) {
      const [length, nameAt] = [reader.u32(), reader.u32()]
      const value = reader.bytes(length)
      align(reader)
      properties.set(
        text(new ByteReader(strings.subarray(nameAt), { what: 'device tree' }).untilZero(255)),
        value,
      )
    } else if (token === tokens.beginNode) {
      const name = readName(reader)
      children.set(name, readNode(reader, strings, depth + 1))
    } else throw malformed(`token ${token} at offset ${reader.offset}`)
  }
}

function nextToken(reader: ByteReader): number {
  for (;;) {
    const token = reader.u32()
    if (token !== tokens.nothing) return token
  }
}

function readName(reader: ByteReader): string {
  const name = text(reader.untilZero(255))
  align(reader)
  return name
}

function align(reader: ByteReader): void {
  reader.skip(-reader.offset & 3)
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

function words(...values: number[]): Uint8Array {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index)
  return bytes
}

function padded(bytes: Uint8Array): Uint8Array {
  const padding = -bytes.length & 3
  return padding === 0 ? bytes : Buffer.concat([bytes, new Uint8Array(padding)])
}

function malformed(reason: string): MusterError {
  return new MusterError('packet-invalid', `The device tree is malformed: ${reason}.`)
}
