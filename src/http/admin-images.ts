/** Releases: what may be booted, and how new ones come in. The server never signs which releases exist; a client does. */
import type { Readable } from 'node:stream'
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { route } from './admin-route.ts'
import { type StreamItem, sendStream } from './admin-stream.ts'

const count = z.number().int().min(0)

const image = z.object({
  name: z.string(),
  releases: z
    .array(
      z.object({
        version: z.string(),
        arch: z.string(),
        kind: z.string(),
        releaseCounter: count,
        hardwareIds: z.array(z.string()).describe('Empty: any hardware'),
        digest: z.string().describe("The manifest's"),
        ref: z.string().describe('Where its bytes came from'),
        target: z.string(),
      }),
    )
    .describe('Newest first'),
  channels: z.array(
    z.object({
      channel: z.string(),
      version: z.string().describe('The current release'),
      releaseCounter: count,
      minReleaseCounter: count.describe('The floor: what is older does not boot'),
    }),
  ),
})
const images = z.object({
  repository: z.string(),
  images: z.array(image),
  skipped: z.array(z.string()).describe('Signed targets that this server does not understand, and why'),
})
export type ImagesView = z.output<typeof images>

const pullRequest = z.strictObject({
  reference: z.string().min(1).max(512).describe('<registry>/<name>:<tag> or …@sha256:<hex>'),
  arch: z.enum(['amd64', 'arm64']).optional().describe('Only this one of an index'),
})
export type PullRequest = z.output<typeof pullRequest>

/** One line of the answer to a pull. */
export type PullProgress =
  | { kind: 'progress'; doneBytes: number; totalBytes: number; fetchedBytes: number }
  | { kind: 'done'; manifests: { arch?: string; digest: string; size: number; mediaType: string }[] }

export type ImageDeciders = {
  list(): Promise<ImagesView>
  /** Bytes into the blob store: nothing is released by it. @throws MusterError registry-*, manifest-*, blob-* */
  pull(request: PullRequest, signal: AbortSignal): AsyncIterable<PullProgress>
  /** A file of the repository's metadata as signed. @throws MusterError repository-not-found */
  metadata(repository: string, name: string): Promise<Uint8Array | undefined>
  /**
   * Verifies targets N+1 as a client would, and signs snapshot and timestamp over it. The same bytes twice are no error.
   * @throws MusterError metadata-*, target-invalid, channel-invalid, release-*, repository-not-found
   */
  acceptTargets(repository: string, bytes: Uint8Array): Promise<{ version: number }>
}

/** tuf-js reads at most 5 MB of targets. */
const targetsBytesMax = 5_000_000

const params = z.object({ repository: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/) })

export function imageRoutes(releases: ImageDeciders, log: Log) {
  const group = 'releases'
  return {
    list: route({
      summary: 'Images, their releases and channels, as the signed metadata has them',
      group,
      reply: images,
      handle: () => releases.list(),
    }),
    pull: route({
      summary:
        "Fetch from a registry into this server's store; the answer's lines are progress, the last one `done`",
      group,
      body: pullRequest,
      async handle({ body, request, reply }) {
        return sendStream(request, reply, (signal) => toItems(releases.pull(body, signal)), log)
      },
    }),
    metadata: route({
      summary:
        'A metadata file in the bytes that were signed: a publisher verifies them, and signs the next version',
      group,
      params: params.extend({ file: z.string().max(64) }),
      async handle({ params, reply }) {
        const bytes = await releases.metadata(params.repository, params.file)
        if (bytes === undefined)
          throw new MusterError('file-not-found', `${params.repository} has no ${params.file}.`)
        return reply.type('application/json').send(Buffer.from(bytes))
      },
    }),
    acceptTargets: route({
      summary:
        'A signed targets.json, one version on, with more releases or without some (application/octet-stream: the bytes are what is signed)',
      group,
      params,
      reply: z.object({ version: count }),
      async handle({ params, request }) {
        return releases.acceptTargets(params.repository, await readBody(request.raw, targetsBytesMax))
      },
    }),
  }
}

async function* toItems(source: AsyncIterable<PullProgress>): AsyncGenerator<StreamItem> {
  for await (const value of source) yield { value }
}

async function readBody(source: Readable, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of source as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > bytesMax)
      throw new MusterError('metadata-too-large', `targets.json may have ${bytesMax} bytes; more came.`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
