/**
 * The tree that a container's layers make, one laid over the other (OCI image-spec, layer.md, "Applying Changesets"). It holds
 * names and attributes; a file's data lies with the caller, from octet `at` on. Nothing is ever written to a file system of
 * ours: devices, owners and set-uid bits are records here, and a symlink leads nowhere but to a place in this tree.
 *
 * Where the specification leaves room it does what umoci does, which the tests run beside it. Attacker-controlled throughout.
 */
import { type ByteString, quoteName } from './byte-string.ts'
import { layerInvalid } from './errors.ts'
import type { Attributes, Directory, Inode, Place } from './inode.ts'
import type { TarEntry } from './tar-reader.ts'
import { walk } from './tree-walk.ts'

export type TreeLimits = {
  /** Names in the whole tree. */
  entriesMax: number
  /** Octets of all files together. */
  bytesMax: number
}

/** NAME_MAX of Linux. */
const nameBytesMax = 255

const whiteoutPrefix = '.wh.'
const opaqueMarker = '.wh..wh..opq'

export class FileTree {
  readonly root: Place & { inode: Directory }
  readonly #limits: TreeLimits
  #layer = 0
  #entries = 0
  #bytes = 0

  constructor(limits: TreeLimits) {
    this.#limits = limits
    this.root = { inode: emptyDirectory(), layer: 0 }
  }

  /** What comes from here on lies over all that came so far. */
  beginLayer(): void {
    this.#layer += 1
  }

  /**
   * Takes in the next entry of the layer.
   * @param at where the data of a file lies
   * @throws layer-invalid
   */
  add(entry: TarEntry, at: number): void {
    const path = partsOf(entry.name)
    const name = path.pop()
    if (name === undefined) {
      this.#addRoot(entry)
      return
    }
    if (name.startsWith(whiteoutPrefix)) {
      this.#whiteout(path, name)
      return
    }
    const parent = this.#open(path, entry.name)
    const before = parent.children.get(name)
    if (entry.kind === 'directory' && before?.inode.kind === 'directory') {
      Object.assign(before.inode, attributesOf(entry))
      before.layer = this.#layer
      return
    }
    const inode = entry.kind === 'link' ? this.#linkTarget(entry) : this.#newInode(entry, at)
    if (before !== undefined) this.#forget(before)
    if (inode.kind !== 'directory') inode.links += 1
    this.#count(entry.name)
    parent.children.set(name, { inode, layer: this.#layer })
  }

  #addRoot(entry: TarEntry): void {
    if (entry.kind !== 'directory') throw layerInvalid(`its root is a ${entry.kind}, which no system boots`)
    Object.assign(this.root.inode, attributesOf(entry))
  }

  /**
   * The folder at `path`, through symlinks, and all the way marked as touched. A folder that nobody mentioned is made, as umoci
   * and Docker do; its time is 1970, so that the tree is the same whenever it is made.
   */
  #open(path: readonly ByteString[], whose: ByteString): Directory {
    const way = walk(this.root, path, (part) => {
      this.#count(whose)
      checkPart(part, whose)
      return { inode: emptyDirectory(), layer: this.#layer }
    })
    if (typeof way === 'string') throw layerInvalid(`${quoteName(whose)} lies below ${way}`)
    for (const place of way) place.layer = this.#layer
    const { inode } = way.at(-1) as Place
    if (inode.kind === 'directory') return inode
    throw layerInvalid(`${quoteName(whose)} lies below something that is no folder`)
  }

  /** What a path leads to, through symlinks at its end too; undefined where there is nothing. */
  lookup(path: ByteString): Inode | undefined {
    const way = walk(this.root, path.split('/'))
    return typeof way === 'string' ? undefined : way.at(-1)?.inode
  }

  /** The file that another name is given to. A symlink at its end is the file itself, not what it leads to (link(2)). */
  #linkTarget(entry: TarEntry): Exclude<Inode, Directory> {
    const path = partsOf(entry.linkName)
    const name = path.pop()
    const way = walk(this.root, path)
    const parent = typeof way === 'string' ? undefined : way.at(-1)?.inode
    const target = parent?.kind === 'directory' ? parent.children.get(name ?? '')?.inode : undefined
    if (target !== undefined && target.kind !== 'directory') return target
    const what = target === undefined ? 'which is not there' : 'which is a folder'
    throw layerInvalid(`${quoteName(entry.name)} is a hard link to ${quoteName(entry.linkName)}, ${what}`)
  }

