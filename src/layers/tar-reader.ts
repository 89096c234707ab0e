/**
 * Reads the tar of a layer while it arrives: bytes are pushed in, entries and their data come out, and nothing is held but one
 * header. Pure: what is done with an entry is the caller's.
 *
 *     header ─▶ data ─▶ padding ─▶ header …        a file, a folder, a link, a device
 *     header ─▶ meta ─▶ padding ─▶ header …        x (pax), L and K (GNU): for the next entry; g: nobody's
 *     header of zeros ─▶ end                       what follows is not looked at
 */
import { type ByteString, quoteName, toByteString } from './byte-string.ts'
import { layerInvalid } from './errors.ts'
import { parsePax } from './pax.ts'
import {
  blockBytes,
  dataBytesOf,
  kindOf,
  parseTarHeader,
  type TarHeader,
  type TarKind,
} from './tar-header.ts'

export type TarEntry = {
  kind: TarKind
  /** As it stands in the archive. */
  name: ByteString
  /** A symlink's text, or the name of the entry that a hard link is of. */
  linkName: ByteString
  /** Permissions with setuid, setgid and sticky bit; no file type. */
  mode: number
  uid: number
  gid: number
  /** Bytes of data that follow; 0 for everything but a file. */
  size: number
  /** Seconds since 1970; a fraction is cut off. */
  mtime: number
  major: number
  minor: number
  xattrs: ReadonlyMap<ByteString, Uint8Array>
}

export type TarHandler = {
  onEntry(entry: TarEntry): void
  /** Some of the last entry's data; a view of what was pushed. */
  onData(bytes: Uint8Array): void
}

/** A pax header with all xattrs that Linux allows on one file fits many times; GNU's names are no longer than a path. */
const metaBytesMax = 1024 * 1024
/** PATH_MAX of Linux, with its NUL. */
const nameBytesMax = 4096
/** What Linux takes for all xattrs of an inode together, as VFS and EROFS have it. */
const xattrBytesMax = 64 * 1024
const xattrPrefix = 'SCHILY.xattr.'

type Phase = 'header' | 'meta' | 'data' | 'padding' | 'end'

export class TarReader {
  readonly #handler: TarHandler
  readonly #block = new Uint8Array(blockBytes)
  #phase: Phase = 'header'
  /** Bytes of the phase that are still to come. */
  #left = blockBytes
  #padding = 0
  #meta = new Uint8Array(0)
  #metaType = ''
  #pax: ReadonlyMap<string, Uint8Array> = new Map()
  #longName: ByteString | undefined
  #longLink: ByteString | undefined

  constructor(handler: TarHandler) {
    this.#handler = handler
  }

  /** @throws layer-invalid; what onEntry and onData throw */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && this.#phase !== 'end'; ) {
      const part = chunk.subarray(at, at + this.#left)
      at += part.length
      if (this.#phase === 'header') this.#block.set(part, blockBytes - this.#left)
      else if (this.#phase === 'meta') this.#meta.set(part, this.#meta.length - this.#left)
      else if (this.#phase === 'data') this.#handler.onData(part)
      this.#left -= part.length
      while (this.#left === 0 && (this.#phase as Phase) !== 'end') this.#next()
    }
  }

  /** The bytes are over. An archive without its two blocks of zeros is whole if no entry is cut. @throws layer-invalid */
  end(): void {
    if (this.#phase === 'end' || (this.#phase === 'header' && this.#left === blockBytes && !this.#hasMeta))
      return
    throw layerInvalid('it ends within an entry')
  }

  get #hasMeta(): boolean {
    return this.#pax.size > 0 || this.#longName !== undefined || this.#longLink !== undefined
  }

  #next(): void {
    switch (this.#phase) {
      case 'header':
        this.#header()
        return
      case 'meta':
        this.#metaEnded()
        this.#enter('padding', this.#padding)
        return
      case 'data':
        this.#enter('padding', this.#padding)
        return
      default:
        this.#enter('header', blockBytes)
    }
  }

  #enter(phase: Phase, left: number): void {
    this.#phase = phase
    this.#left = left
  }

  #header(): void {
    const header = parseTarHeader(this.#block)
    if (header === undefined) {
      this.#enter('end', 0)
      return
    }
    if ('xgLK'.includes(header.type)) {
      if (header.size < 0 || header.size > metaBytesMax)
        throw layerInvalid(
          `a header of ${header.size} bytes stands before an entry, at most ${metaBytesMax} make sense`,
        )
      this.#metaType = header.type
      this.#meta = new Uint8Array(header.size)
      this.#data('meta', header.size)
      return
    }
    const entry = this.#toEntry(header)
    this.#pax = new Map()
    this.#longName = undefined
    this.#longLink = undefined
    this.#handler.onEntry(entry)
    this.#data('data', entry.size)
  }

  #data(phase: Phase, bytes: number): void {
    this.#padding = (blockBytes - (bytes % blockBytes)) % blockBytes
    this.#enter(phase, bytes)
  }

