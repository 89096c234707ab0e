/**
 * A site that follows another server: a TUF client first, and then a mirror of exactly what it verified.
 *
 *     upstream                                   site
 *     metadata/…  ──▶ refresh against the pinned root
 *     blobs/sha256/…  ──▶ digest checked ──▶ admit
 *                          upstream's metadata bytes, unchanged, timestamp.json last ──▶ machines
 *
 * Until the last step the site serves the state before; whatever breaks off is taken up by the next run. No key of upstream is
 * here, so a site that is taken over can serve nothing new.
 */
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type BlobLimits, defaultBlobLimits, readBlob } from '../oci/blob-reader.ts'
import { createSender, readAll, type SendLimits } from '../oci/send.ts'
import type { Fetch } from '../oci/transport.ts'
import type { BlobDescriptor, BlobStore } from '../store/blobs.ts'
import type { Store } from '../store/store.ts'
import type { TrustedRepository } from '../tuf/trusted-repository.ts'
import { refresh } from '../tuf/updater.ts'
import type { VerifiedTarget } from '../tuf/verify.ts'
import { admitTarget, checkTargetSize, offeredTargets, partsOf, readTargetBytes } from './admit.ts'
import { type Catalog, readCatalog } from './catalog.ts'
import { strangeUpstream } from './following.ts'
import { checkThroughPinned, rootToBeginWith } from './pinned-root.ts'
import { type PullProgress, pullBlobs } from './pull-content.ts'
import type { RepositoryFiles, RepositoryState } from './repository-files.ts'
import { type Crypto, inMemory } from './verify-repository.ts'

export type Upstream = {
  /** `https://…/tuf/<repository>`, without a trailing slash. */
  url: string
  /** Upstream's root.json, fetched by a road that is trusted. */
  root: Uint8Array
}

export type SyncTools = {
  repository: string
  files: RepositoryFiles
  blobs: BlobStore
  store: Store
  crypto: Crypto
  fetch: Fetch
  limits?: Partial<SyncLimits>
  now: () => number
  log: Log
  /** Ends the run between two pieces of it; the next run goes on from there. */
  signal?: AbortSignal | undefined
}

export type SyncLimits = SendLimits &
  BlobLimits & {
    /** For one file of metadata. */
    metadataTimeoutMs: number
  }

/**
 * Brings the site to upstream's state. Nothing changes unless all of it is here.
 *
 * @throws MusterError metadata-* when upstream's metadata does not verify, `metadata-unavailable` or `registry-unavailable` when
 *   it cannot be reached, `blob-*` and `manifest-*` when its content is not what was signed, `store-failed`
 */
export async function syncOnce(
  tools: SyncTools,
  upstream: Upstream,
  options: { state?: RepositoryState | undefined; onProgress?: PullProgress | undefined } = {},
): Promise<Catalog> {
  const { files, blobs, store, log } = tools
  const client = createUpstreamClient(tools, upstream)
  const kept = inMemory(options.state)
  const { crypto, repository } = tools
  const read = async (name: string) => kept.get(name) ?? (await rootFrom(files, name))
  const trusted = await refresh({
    repository,
    trustedRoot: await rootToBeginWith({
      repository,
      upstream,
      state: options.state,
      files,
      nowMs: tools.now(),
      crypto,
    }),
    fetch: (name, maxBytes) => client.metadata(name, maxBytes),
    files: { ...kept, read, write: kept.write },
    now: new Date(tools.now()),
    crypto,
  }).catch((cause: unknown) => {
    throw strangeUpstream(cause, upstream.url, options.state?.root.signed.version)
  })
  if (options.state !== undefined) {
    const { version: stored } = options.state.root.signed
    await checkThroughPinned({ repository, upstream, stored, reached: trusted.versions.root, read })
  }
  const pull = (wanted: BlobDescriptor[]) =>
    pullBlobs({ blobs, wanted, read: client.blob, log, onProgress: options.onProgress })
  await pull(trusted.targets().filter(isReasonable).map(toBlob))
  const catalog = await readCatalog({
    trusted,
    readTarget: (target) => readTargetBytes(blobs, target),
    strict: false,
  })
  for (const target of offeredTargets(catalog)) {
    await pull(partsOf(target, await readTargetBytes(blobs, target)))
  }
  for (const target of offeredTargets(catalog)) await admitTarget({ blobs, store }, target)

  const next = await onlyNews(files, received(trusted, kept, upstream))
  if (next.size > 0) {
    await files.commit(next)
    log.info(
      { repository: tools.repository, upstream: upstream.url, versions: trusted.versions },
      'followed upstream',
    )
  }
  return catalog
}

