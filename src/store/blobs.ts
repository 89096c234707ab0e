/**
 * Content-addressed files: a name is the sha256 of the bytes, so a file is right or it is not that file.
 *
 *     sha256/<hex>       whole and verified when it was written; never changed
 *     partial/<hex>      what arrived so far; survives a crash and is resumed by Range
 *     quarantine/<hex>   was right once and is not any more (a failing disk, tampering); kept for a look, then removed
 *
 * One process owns the folder (the repository's lock sees to that), so writers of one digest can share in memory.
 */
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { syncDirectory } from './durable-files.ts'
import { closeUnread, ingestBlob, otherSize } from './ingest-blob.ts'
import { createBlobVerifier } from './verify-blob.ts'

/** `digest` is `sha256:<64 hex>`, `size` in bytes. */
export type BlobDescriptor = { digest: string; size: number }

/** An open blob. `stream` reads to its end (or is destroyed) and then gives the descriptor back, as `close` does. */
export type OpenBlob = {
  size: number
  /** Fewer bytes than asked for only at the end of the blob. */
  read(offset: number, length: number): Promise<Uint8Array>
  /** First and last byte, both included; the whole without a range. */
  stream(range?: { start?: number; end?: number }): Readable
  close(): Promise<void>
}

export type BlobStore = {
  /** Size of a whole blob in bytes; undefined when it is not here. */
  size(digest: string): Promise<number | undefined>
  /** How many bytes of it arrived before; 0 when none. Resume there. */
  partialSize(digest: string): Promise<number>
  /**
   * Takes a blob in. `source` begins at `offset` (default 0), which is at most `partialSize`. A blob that is here already
   * and a second writer of the same digest cost nothing: their source is closed unread.
   *
   * @throws MusterError `blob-too-long` at the first byte over `size`, `blob-digest` when the bytes are others (both forget
   *   the partial), `blob-truncated` when the source ended early (the partial stays), `store-failed` when the disk refuses.
   *   What the source itself throws goes through, and the partial stays.
   */
  write(blob: BlobDescriptor, source: AsyncIterable<Uint8Array>, options?: { offset?: number }): Promise<void>
  /** @throws MusterError `blob-unavailable` when it is not here, `blob-digest` when the file was damaged since. */
  open(digest: string): Promise<OpenBlob>
  /** All of a small blob (a manifest), at most `maxBytes`. @throws as `open`, and `manifest-too-large`. */
  readAll(digest: string, maxBytes: number): Promise<Uint8Array>
  remove(digest: string): Promise<void>
  /** Removes partials and quarantined files that nobody touched for `maxAgeMs`; gives how many. */
  removeStale(options: { maxAgeMs: number }): Promise<number>
}

/**
 * Big enough that one read serves many packets, and not bigger: a client that takes nothing holds two of them, and there may be a
 * thousand such clients.
 */
const streamChunkBytes = 262_144

