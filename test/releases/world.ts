/** A small world for releases: sites with a data folder and a clock, images made on the spot, and servers that misbehave. */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { silentLog } from '../../src/log.ts'
import { architectureAnnotation, layerTypes, osArtifactType } from '../../src/oci/artifact.ts'
import { mediaTypes, parseImageManifest } from '../../src/oci/manifest.ts'
import type { ImageSource, ResolvedManifest } from '../../src/oci/source.ts'
import { createTransport } from '../../src/oci/transport.ts'
import type { Arch } from '../../src/protocol/identifiers.ts'
import type { ServerAccess } from '../../src/releases/publish-there.ts'
import { createReleases, type Releases } from '../../src/releases/releases.ts'
import { removeThere } from '../../src/releases/remove-there.ts'
import type { Upstream } from '../../src/releases/sync.ts'
import { periodsOf } from '../../src/signing/expiry.ts'
import { loadKeyFile } from '../../src/signing/keys.ts'
import { type BlobStore, createBlobStore } from '../../src/store/blobs.ts'
import { createStore, type Store } from '../../src/store/store.ts'

export type Site = AsyncDisposable & {
  data: string
  releases: Releases
  store: Store
  blobs: BlobStore
  clock: Clock
}
export type Clock = { nowMs: number }

export const metadataOf = (data: string) => join(data, 'tuf/main/metadata')

/** Opens a site in `data` (a new folder by default), with its repository made when there is none. */
export async function openSite(
  options: { data?: string; clock?: Clock; upstream?: Upstream; limits?: object } = {},
): Promise<Site> {
  const data = options.data ?? (await mkdtemp(join(tmpdir(), 'muster-site-')))
  const clock = options.clock ?? { nowMs: Date.now() }
  const transport = createTransport()
  const blobs = createBlobStore({ directory: join(data, 'blobs'), log: silentLog })
  const store = await createStore({ directory: join(data, 'store'), blobs, log: silentLog })
  const releases = createReleases({
    repository: 'main',
    metadataDirectory: metadataOf(data),
    keysDirectory: join(data, 'keys/main'),
    blobs,
    store,
    periods: periodsOf('default'),
    crypto: createNodeCrypto(),
    now: () => clock.nowMs,
    log: silentLog,
    upstream: options.upstream,
    fetch: transport.fetch,
    limits: { attemptsMax: 2, backoffMs: 1, backoffMaxMs: 2, ...options.limits },
  })
  try {
    await releases.init({ allowNew: true })
  } catch (error) {
    await releases[Symbol.asyncDispose]()
    throw error
  }
  return {
    data,
    releases,
    store,
    blobs,
    clock,
    async [Symbol.asyncDispose]() {
      await releases[Symbol.asyncDispose]()
      await transport[Symbol.asyncDispose]()
    },
  }
}

export async function removeSite(site: Site): Promise<void> {
  await site[Symbol.asyncDispose]()
  await rm(site.data, { recursive: true, force: true })
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** An image whose kernel and initrd are `content` repeated: the same text makes the same digests. */
export function image(content: string, options: { archs?: Arch[]; bytes?: number } = {}): ImageSource {
  const { archs = ['amd64'], bytes = 3000 } = options
  const known = new Map<string, Uint8Array>()
  const put = (data: Uint8Array, mediaType: string) => {
    known.set(digestOf(data), data)
    return { mediaType, digest: digestOf(data), size: data.length }
  }
  const resolved = archs.map((arch): ResolvedManifest => {
    const fill = (what: string) => Buffer.alloc(bytes, `${what} ${content} ${arch} `)
    const document = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: osArtifactType,
      config: put(Buffer.from('{}'), mediaTypes.empty),
      layers: [put(fill('kernel'), layerTypes.kernel), put(fill('initrd'), layerTypes.initrd)],
      annotations: { [architectureAnnotation]: arch },
    }
    const manifestBytes = new Uint8Array(Buffer.from(JSON.stringify(document)))
    const descriptor = put(manifestBytes, mediaTypes.manifest)
    return { descriptor, manifestBytes, manifest: parseImageManifest(manifestBytes), arch }
  })
  return {
    location: 'registry.example/edge',
    resolve: async (_, { arch }) => resolved.find((one) => one.arch === arch) as ResolvedManifest,
    resolveAll: async () => resolved,
    async *blob({ digest }, { offset = 0 } = {}) {
      yield (known.get(digest) as Uint8Array).subarray(offset)
    },
  }
}

