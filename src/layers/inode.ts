/** What a tree of layers is made of. */
import type { ByteString } from './byte-string.ts'
import type { TarEntry } from './tar-reader.ts'

export type Attributes = Pick<TarEntry, 'mode' | 'uid' | 'gid' | 'mtime' | 'xattrs'>

/** What names point to; several names of one file share it. */
export type Inode = Attributes &
  (
    | { kind: 'directory'; children: Map<ByteString, Place> }
    | { kind: 'file'; size: number; at: number; links: number }
    | { kind: 'symlink'; target: ByteString; links: number }
    | { kind: 'character' | 'block'; major: number; minor: number; links: number }
    | { kind: 'fifo'; links: number }
  )

export type Directory = Extract<Inode, { kind: 'directory' }>

/** A name in a folder. `layer` is the last that touched it or anything below it: what a whiteout spares. */
export type Place = { inode: Inode; layer: number }
