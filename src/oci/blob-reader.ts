/**
 * Reads one blob to its end over connections that break, from servers that lie.
 *
 * Every byte is counted and hashed as it passes: at size + 1 reading stops, at the end the digest decides. A connection that
 * breaks is taken up again by Range (RFC 9110 §14.2); a server that answers 200 to that sends everything anew, and what is
 * already there is skipped.
 */
import { createHash, type Hash } from 'node:crypto'
import { MusterError } from '../errors.ts'
import type { Descriptor } from './manifest.ts'
import type { OpenReply } from './send.ts'

export type BlobLimits = {
  /** Connections in a row that brought less than `progressBytes`. */
  failuresMax: number
  /** Within `stallTimeoutMs` of waiting at least so many bytes must come, or the connection counts as broken. */
  progressBytes: number
  stallTimeoutMs: number
}
export const defaultBlobLimits: BlobLimits = {
  failuresMax: 5,
  progressBytes: 64 * 1024,
  stallTimeoutMs: 30_000,
}

export type BlobReading = {
  descriptor: Descriptor
  offset: number
  /** Requests the blob from `start` on; a reply of any status that `send` returns. */
  open(start: number): Promise<OpenReply>
  backoff(failures: number): Promise<void>
  limits: BlobLimits
  signal: AbortSignal | undefined
  /** For the sentences of errors: where it comes from. */
  location: string
}

/** @throws blob-digest, blob-too-long, blob-truncated, blob-unavailable, and what `open` throws */
export async function* readBlob(reading: BlobReading): AsyncGenerator<Uint8Array, void, void> {
  const { descriptor, offset, limits, signal } = reading
  let position = offset
  const hash = offset === 0 ? createHash('sha256') : undefined
  let failures = 0
  while (position < descriptor.size) {
    const before = position
    const reply = await reading.open(position)
    let cause: unknown
    try {
      const start = startOf(reply, position, reading)
      for await (const chunk of fromPosition(reply, start, position, reading)) {
        position += chunk.length
        hash?.update(chunk)
        yield chunk
      }
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof MusterError) throw error
      cause = error
    } finally {
      // Also when the reader of this generator leaves early.
      reply.abort()
    }
    if (position >= descriptor.size) break
    failures = position - before >= limits.progressBytes ? 1 : failures + 1
    if (failures > limits.failuresMax) throw broken(reading, position, cause)
    await reading.backoff(failures)
  }
  checkDigest(hash, reading)
}

/** The offset of the reply's first byte: 0 for 200, what was asked for with 206. */
function startOf(reply: OpenReply, position: number, reading: BlobReading): number {
  const { descriptor } = reading
  if (reply.status === 206) {
    const match = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(reply.headers.get('content-range') ?? '')
    const total = match?.[2] === '*' ? descriptor.size : Number(match?.[2])
    if (match !== null && Number(match[1]) === position && total === descriptor.size) return position
    throw fault(
      'blob-unavailable',
      reading,
      `it answered Content-Range '${reply.headers.get('content-range')}' to a request from byte ${position}`,
    )
  }
  const length = reply.headers.get('content-length')
  if (length !== null && Number(length) < descriptor.size) {
    throw fault('blob-truncated', reading, `it has ${length} bytes there`)
  }
  if (length !== null && Number(length) > descriptor.size) {
    throw fault('blob-too-long', reading, `it has ${length} bytes there`)
  }
  return 0
}

/** The reply's bytes from `position` on; what comes before it is skipped. */
async function* fromPosition(
  reply: OpenReply,
  start: number,
  position: number,
  reading: BlobReading,
): AsyncGenerator<Uint8Array, void, void> {
  const { size } = reading.descriptor
  // With a length the reply ends by itself, and its connection can be used again.
  const endsByItself = reply.headers.get('content-length') !== null
  let at = start
  for await (const chunk of withStallTimeout(reply, reading.limits)) {
    if (at + chunk.length > size) throw fault('blob-too-long', reading, 'it sends more')
    const fresh = chunk.subarray(Math.min(Math.max(position - at, 0), chunk.length))
    at += chunk.length
    if (fresh.length > 0) yield fresh
    if (at === size && !endsByItself) return
  }
}

/** Time counts only while waiting for the network, never while the reader writes to its disk. */
async function* withStallTimeout(
  reply: OpenReply,
  limits: BlobLimits,
): AsyncGenerator<Uint8Array, void, void> {
  const iterator = reply.body?.[Symbol.asyncIterator]()
  if (iterator === undefined) return
  let leftMs = limits.stallTimeoutMs
  let bytes = 0
  for (;;) {
    const since = performance.now()
    const timer = setTimeout(() => reply.abort(), Math.max(leftMs, 1))
    try {
      const next = await iterator.next()
      if (next.done) return
      bytes += next.value.length
      leftMs -= performance.now() - since
      if (bytes >= limits.progressBytes) [bytes, leftMs] = [0, limits.stallTimeoutMs]
      yield next.value
    } finally {
      clearTimeout(timer)
    }
  }
}

function checkDigest(hash: Hash | undefined, reading: BlobReading): void {
  if (hash === undefined) return
  const found = `sha256:${hash.digest('hex')}`
  if (found !== reading.descriptor.digest) {
    throw fault('blob-digest', reading, `its bytes have the digest ${found}: they were changed or are broken`)
  }
}

function broken(reading: BlobReading, position: number, cause: unknown): MusterError {
  return cause === undefined
    ? fault('blob-truncated', reading, `it ends at byte ${position}, again and again`)
    : fault('blob-unavailable', reading, `the connection breaks at byte ${position}, again and again`, cause)
}

function fault(
  code: 'blob-digest' | 'blob-too-long' | 'blob-truncated' | 'blob-unavailable',
  reading: BlobReading,
  reason: string,
  cause?: unknown,
): MusterError {
  const { digest, size } = reading.descriptor
  return new MusterError(
    code,
    `${reading.location} was asked for the blob ${digest} of ${size} bytes, and ${reason}.`,
    { cause, details: { digest, size, location: reading.location } },
  )
}
