/** The agent as one FIT, put together while it is read: kernel and initramfs stay where they are. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { MusterError } from '../errors.ts'
import type { Arch } from '../protocol/identifiers.ts'
import type { BootFile } from './files.ts'
import { sizeOf, type TreePart } from './formats/device-tree.ts'
import { encodeFit } from './formats/fit.ts'

type Opener = () => Promise<BootFile>
/** A part with its place in the whole. */
type Placed = { part: TreePart; start: number; end: number }

const chunkBytes = 1_048_576

/** Digests are kept for as long as the files stay the same: two architectures, two files each. */
export function composeFit(): (arch: Arch, kernel: Opener, initramfs: Opener) => Promise<BootFile> {
  const digests = new Map<string, { etag: string; sha256: Promise<Uint8Array> }>()

  function digestOf(key: string, file: BootFile): Promise<Uint8Array> {
    const known = digests.get(key)
    if (known?.etag === file.etag) return known.sha256
    const sha256 = hashFile(file)
    digests.set(key, { etag: file.etag, sha256 })
    sha256.catch(() => digests.delete(key))
    return sha256
  }

  return async (arch, openKernel, openInitramfs) => {
    const kernel = await openKernel()
    let initramfs: BootFile | undefined
    try {
      initramfs = await openInitramfs()
      const content = async (elsewhere: string, file: BootFile) => ({
        elsewhere,
        size: file.size,
        sha256: await digestOf(`${arch}/${elsewhere}`, file),
      })
      const parts = encodeFit({
        description: `Muster boot agent for ${arch}`,
        arch,
        kernel: await content('kernel', kernel),
        initramfs: await content('initramfs', initramfs),
      })
      return toFile(parts, { kernel, initramfs })
    } catch (error) {
      await Promise.allSettled([kernel.close(), initramfs?.close()])
      throw error
    }
  }
}

async function hashFile(file: BootFile): Promise<Uint8Array> {
  const hash = createHash('sha256')
  for (let offset = 0; offset < file.size; ) {
    const bytes = await file.read(offset, chunkBytes)
    if (bytes.length === 0) throw changed()
    hash.update(bytes)
    offset += bytes.length
  }
  return hash.digest()
}

function toFile(parts: readonly TreePart[], files: { kernel: BootFile; initramfs: BootFile }): BootFile {
  let size = 0
  const placed = parts.map((part): Placed => {
    const start = size
    size += sizeOf(part)
    return { part, start, end: size }
  })

  async function read(offset: number, length: number): Promise<Uint8Array> {
    const here = placed.find(({ start, end }) => offset >= start && offset < end)
    if (here === undefined) return new Uint8Array()
    const from = offset - here.start
    const count = Math.min(length, here.end - offset)
    if (here.part instanceof Uint8Array) return here.part.subarray(from, from + count)
    const bytes = await files[here.part.elsewhere as keyof typeof files].read(from, count)
    if (bytes.length === 0) throw changed()
    return bytes
  }

  /** As often as one likes. */
  async function close(): Promise<void> {
    await Promise.all([files.kernel.close(), files.initramfs.close()])
  }

  return {
    size,
    etag: `${files.kernel.etag}-${files.initramfs.etag}`,
    contentType: 'application/octet-stream',
    read,
    stream: ({ start, end } = { start: 0, end: size - 1 }) => new FitStream({ read, close, start, end }),
    close,
  }
}

type FitStreamOptions = Pick<BootFile, 'read' | 'close'> & { start: number; end: number }

/**
 * Closes the files however it ends, also where nobody reads. `Readable.from` over a generator does not: for a client that is gone
 * before the first read the generator never starts, so its `finally` never runs, and Node ends a process that collects a FileHandle
 * which is still open.
 */
class FitStream extends Readable {
  readonly #options: FitStreamOptions
  #offset: number

  constructor(options: FitStreamOptions) {
    super({ highWaterMark: chunkBytes })
    this.#options = options
    this.#offset = options.start
  }

  override _read(): void {
    void this.#next()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#options.close().then(
      () => done(error),
      (failure: unknown) => done(error ?? (failure as Error)),
    )
  }

  async #next(): Promise<void> {
    const { end, read } = this.#options
    if (this.#offset > end) {
      this.push(null)
      return
    }
    try {
      const bytes = await read(this.#offset, Math.min(chunkBytes, end + 1 - this.#offset))
      this.#offset += bytes.length
      this.push(bytes)
    } catch (error) {
      // Where the client went away during a read, the file is closed and this changes nothing any more.
      this.destroy(error as Error)
    }
  }
}

function changed(): MusterError {
  return new MusterError(
    'transfer-failed',
    'The boot agent was replaced while it was read; ask for it again.',
  )
}
