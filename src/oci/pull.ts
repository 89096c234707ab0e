/**
 * Carries an image from a source into the blob store: what is there is skipped, what is half there is resumed. The manifest
 * goes in last, so where it is, everything that it names is.
 */
import { MusterError } from '../errors.ts'
import { contentOf, type Descriptor } from './manifest.ts'
import type { ImageSource, ResolvedManifest } from './source.ts'

/** The part of store/blobs.ts that a pull needs. */
export type BlobSink = {
  /** Size of a whole blob in bytes; undefined when it is not here. */
  size(digest: string): Promise<number | undefined>
  /** Bytes of it that arrived before. */
  partialSize(digest: string): Promise<number>
  write(
    blob: { digest: string; size: number },
    source: AsyncIterable<Uint8Array>,
    options?: { offset?: number },
  ): Promise<void>
  remove(digest: string): Promise<void>
}

export type PullProgress = {
  /** Bytes that are in the store, those of earlier pulls included. */
  doneBytes: number
  totalBytes: number
  /** Bytes that came over the network (or from the folder) in this pull. */
  fetchedBytes: number
}

export type PullOptions = {
  source: ImageSource
  /** What to pull; one blob that several of them share is pulled once. */
  manifests: readonly ResolvedManifest[]
  sink: BlobSink
  /** Blobs that are under way at once. */
  concurrency?: number
  /** Called after every chunk: throttle what you make of it. */
  onProgress?: (progress: PullProgress) => void
  signal?: AbortSignal
}

/**
 * @returns the last progress: `fetchedBytes` is 0 when everything was there
 * @throws what source and sink throw; the other blobs under way are stopped, and their partials stay
 */
export async function pullInto(options: PullOptions): Promise<PullProgress> {
  const { source, manifests, sink, concurrency = 3, onProgress = () => {}, signal } = options
  const blobs = distinct(manifests.flatMap((one) => contentOf(one.manifest)))
  const totalBytes = blobs.reduce((sum, blob) => sum + blob.size, 0)
  const progress: PullProgress = { doneBytes: 0, totalBytes, fetchedBytes: 0 }
  const failed = new AbortController()
  const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal])
  const advance = (done: number, fetched: number) => {
    progress.doneBytes += done
    progress.fetchedBytes += fetched
    onProgress({ ...progress })
  }

  const queue = blobs.values()
  const worker = async () => {
    // One iterator shared by all workers: each blob is taken once.
    for (const blob of queue) {
      stop.throwIfAborted()
      await pullBlob({ source, sink, blob, signal: stop, advance })
    }
  }
  const outcomes = await Promise.allSettled(
    Array.from({ length: Math.min(concurrency, blobs.length) }, () =>
      worker().catch((error) => {
        failed.abort(error)
        throw error
      }),
    ),
  )
  signal?.throwIfAborted()
  if (outcomes.some((outcome) => outcome.status === 'rejected')) throw failed.signal.reason

  for (const { descriptor, manifestBytes } of manifests) {
    await sink.write(descriptor, once(manifestBytes))
  }
  return progress
}

type BlobPull = {
  source: ImageSource
  sink: BlobSink
  blob: Descriptor
  signal: AbortSignal
  advance(done: number, fetched: number): void
}

async function pullBlob(pull: BlobPull): Promise<void> {
  const { source, sink, blob, signal, advance } = pull
  if ((await sink.size(blob.digest)) !== undefined) return advance(blob.size, 0)

  const offset = Math.min(await sink.partialSize(blob.digest), blob.size)
  let done = offset
  advance(offset, 0)
  async function* counted() {
    for await (const chunk of source.blob(blob, { offset, signal })) {
      done += chunk.length
      advance(chunk.length, chunk.length)
      yield chunk
    }
  }
  try {
    await sink.write(blob, counted(), { offset })
    // Another pull of the same blob may have been faster, and ours was not read.
    if (done < blob.size) advance(blob.size - done, 0)
  } catch (error) {
    const spoilt = error instanceof MusterError && ['blob-digest', 'blob-too-long'].includes(error.code)
    if (!spoilt) throw error
    if ((await sink.size(blob.digest)) === undefined) await sink.remove(blob.digest)
    if (offset === 0) throw error
    // The beginning was from an earlier pull and may be what is wrong: once more, all of it.
    advance(-done, 0)
    await pullBlob(pull)
  }
}

function distinct(blobs: readonly Descriptor[]): Descriptor[] {
  const byDigest = new Map<string, Descriptor>()
  for (const blob of blobs) {
    const other = byDigest.get(blob.digest)
    if (other !== undefined && other.size !== blob.size) {
      throw new MusterError(
        'manifest-invalid',
        `The manifests disagree about the size of ${blob.digest}: ${other.size} and ${blob.size} bytes.`,
      )
    }
    byDigest.set(blob.digest, blob)
  }
  return [...byDigest.values()]
}

async function* once(bytes: Uint8Array) {
  yield bytes
}
