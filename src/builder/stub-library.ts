/**
 * Makes shared libraries that do nothing, for what Debian's programs load and never use on a boot agent.
 *
 * Debian's curl speaks LDAP, RTMP, SSH and Kerberos; the libraries behind those (GnuTLS, krb5, …) are a third of the agent, and code that
 * parses what a network says. The dynamic loader wants each of them to be there with every symbol that curl names, since curl
 * is linked with BIND_NOW. A stub has these symbols; calling one returns 0, and reading one gives the zeros behind it. Where 0
 * would mean that a result was written, calling it returns -1.
 *
 *     segment R X   ELF header, program headers, hash, symbols, strings, versions, code
 *     segment R W   the dynamic table (the loader writes into it)
 *
 * Sources: System V ABI (ELF-64), chapter 5; LSB core 10.7 (symbol versions).
 */
import { elfSection, readElf } from './elf.ts'
import { compareText } from './lock.ts'

export type Import = { name: string; version?: { library: string; name: string } }

const symbolBytes = 24
const weak = 2
const failureAt = 64
/** `return 0` with zeros to read behind it, and at `failureAt` `return -1`. */
const code: Record<number, Buffer> = {
  62: paddedCode('31c0c3', 'b8ffffffffc3'),
  183: paddedCode('00008052c0035fd6', '00008012c0035fd6'),
}
/** `curl --version` prints what this wrote into its stack, which is nothing: ldap_get_option(3), LDAP_OPT_API_INFO. */
const failing = new Set(['ldap_get_option'])
/** Largest page of any kernel we meet (arm64 has 4, 16 or 64 KiB). */
const pageBytes = 0x10000

/** What a program or library takes from others; without weak symbols, which may be missing. @throws build-failed */
export function importsOf(bytes: Buffer, name: string): Import[] {
  const { symbols, strings, versionOf } = dynamicTables(bytes, name)
  const imports: Import[] = []
  for (let at = symbolBytes; at < symbols.length; at += symbolBytes) {
    const undefinedHere = symbols.readUInt16LE(at + 6) === 0
    if (!undefinedHere || symbols[at + 4]! >> 4 === weak) continue
    const version = versionOf(at / symbolBytes)
    imports.push({ name: text(strings, symbols.readUInt32LE(at)), ...(version && { version }) })
  }
  return imports
}

/** Names of the symbols that a library defines. @throws build-failed */
export function exportsOf(bytes: Buffer, name: string): Set<string> {
  const { symbols, strings } = dynamicTables(bytes, name)
  const names = new Set<string>()
  for (let at = symbolBytes; at < symbols.length; at += symbolBytes)
    if (symbols.readUInt16LE(at + 6) !== 0) names.add(text(strings, symbols.readUInt32LE(at)))
  return names
}

/** The bytes of a library of this name with these symbols; the same input gives the same bytes. */
export function encodeStub(options: { soname: string; machine: number; symbols: readonly Import[] }): Buffer {
  const { soname, machine } = options
  const symbols = [...new Map(options.symbols.map((symbol) => [symbol.name, symbol])).values()]
  symbols.sort((a, b) => compareText(a.name, b.name))
  const versions = [...new Set(symbols.flatMap(({ version }) => version?.name ?? []))].sort(compareText)
  const strings = stringTable([soname, ...versions, ...symbols.map(({ name }) => name)])
  const headerBytes = 64 + 4 * 56
  const tables = layOut(headerBytes, {
    hash: hashTable(symbols.length + 1),
    symbols: Buffer.alloc((symbols.length + 1) * symbolBytes),
    strings: strings.bytes,
    versionOfSymbol: versionSymbols(symbols, versions),
    versionDefinitions: versionDefinitions([soname, ...versions], strings.offset),
    code: code[machine]!,
  })
  symbols.forEach(({ name }, index) => {
    const at = tables.at.symbols + (index + 1) * symbolBytes
    tables.bytes.writeUInt32LE(strings.offset(name), at)
    // Global, of no type: it stands for functions and variables alike. Any section but 0 makes it defined.
    tables.bytes[at + 4] = 0x10
    tables.bytes.writeUInt16LE(1, at + 6)
    const address = tables.at.code + (failing.has(name) ? failureAt : 0)
    tables.bytes.writeBigUInt64LE(BigInt(address), at + 8)
    tables.bytes.writeBigUInt64LE(8n, at + 16)
  })
  const dynamic = dynamicTable(tables.at, strings, soname, versions.length)
  const headers = elfHeaders(machine, tables.bytes.length, dynamic.length)
  headers.copy(tables.bytes)
  return Buffer.concat([tables.bytes, dynamic])
}

function paddedCode(success: string, failure: string): Buffer {
  const bytes = Buffer.alloc(2 * failureAt)
  bytes.write(success, 'hex')
  bytes.write(failure, failureAt, 'hex')
  return bytes
}

type Strings = { bytes: Buffer; offset: (name: string) => number }

function stringTable(names: readonly string[]): Strings {
  const offsets = new Map<string, number>()
  let length = 1
  for (const name of names) {
    if (offsets.has(name)) continue
    offsets.set(name, length)
    length += name.length + 1
  }
  return {
    bytes: Buffer.from(`\0${[...offsets.keys()].map((name) => `${name}\0`).join('')}`, 'latin1'),
    offset: (name) => offsets.get(name)!,
  }
}

/** One bucket that chains all symbols: a stub is searched a few dozen times in its life. */
function hashTable(count: number): Buffer {
  const words = [1, count, count > 1 ? 1 : 0, 0]
  for (let index = 1; index < count; index++) words.push(index + 1 < count ? index + 1 : 0)
  return Buffer.from(new Uint32Array(words).buffer)
}

