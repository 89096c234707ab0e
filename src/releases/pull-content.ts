/** Fills the blob store from somewhere untrusted: what is here is not fetched, what broke off goes on where it stopped. */
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { BlobDescriptor, BlobStore } from '../store/blobs.ts'

/** Bytes of a blob from `offset` on; hostile, so it may be anything of any length. */
export type ReadBlob = (blob: BlobDescriptor, offset: number) => AsyncIterable<Uint8Array>

export type PullProgress = (progress: { digest: string; receivedBytes: number; totalBytes: number }) => void

/**
 * @throws MusterError what `read` throws, `blob-digest`, `blob-too-long`, `blob-truncated`, `store-failed`. What came before an
 *   error stays, and the next call goes on from there.
 */
export async function pullBlobs(options: {
  blobs: BlobStore
  wanted: readonly BlobDescriptor[]
  read: ReadBlob
  log: Log
  onProgress?: PullProgress | undefined
}): Promise<void> {
  const { blobs, wanted, read, log, onProgress } = options
  for (const blob of wanted) {
    if ((await blobs.size(blob.digest)) === blob.size) continue
    const offset = Math.min(await blobs.partialSize(blob.digest), blob.size)
    try {
      await blobs.write(blob, counted(read(blob, offset), blob, offset, onProgress), { offset })
    } catch (error) {
      // A partial of a lying mirror, or of a disk that lost power, spoils what is put behind it: once more from the start.
      if (offset === 0 || !(error instanceof MusterError) || error.code !== 'blob-digest') throw error
      log.warn({ digest: blob.digest, offset }, 'what was kept of a download is damaged; it starts again')
      await blobs.write(blob, counted(read(blob, 0), blob, 0, onProgress))
    }
  }
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  blob: BlobDescriptor,
  offset: number,
  onProgress: PullProgress | undefined,
): AsyncGenerator<Uint8Array> {
  let receivedBytes = offset
  for await (const chunk of source) {
    receivedBytes += chunk.length
    onProgress?.({ digest: blob.digest, receivedBytes, totalBytes: blob.size })
    yield chunk
  }
}