export const publish = (site: Site, version: string, more: object = {}) =>
  site.releases.publish({
    source: image(version),
    name: { tag: version },
    image: 'edge',
    version,
    ...more,
  })

/** The site as a publisher elsewhere sees it, with the site's own key. */
export async function access(site: Site): Promise<ServerAccess> {
  const signer = await loadKeyFile(join(site.data, 'keys/main/targets.pem'), silentLog)
  if (signer === undefined) throw new Error('the site has no targets key')
  return {
    server: {
      metadata: site.releases.metadata,
      readBlob: (digest, maxBytes) => site.blobs.readAll(digest, maxBytes),
      sink: site.blobs,
      acceptTargets: (bytes) => site.releases.acceptTargets(bytes),
    },
    repository: 'main',
    trustedRoot: await site.releases.trustedRoot(),
    signer,
    leastTargetsVersion: 0,
    periods: periodsOf('default'),
    now: () => site.clock.nowMs,
    crypto: createNodeCrypto(),
  }
}

/** Removes edge/<version>; `acceptTargets` stands for what happens to the signed bytes. */
export async function withdraw(
  site: Site,
  version: string,
  instead?: string,
  acceptTargets?: (bytes: Uint8Array) => Promise<void>,
) {
  const options = await access(site)
  const server = { ...options.server, ...(acceptTargets && { acceptTargets }) }
  return removeThere({ ...options, server, image: 'edge', version, instead })
}

export type Served = AsyncDisposable & {
  url: string
  /** Paths that were asked for, with their Range. */
  asked: { path: string; range: string | undefined }[]
  /** Changes an answer: other bytes, undefined for 404, or `break` after that many bytes. */
  fault: ((path: string, bytes: Uint8Array) => Uint8Array | undefined | { breakAfter: number }) | undefined
}

/** Serves …/metadata/ and …/blobs/sha256/ of a site over HTTP on loopback, with Range. */
export async function serve(site: Site): Promise<Served> {
  const served: Pick<Served, 'asked' | 'fault'> = { asked: [], fault: undefined }
  const server = createServer((request, response) => {
    answer(site, served, request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return Object.assign(served, {
    url: `http://127.0.0.1:${port}/tuf/main`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}

async function answer(
  site: Site,
  served: Pick<Served, 'asked' | 'fault'>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = (request.url ?? '').replace('/tuf/main/', '')
  served.asked.push({ path, range: request.headers.range })
  const whole = await contentOf(site, path)
  const changed = whole === undefined || served.fault === undefined ? whole : served.fault(path, whole)
  if (changed === undefined || whole === undefined) return void response.writeHead(404).end()
  const breakAfter = changed instanceof Uint8Array ? undefined : changed.breakAfter
  const bytes = changed instanceof Uint8Array ? changed : whole
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  response.writeHead(start > 0 ? 206 : 200, {
    'content-length': bytes.length - start,
    ...(start > 0 ? { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {}),
  })
  if (breakAfter === undefined) return void response.end(bytes.subarray(start))
  response.write(bytes.subarray(start, start + breakAfter), () => response.destroy())
}

async function contentOf(site: Site, path: string): Promise<Uint8Array | undefined> {
  if (path.startsWith('metadata/')) return site.releases.metadata(path.slice('metadata/'.length))
  const digest = path.replace('blobs/sha256/', 'sha256:')
  if (!site.store.isAdmitted(digest)) return undefined
  return site.blobs.readAll(digest, 1e9)
}

/** A site that publishes, served, and one that is going to follow it. */
export async function openPair() {
  const origin = await openSite()
  await publish(origin, '1.0')
  const upstream = await serve(origin)
  const pin: Upstream = { url: upstream.url, root: await origin.releases.trustedRoot() }
  return { origin, upstream, pin, site: await openSite({ upstream: pin }) }
}