/** Version 1 is "none in particular"; the definitions begin at 2. */
function versionSymbols(symbols: readonly Import[], versions: readonly string[]): Buffer {
  const numbers = symbols.map(({ version }) =>
    version === undefined ? 1 : versions.indexOf(version.name) + 2,
  )
  return Buffer.from(new Uint16Array([0, ...numbers]).buffer)
}

function versionDefinitions(names: readonly string[], offset: (name: string) => number): Buffer {
  const bytes = Buffer.alloc(names.length * 28)
  names.forEach((name, index) => {
    const at = index * 28
    const isLast = index === names.length - 1
    bytes.writeUInt16LE(1, at)
    bytes.writeUInt16LE(index === 0 ? 1 : 0, at + 2) // VER_FLG_BASE: the file itself
    bytes.writeUInt16LE(index + 1, at + 4)
    bytes.writeUInt16LE(1, at + 6)
    bytes.writeUInt32LE(elfHash(name), at + 8)
    bytes.writeUInt32LE(20, at + 12)
    bytes.writeUInt32LE(isLast ? 0 : 28, at + 16)
    bytes.writeUInt32LE(offset(name), at + 20)
  })
  return bytes
}

function dynamicTable(
  at: Record<string, number>,
  strings: Strings,
  soname: string,
  versions: number,
): Buffer {
  const entries: [number, number][] = [
    [14, strings.offset(soname)], // SONAME
    [4, at['hash']!], // HASH
    [5, at['strings']!], // STRTAB
    [6, at['symbols']!], // SYMTAB
    [10, strings.bytes.length], // STRSZ
    [11, symbolBytes], // SYMENT
    [0x6ffffff0, at['versionOfSymbol']!], // VERSYM
    [0x6ffffffc, at['versionDefinitions']!], // VERDEF
    [0x6ffffffd, versions + 1], // VERDEFNUM
    [0, 0],
  ]
  return Buffer.from(new BigUint64Array(entries.flat().map(BigInt)).buffer)
}

function elfHeaders(machine: number, textBytes: number, dynamicBytes: number): Buffer {
  const bytes = Buffer.alloc(64 + 4 * 56)
  bytes.write('7f454c46020101', 'hex')
  bytes.writeUInt16LE(3, 16) // ET_DYN
  bytes.writeUInt16LE(machine, 18)
  bytes.writeUInt32LE(1, 20)
  bytes.writeBigUInt64LE(64n, 32) // program headers
  bytes.writeUInt16LE(64, 52)
  bytes.writeUInt16LE(56, 54)
  bytes.writeUInt16LE(4, 56)
  const dynamicAddress = textBytes + pageBytes
  const segments = [
    [1, 5, 0, 0, textBytes, pageBytes],
    [1, 6, textBytes, dynamicAddress, dynamicBytes, pageBytes],
    [2, 6, textBytes, dynamicAddress, dynamicBytes, 8],
    [0x6474e551, 6, 0, 0, 0, 16], // GNU_STACK: not executable
  ] as const
  segments.forEach(([type, flags, offset, address, size, align], index) => {
    const at = 64 + index * 56
    bytes.writeUInt32LE(type, at)
    bytes.writeUInt32LE(flags, at + 4)
    for (const [place, value] of [offset, address, address, size, size, align].entries())
      bytes.writeBigUInt64LE(BigInt(value), at + 8 + place * 8)
  })
  return bytes
}

function layOut<Name extends string>(
  start: number,
  parts: Record<Name, Buffer>,
): { bytes: Buffer; at: Record<Name, number> } {
  const chunks: Buffer[] = [Buffer.alloc(start)]
  const at = {} as Record<Name, number>
  let length = start
  for (const [name, bytes] of Object.entries(parts) as [Name, Buffer][]) {
    at[name] = length
    const padding = (8 - (bytes.length % 8)) % 8
    chunks.push(bytes, Buffer.alloc(padding))
    length += bytes.length + padding
  }
  return { bytes: Buffer.concat(chunks), at }
}

function elfHash(name: string): number {
  let hash = 0
  for (const byte of Buffer.from(name)) {
    hash = ((hash << 4) + byte) >>> 0
    const high = hash & 0xf0000000
    hash = ((hash ^ (high >>> 24)) & ~high) >>> 0
  }
  return hash
}

function dynamicTables(bytes: Buffer, name: string) {
  readElf(bytes, name)
  const section = (wanted: string) => elfSection(bytes, wanted, name) ?? Buffer.alloc(0)
  const strings = section('.dynstr')
  const numbers = section('.gnu.version')
  const needed = readVersionNeeds(section('.gnu.version_r'), strings)
  const versionOf = (index: number) =>
    index * 2 + 2 <= numbers.length ? needed.get(numbers.readUInt16LE(index * 2) & 0x7fff) : undefined
  return { symbols: section('.dynsym'), strings, versionOf }
}

/** By number, what `.gnu.version_r` asks of which library. */
function readVersionNeeds(bytes: Buffer, strings: Buffer): Map<number, { library: string; name: string }> {
  const needs = new Map<number, { library: string; name: string }>()
  for (let at = 0, next = bytes.length === 0 ? 0 : 1; next !== 0; at += next) {
    const library = text(strings, bytes.readUInt32LE(at + 4))
    let aux = at + bytes.readUInt32LE(at + 8)
    for (let count = bytes.readUInt16LE(at + 2); count > 0; count--) {
      needs.set(bytes.readUInt16LE(aux + 6), { library, name: text(strings, bytes.readUInt32LE(aux + 8)) })
      aux += bytes.readUInt32LE(aux + 12)
    }
    next = bytes.readUInt32LE(at + 12)
  }
  return needs
}

function text(strings: Buffer, start: number): string {
  return strings.toString('latin1', start, strings.indexOf(0, start))
}