  #newInode(entry: TarEntry, at: number): Inode {
    const attributes = attributesOf(entry)
    switch (entry.kind) {
      case 'directory':
        return { ...attributes, kind: 'directory', children: new Map() }
      case 'file':
        this.#bytes += entry.size
        if (this.#bytes > this.#limits.bytesMax)
          throw layerInvalid(`its files are more than ${this.#limits.bytesMax} bytes`)
        return { ...attributes, kind: 'file', size: entry.size, at, links: 0 }
      case 'symlink':
        if (entry.linkName === '') throw layerInvalid(`${quoteName(entry.name)} is a symlink to nothing`)
        return { ...attributes, kind: 'symlink', target: entry.linkName, links: 0 }
      case 'fifo':
        return { ...attributes, kind: 'fifo', links: 0 }
      default:
        return {
          ...attributes,
          kind: entry.kind as 'character' | 'block',
          major: entry.major,
          minor: entry.minor,
          links: 0,
        }
    }
  }

  #whiteout(path: readonly ByteString[], marker: ByteString): void {
    const name = marker.slice(whiteoutPrefix.length)
    if (name === '' || name === '.' || name === '..')
      throw layerInvalid(`the whiteout ${quoteName(marker)} is of nothing`)
    const parent = this.#open(path, marker)
    if (marker === opaqueMarker) {
      this.#removeLower(parent)
      return
    }
    const place = parent.children.get(name)
    if (place === undefined) return
    if (place.layer < this.#layer) {
      this.#forget(place)
      parent.children.delete(name)
    } else if (place.inode.kind === 'directory') this.#removeLower(place.inode)
  }

  /** All that this layer did not touch: its own entries may stand before the whiteout as well as behind it. */
  #removeLower(directory: Directory): void {
    for (const [name, place] of directory.children) {
      if (place.layer < this.#layer) {
        this.#forget(place)
        directory.children.delete(name)
      } else if (place.inode.kind === 'directory') this.#removeLower(place.inode)
    }
  }

  #forget({ inode }: Place): void {
    this.#entries -= 1
    if (inode.kind === 'directory') for (const place of inode.children.values()) this.#forget(place)
    else {
      inode.links -= 1
      if (inode.kind === 'file' && inode.links === 0) this.#bytes -= inode.size
    }
  }

  #count(name: ByteString): void {
    this.#entries += 1
    if (this.#entries > this.#limits.entriesMax)
      throw layerInvalid(
        `it has more than ${this.#limits.entriesMax} names; the next would be ${quoteName(name)}`,
      )
  }
}

function emptyDirectory(): Directory {
  return { kind: 'directory', mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: new Map(), children: new Map() }
}

function attributesOf({ mode, uid, gid, mtime, xattrs }: TarEntry): Attributes {
  return { mode, uid, gid, mtime, xattrs }
}

/** `./usr//bin/` is usr and bin; the root is nothing. A name that climbs is refused: no tool that makes layers writes one. */
function partsOf(name: ByteString): ByteString[] {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  for (const part of parts) {
    if (part === '..') throw layerInvalid(`${quoteName(name)} climbs out of its folder`)
    checkPart(part, name)
  }
  return parts
}

function checkPart(part: ByteString, whose: ByteString): void {
  if (part.length > nameBytesMax)
    throw layerInvalid(`${quoteName(whose)} has a part of ${part.length} bytes, Linux takes ${nameBytesMax}`)
}