/** What differs from the disk: nothing when upstream has nothing new. */
async function onlyNews(
  files: RepositoryFiles,
  next: Map<string, Uint8Array>,
): Promise<Map<string, Uint8Array>> {
  const news = new Map<string, Uint8Array>()
  for (const [name, bytes] of next) {
    const there = await files.read(name)
    if (there === undefined || Buffer.compare(there, bytes) !== 0) news.set(name, bytes)
  }
  return news
}

/** Upstream's bytes under the names that the site serves them by. */
function received(
  { versions }: TrustedRepository,
  kept: ReadonlyMap<string, Uint8Array>,
  upstream: Upstream,
): Map<string, Uint8Array> {
  const next = new Map<string, Uint8Array>()
  for (const [name, bytes] of kept) if (/^\d+\.root\.json$/.test(name)) next.set(name, bytes)
  // The pinned root is the first of the chain; a machine that was made with it starts there.
  const pinned = JSON.parse(Buffer.from(upstream.root).toString()) as { signed: { version: number } }
  next.set(`${pinned.signed.version}.root.json`, upstream.root)
  next.set(`${versions.snapshot}.snapshot.json`, requireKept(kept, 'snapshot.json'))
  next.set(`${versions.targets}.targets.json`, requireKept(kept, 'targets.json'))
  next.set('timestamp.json', requireKept(kept, 'timestamp.json'))
  return next
}

function requireKept(kept: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array {
  const bytes = kept.get(name)
  if (bytes === undefined)
    throw new MusterError('internal', `${name} was verified, but its bytes were not kept.`)
  return bytes
}

async function rootFrom(files: RepositoryFiles, name: string): Promise<Uint8Array | undefined> {
  return /^\d+\.root\.json$/.test(name) ? files.read(name) : undefined
}

/** A target too big to be a manifest is nothing of ours; the catalog leaves it out, so nothing is fetched for it. */
function isReasonable(target: VerifiedTarget): boolean {
  try {
    checkTargetSize(target)
    return true
  } catch {
    return false
  }
}

function toBlob(target: VerifiedTarget): BlobDescriptor {
  return { digest: `sha256:${target.sha256}`, size: target.length }
}

/** Upstream over HTTP, as untrusted as any mirror. */
function createUpstreamClient(tools: SyncTools, { url }: Upstream) {
  const { fetch, limits = {}, log, now, signal } = tools
  const sender = createSender({
    fetch,
    log,
    now,
    limits,
    plainHttpWay: () => 'If that is meant, begin releases.upstream.url with http://.',
  })
  return {
    async metadata(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
      const address = `${url}/metadata/${name}`
      const reply = await sender.send(address, { method: 'GET', headers: {}, ...(signal && { signal }) })
      // A store behind a CDN answers 403 for what is not there.
      if (reply.status === 404 || reply.status === 403) {
        reply.abort()
        return undefined
      }
      if (reply.status !== 200) {
        reply.abort()
        const sentence = `${address} answered ${reply.status}; releases.upstream.url must name …/tuf/<repository> of a server.`
        throw new MusterError('metadata-unavailable', sentence, {
          details: { address, status: reply.status },
        })
      }
      const tooLong = () =>
        new MusterError(
          'metadata-too-large',
          `${address} may have ${maxBytes} bytes at most, and sends more.`,
        )
      return readAll(reply, { bytesMax: maxBytes, timeoutMs: limits.metadataTimeoutMs ?? 60_000, tooLong })
    },

    blob(blob: BlobDescriptor, offset: number): AsyncIterable<Uint8Array> {
      const address = `${url}/blobs/sha256/${blob.digest.slice('sha256:'.length)}`
      return readBlob({
        descriptor: { ...blob, mediaType: 'application/octet-stream' },
        offset,
        open: (start) => openBlob(sender, address, start, signal),
        backoff: (failures) => sender.backoff(failures, signal),
        limits: { ...defaultBlobLimits, ...limits },
        signal,
        location: url,
      })
    },
  }
}

async function openBlob(
  sender: ReturnType<typeof createSender>,
  address: string,
  start: number,
  signal: AbortSignal | undefined,
) {
  const headers: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {}
  const reply = await sender.send(address, { method: 'GET', headers, ...(signal && { signal }) })
  if (reply.status === 200 || reply.status === 206) return reply
  reply.abort()
  throw new MusterError(
    'blob-unavailable',
    `${address} answered ${reply.status}; upstream lists it and does not have it.`,
    {
      details: { address, status: reply.status },
    },
  )
}