  #metaEnded(): void {
    const value = this.#meta
    this.#meta = new Uint8Array(0)
    if (this.#metaType === 'x') this.#pax = parsePax(value)
    else if (this.#metaType === 'L') this.#longName = upToNul(value)
    else if (this.#metaType === 'K') this.#longLink = upToNul(value)
    // 'g' would be for all that follow. Container tools have never done what it says, and git alone writes it, for a comment.
  }

  #toEntry(header: TarHeader): TarEntry {
    const pax = this.#pax
    const name = checkedName(pax.get('path'), this.#longName ?? header.name)
    const kind = kindOf({ type: header.type, name })
    for (const key of pax.keys())
      if (key.startsWith('GNU.sparse.'))
        throw layerInvalid(`${quoteName(name)} is a sparse file; pack it without --sparse`)
    if (kind === undefined)
      throw layerInvalid(
        `${quoteName(name)} is of tar's type ${JSON.stringify(header.type)}, which no file system has`,
      )
    const { major, minor } = header
    return {
      ...{ kind, name, major, minor },
      linkName: checkedName(pax.get('linkpath'), this.#longLink ?? header.linkName),
      mode: header.mode & 0o7777,
      uid: id(paxNumber(pax, 'uid', header.uid), name),
      gid: id(paxNumber(pax, 'gid', header.gid), name),
      size: size(dataBytesOf({ ...header, size: paxNumber(pax, 'size', header.size) }), name),
      mtime: Math.floor(paxNumber(pax, 'mtime', header.mtime)),
      xattrs: xattrsOf(pax, name),
    }
  }
}

function upToNul(bytes: Uint8Array): ByteString {
  const end = bytes.indexOf(0)
  return toByteString(end < 0 ? bytes : bytes.subarray(0, end))
}

function checkedName(record: Uint8Array | undefined, otherwise: ByteString): ByteString {
  const name = record === undefined ? otherwise : toByteString(record)
  if (name.length >= nameBytesMax)
    throw layerInvalid(`a name has ${name.length} bytes: ${quoteName(name.slice(0, 80))}…`)
  if (name.includes('\0')) throw layerInvalid(`a name has a NUL in it: ${quoteName(name)}`)
  return name
}

/** POSIX has decimals, with a fraction for times. */
function paxNumber(pax: ReadonlyMap<string, Uint8Array>, key: string, otherwise: number): number {
  const record = pax.get(key)
  if (record === undefined) return otherwise
  const text = toByteString(record.subarray(0, 64))
  // An empty value takes away what stood in the ustar field (POSIX); nobody's numbers are that.
  if (!/^-?[0-9]{1,15}(?:\.[0-9]*)?$/.test(text))
    throw layerInvalid(`a pax header has ${JSON.stringify(text)} for ${key}`)
  return Number(text)
}

/** Linux has 32 bits, of which the last value means "none". */
function id(value: number, name: ByteString): number {
  if (Number.isInteger(value) && value >= 0 && value < 0xffff_ffff) return value
  throw layerInvalid(`${quoteName(name)} belongs to ${value}, which is no user's or group's number`)
}

function size(value: number, name: ByteString): number {
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw layerInvalid(`${quoteName(name)} has a size of ${value}`)
}

function xattrsOf(pax: ReadonlyMap<string, Uint8Array>, name: ByteString): Map<ByteString, Uint8Array> {
  const xattrs = new Map<ByteString, Uint8Array>()
  let bytes = 0
  for (const [key, value] of pax) {
    if (!key.startsWith(xattrPrefix)) continue
    const attribute = key.slice(xattrPrefix.length)
    bytes += attribute.length + value.length
    if (attribute === '' || attribute.length > 255 || bytes > xattrBytesMax)
      throw layerInvalid(
        `${quoteName(name)} has extended attributes that Linux does not take (names of 255 bytes, ${xattrBytesMax} in all)`,
      )
    xattrs.set(attribute, value)
  }
  return xattrs
}
