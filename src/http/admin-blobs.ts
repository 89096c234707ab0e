/**
 * Content on its way in: blobs by digest, uploads that go on where they stopped. What is here is not served to any
 * machine before a signed target names it; this is only where bytes are put down.
 */
import type { Readable } from 'node:stream'
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import { manifestLimits } from '../oci/manifest.ts'
import { type AdminRoute, route } from './admin-route.ts'

export type BlobDeciders = {
  /** Bytes of a whole blob; undefined when it is not here. */
  size(digest: string): Promise<number | undefined>
  partialSize(digest: string): Promise<number>
  /** @throws MusterError blob-unavailable, manifest-too-large when it has more than `maxBytes` */
  readAll(digest: string, maxBytes: number): Promise<Uint8Array>
  write(
    blob: { digest: string; size: number },
    source: AsyncIterable<Uint8Array>,
    options: { offset: number },
  ): Promise<void>
}

const digestParams = z.object({
  hex: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hexadecimal digits')
    .describe('sha256 of the bytes'),
})

/** The greatest single blob: a rootfs is a few GB, and a length is needed before the first byte. */
const blobBytesMax = 64 * 2 ** 30

export function blobRoutes(blobs: BlobDeciders): Record<'head' | 'get' | 'put', AdminRoute> {
  return {
    head: route({
      summary:
        'How much of a blob is here: 200 with content-length when whole, 202 with upload-offset when it is not',
      group: 'content',
      params: digestParams,
      async handle({ params, reply }) {
        const digest = `sha256:${params.hex}`
        const whole = await blobs.size(digest)
        if (whole !== undefined) return reply.header('content-length', whole).send()
        const partial = await blobs.partialSize(digest)
        return reply.code(202).header('upload-offset', partial).header('content-length', 0).send()
      },
    }),

    get: route({
      summary: 'A small blob (manifests, channel documents): what a publisher verifies before it signs',
      group: 'content',
      params: digestParams,
      async handle({ params, reply }) {
        const bytes = await blobs.readAll(`sha256:${params.hex}`, manifestLimits.bytes)
        return reply.type('application/octet-stream').send(Buffer.from(bytes))
      },
    }),

    put: route({
      summary: "Upload a blob (application/octet-stream); 'content-range: bytes 5-9/10' goes on at byte 5",
      group: 'content',
      params: digestParams,
      async handle({ params, request, reply }) {
        const digest = `sha256:${params.hex}`
        const part = uploadRange(request.headers['content-range'], request.headers['content-length'])
        if ((await blobs.size(digest)) === part.size) return reply.code(204).send()
        const here = await blobs.partialSize(digest)
        if (part.offset > here) {
          throw new MusterError(
            'request-invalid',
            `The upload of ${digest} wants to go on at byte ${part.offset}, but ${here} bytes are here. Ask with HEAD, and go on at its upload-offset.`,
            { details: { expected: here, found: part.offset } },
          )
        }
        await blobs.write({ digest, size: part.size }, request.raw as Readable, { offset: part.offset })
        return reply.code(201).send()
      },
    }),
  }
}

/**
 * RFC 9110 §14.4, `bytes first-last/complete`; without it the body is the whole. One step beyond the grammar: when a server
 * died between the last byte and the check, all bytes are here, and `bytes 10-9/10` with an empty body has it finish.
 * @throws MusterError request-invalid
 */
export function uploadRange(
  contentRange: string | undefined,
  contentLength: string | undefined,
): { offset: number; size: number } {
  const length = /^\d{1,15}$/.test(contentLength ?? '') ? Number(contentLength) : undefined
  if (length === undefined)
    throw new MusterError(
      'request-invalid',
      'An upload says how long it is: the header content-length is missing.',
    )
  if (contentRange === undefined) return limited({ offset: 0, size: length })
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(contentRange)
  const [first, last, size] = (match ?? []).slice(1).map(Number)
  if (
    first === undefined ||
    last === undefined ||
    size === undefined ||
    last !== size - 1 ||
    last < first - 1
  ) {
    throw new MusterError(
      'request-invalid',
      `An upload goes on to its end: content-range must be 'bytes <first>-<size - 1>/<size>', not '${contentRange.slice(0, 80)}'.`,
    )
  }
  if (size - first !== length) {
    throw new MusterError(
      'request-invalid',
      `content-range announces ${size - first} bytes and content-length ${length}; they must agree.`,
    )
  }
  return limited({ offset: first, size })
}

function limited(part: { offset: number; size: number }): { offset: number; size: number } {
  if (part.size <= blobBytesMax) return part
  throw new MusterError(
    'request-invalid',
    `A blob may have ${blobBytesMax} bytes at most, but ${part.size} were announced.`,
  )
}