export function createBlobStore(options: {
  directory: string
  log: Log
  /** Hash a file again when this process opens it first. Off only for fault tests. */
  verifyOnOpen?: boolean
  now?: () => number
}): BlobStore {
  const { directory, log, verifyOnOpen = true, now = Date.now } = options
  const wholeDirectory = join(directory, 'sha256')
  const partialDirectory = join(directory, 'partial')
  const quarantineDirectory = join(directory, 'quarantine')
  const verifier = createBlobVerifier()
  const writers = new Map<string, Promise<void>>()
  let prepared: Promise<unknown> | undefined

  const places = (digest: string) => {
    const hex = hexOf(digest)
    return {
      whole: join(wholeDirectory, hex),
      partial: join(partialDirectory, hex),
      quarantine: join(quarantineDirectory, hex),
    }
  }
  const prepare = () => {
    prepared ??= Promise.all(
      [wholeDirectory, partialDirectory, quarantineDirectory].map((path) => mkdir(path, { recursive: true })),
    )
    return prepared
  }

  async function writeOnce(blob: BlobDescriptor, source: AsyncIterable<Uint8Array>, offset: number) {
    const { whole, partial } = places(blob.digest)
    const here = await sizeOf(whole)
    if (here !== undefined) {
      await closeUnread(source)
      if (here !== blob.size) throw otherSize(blob, here)
      return
    }
    const resumable = (await sizeOf(partial)) ?? 0
    if (offset > resumable) {
      await closeUnread(source)
      const sentence = `${blob.digest} cannot go on at byte ${offset}, because ${resumable} are here; begin again at 0.`
      throw new MusterError('store-failed', sentence, { details: { digest: blob.digest, offset } })
    }
    try {
      await prepare()
      await ingestBlob({ partial, blob, source, offset })
      await rename(partial, whole)
      await syncDirectory(wholeDirectory)
      await verifier.trust(whole)
    } catch (error) {
      throw isDiskError(error) ? diskFailed(`write ${blob.digest}`, error) : error
    }
  }

  async function putAside(whole: string, quarantine: string): Promise<void> {
    await prepare()
    try {
      await rename(whole, quarantine)
      await utimes(quarantine, now() / 1000, now() / 1000)
    } catch (error) {
      // Another opener of the same file was first.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }

  return {
    async size(digest) {
      return sizeOf(places(digest).whole)
    },

    async partialSize(digest) {
      return (await sizeOf(places(digest).partial)) ?? 0
    },

    async write(blob, source, { offset = 0 } = {}) {
      const shared = writers.get(blob.digest)
      if (shared !== undefined) {
        await closeUnread(source)
        return shared
      }
      const writer = writeOnce(blob, source, offset).finally(() => writers.delete(blob.digest))
      writers.set(blob.digest, writer)
      return writer
    },

    async open(digest) {
      const { whole, quarantine } = places(digest)
      const handle = await openWhole(whole, digest)
      try {
        const { size } = await handle.stat()
        if (verifyOnOpen && !(await verifier.isRight(handle, whole, digest))) {
          await prepare()
          await putAside(whole, quarantine)
          log.error({ digest, quarantine }, 'a stored blob is damaged and was put aside')
          const sentence = `The stored bytes of ${digest} are not what they were (a failing disk, or somebody changed them); pull the release again.`
          throw new MusterError('blob-digest', sentence, { details: { digest, quarantine } })
        }
        return toOpenBlob(handle, size)
      } catch (error) {
        await handle.close()
        throw error
      }
    },

    async readAll(digest, maxBytes) {
      const blob = await this.open(digest)
      try {
        if (blob.size > maxBytes) {
          const sentence = `${digest} has ${blob.size} bytes, but at most ${maxBytes} are read at once.`
          throw new MusterError('manifest-too-large', sentence, { details: { digest, size: blob.size } })
        }
        return await blob.read(0, blob.size)
      } finally {
        await blob.close()
      }
    },

    async remove(digest) {
      const { whole, partial } = places(digest)
      await rm(whole, { force: true })
      await rm(partial, { force: true })
    },

    async removeStale({ maxAgeMs }) {
      await prepare()
      let removed = 0
      for (const folder of [partialDirectory, quarantineDirectory]) {
        for (const name of await readdir(folder)) {
          if (writers.has(`sha256:${name}`)) continue
          const path = join(folder, name)
          // A writer may have finished between the two: then it is a partial no more.
          const found = await stat(path).catch(() => undefined)
          if (found === undefined || now() - found.mtimeMs <= maxAgeMs) continue
          await rm(path, { force: true })
          removed += 1
        }
      }
      if (removed > 0) log.info({ removed }, 'removed stale partial downloads')
      return removed
    },
  }
}

function toOpenBlob(handle: FileHandle, size: number): OpenBlob {
  return {
    size,
    async read(offset, length) {
      const buffer = new Uint8Array(Math.max(0, Math.min(length, size - offset)))
      let filled = 0
      while (filled < buffer.length) {
        const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, offset + filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      return filled === buffer.length ? buffer : buffer.subarray(0, filled)
    },
    stream: (range = {}) => handle.createReadStream({ ...range, highWaterMark: streamChunkBytes }),
    close: () => handle.close(),
  }
}

async function openWhole(path: string, digest: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw diskFailed(`open ${digest}`, error)
    throw new MusterError(
      'blob-unavailable',
      `${digest} is not in the store; pull the release that it belongs to.`,
      {
        cause: error,
        details: { digest },
      },
    )
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw diskFailed(`look at ${path}`, error)
  }
}

function isDiskError(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EACCES', 'EPERM', 'EMFILE', 'ENFILE', 'EFBIG'].includes(
    (error as NodeJS.ErrnoException).code ?? '',
  )
}

function diskFailed(what: string, cause: unknown): MusterError {
  const { code } = cause as NodeJS.ErrnoException
  const way =
    code === 'ENOSPC'
      ? 'the disk is full; make room'
      : `the system says ${code}; see to the disk and its rights`
  return new MusterError('store-failed', `The store could not ${what}: ${way}.`, { cause, details: { code } })
}

/** Digests become file names, and some come from strangers: nothing but 64 hexadecimal digits passes. */
function hexOf(digest: string): string {
  const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1]
  if (hex !== undefined) return hex
  const sentence = `A blob is named by sha256: and 64 lower-case hexadecimal digits, but "${digest.slice(0, 100)}" was asked for.`
  throw new MusterError('blob-unavailable', sentence)
}
