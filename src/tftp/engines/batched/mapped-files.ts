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

type Entry = { address: number; users: number }

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
    const key = identity(descriptor, size)
    if (key === undefined) return undefined
    const entry = this.#entries.get(key) ?? this.#map(descriptor, size)
    if (entry === undefined) return undefined
    entry.users += 1
    this.#entries.set(key, entry)
    return {
      address: entry.address,
      size,
      unchanged: (again) => identity(again, size) === key,
      release: () => {
        entry.users -= 1
        if (entry.users > 0) return
        this.#entries.delete(key)
        if (size > 0) this.#libc.munmap(entry.address, size)
      },
    }
  }

  #map(descriptor: number, size: number): Entry | undefined {
    if (size === 0) return { address: 0, users: 0 }
    const address = this.#libc.mmap(0, size, protectionRead, mapShared, descriptor, 0)
    if (address === -1) return undefined
    // Starts reading and does not wait: a page that is not there yet makes the first sendmmsg that needs it wait for the disk.
    this.#libc.madvise(address, size, adviseWillNeed)
    return { address, users: 0 }
  }
}

/** What tells one content from another, as make and rsync do it. */
function identity(descriptor: number, size: number): string | undefined {
  try {
    const { dev, ino, mtimeNs, size: found, mode } = fstatSync(descriptor, { bigint: true })
    const isFile = (mode & 0o170_000n) === 0o100_000n
    return isFile && found === BigInt(size) ? `${dev} ${ino} ${mtimeNs}` : undefined
  } catch {
    return undefined
  }
}
