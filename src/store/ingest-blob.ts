/** Writes what arrives beside its place and checks it there: length while it comes, digest at the end. */
import { createHash, type Hash } from 'node:crypto'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { MusterError } from '../errors.ts'
import { hashFile } from './verify-blob.ts'

type BlobDescriptor = { digest: string; size: number }

/**
 * Gives back when the file `partial` holds exactly the blob and is on disk. `source` begins at `offset` bytes.
 *
 * @throws MusterError `blob-too-long`, `blob-digest` (the partial is gone then), `blob-truncated` (it stays).
 */
export async function ingestBlob(options: {
  partial: string
  blob: BlobDescriptor
  source: AsyncIterable<Uint8Array>
  offset: number
}): Promise<void> {
  const { partial, blob, source, offset } = options
  const file = await open(partial, offset === 0 ? 'w+' : 'r+')
  let keepPartial = true
  try {
    const hash = createHash('sha256')
    // What came before a crash was never checked, so it is hashed again and not believed.
    if (offset > 0) await hashFile(file, hash, offset)
    await file.truncate(offset)
    const received = await append({ file, hash, blob, source, offset })
    keepPartial = received <= blob.size
    if (received !== blob.size) throw otherSize(blob, received)
    const found = `sha256:${hash.digest('hex')}`
    if (found !== blob.digest) {
      keepPartial = false
      const sentence = `The bytes received for ${blob.digest} are ${found}; they were altered on the way or at the mirror.`
      throw new MusterError('blob-digest', sentence, { details: { expected: blob.digest, found } })
    }
    await file.sync()
  } finally {
    await file.close()
    if (!keepPartial) await rm(partial, { force: true })
  }
}

/** Gives how many bytes there are when the source ended, or size + 1 as soon as it sent more. */
async function append(options: {
  file: FileHandle
  hash: Hash
  blob: BlobDescriptor
  source: AsyncIterable<Uint8Array>
  offset: number
}): Promise<number> {
  const { file, hash, blob, source, offset } = options
  let position = offset
  // The source is attacker-controlled: it may never end, so it is left at the first byte over the size.
  for await (const chunk of source) {
    if (position + chunk.length > blob.size) return blob.size + 1
    hash.update(chunk)
    let written = 0
    while (written < chunk.length) {
      const { bytesWritten } = await file.write(chunk, written, chunk.length - written, position + written)
      written += bytesWritten
    }
    position += chunk.length
  }
  return position
}

export function otherSize(blob: BlobDescriptor, found: number): MusterError {
  const details = { digest: blob.digest, expected: blob.size, found }
  return found > blob.size
    ? new MusterError(
        'blob-too-long',
        `${blob.digest} must end after ${blob.size} bytes, but more came; the mirror serves something else.`,
        { details },
      )
    : new MusterError(
        'blob-truncated',
        `${blob.digest} has ${blob.size} bytes, but only ${found} came; the next try goes on from there.`,
        { details },
      )
}

/** Gives a source back that nobody will read: a Node stream is destroyed, anything else told to return. */
export async function closeUnread(source: AsyncIterable<Uint8Array>): Promise<void> {
  if (source instanceof Readable) source.destroy()
  else await source[Symbol.asyncIterator]().return?.()
}
