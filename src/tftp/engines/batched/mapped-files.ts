/**
 * Files as memory, so that the kernel takes blocks straight from the pages that it keeps of them anyway: nothing is read or
 * copied here, and a file that many machines load at once is there once.
 *
 * Only the kernel ever touches these pages, on our behalf: where a file has become shorter, sendmmsg gives EFAULT and the
 * transfer fails; nothing gets a SIGBUS.
 */
import { fstatSync } from 'node:fs'
import type { Libc } from '../../../datagram/libc.ts'

export type MappedFile = {
  /** 0 for an empty file. */
  readonly address: number
  readonly size: number
  /** Whether the file behind the descriptor is still what was mapped. */
  unchanged(descriptor: number): boolean
  release(): void
}

/** `size` is what was mapped, and what is unmapped: more would take somebody else's memory with it. */
type Entry = { address: number; size: number; users: number }
type Identity = { content: string; state: string }

const protectionRead = 1
const mapShared = 1
const adviseWillNeed = 3

export class MappedFiles {
  readonly #libc: Libc
  readonly #entries = new Map<string, Entry>()

  constructor(libc: Libc) {
    this.#libc = libc
  }

  get size(): number {
    return this.#entries.size
  }

  /** Undefined where the file is not one, is not `size` bytes, or cannot be mapped: it is read then. */
  open(descriptor: number, size: number): MappedFile | undefined {
    const found = identity(descriptor, size)
    if (found === undefined) return undefined
    const { content, state } = found
    const entry = this.#entries.get(state) ?? this.#map(descriptor, size)
    if (entry === undefined) return undefined
    entry.users += 1
    this.#entries.set(state, entry)
    return {
      address: entry.address,
      size: entry.size,
      unchanged: (again) => identity(again, size)?.content === content,
      release: () => {
        entry.users -= 1
        if (entry.users > 0) return
        this.#entries.delete(state)
        if (entry.size > 0) this.#libc.munmap(entry.address, entry.size)
      },
    }
  }

  #map(descriptor: number, size: number): Entry | undefined {
    if (size === 0) return { address: 0, size, users: 0 }
    const address = this.#libc.mmap(0, size, protectionRead, mapShared, descriptor, 0)
    if (address === -1) return undefined
    // Starts reading and does not wait: a page that is not there yet makes the first sendmmsg that needs it wait for the disk.
    this.#libc.madvise(address, size, adviseWillNeed)
    return { address, size, users: 0 }
  }
}

/**
 * `content` tells one content from another, as make and rsync do it. `state` is narrower, and says who shares a mapping: a writer in
 * place may set the old time again (`rsync --inplace --times`, `touch -d`), and never the time of that (ctime). A transfer under way
 * does not look at that one: a file that is replaced by a rename gets another ctime, and is what it was.
 */
function identity(descriptor: number, size: number): Identity | undefined {
  try {
    const { dev, ino, mtimeNs, ctimeNs, size: found, mode } = fstatSync(descriptor, { bigint: true })
    const isFile = (mode & 0o170_000n) === 0o100_000n
    if (!isFile || found !== BigInt(size)) return undefined
    const content = `${dev} ${ino} ${size} ${mtimeNs}`
    return { content, state: `${content} ${ctimeNs}` }
  } catch {
    return undefined
  }
}
