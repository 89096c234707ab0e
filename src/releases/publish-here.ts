/** Publishing where the targets key is: content into the store, the next targets.json signed and accepted at once. */
import { MusterError } from '../errors.ts'
import { contentOf } from '../oci/manifest.ts'
import type { ImageName, ImageSource, ResolvedManifest } from '../oci/source.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { defaultChannel, parseTargetName, releasePath } from '../protocol/release-rules.ts'
import type { ReleaseCustom } from '../protocol/target.ts'
import { expiresIn } from '../signing/expiry.ts'
import { requireKey } from '../signing/keys.ts'
import type { TargetEntry } from '../signing/repository.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { RepositoryTools } from './accept.ts'
import type { Catalog } from './catalog.ts'
import { type Additions, describeChannel, describeRelease, signNextTargets } from './publish.ts'
import { type PullProgress, pullBlobs } from './pull-content.ts'
import type { RepositoryState } from './repository-files.ts'

export type PublishRequest = {
  source: ImageSource
  name: ImageName
  /** `<image>/<version>`; the architectures come from the source. */
  image: string
  version: string
  /** Only this one of the source's architectures; needed where the source does not say which it is. */
  arch?: Arch | undefined
  /** Default `stable`; null: no channel names it. */
  channel?: string | null | undefined
  /** New floor of the channel: no release of the image with a lower counter boots any more. */
  floor?: number | undefined
  kind?: ReleaseCustom['kind'] | undefined
  hardwareIds?: readonly string[] | undefined
  minAgent?: string | undefined
  releaseCounter?: number | undefined
  onProgress?: PullProgress | undefined
}

export type ChannelRequest = { image: string; channel: string; version: string; floor?: number | undefined }

export type Published = {
  releases: { path: string; digest: string }[]
  /** Version of targets.json that holds it. */
  targetsVersion: number
  notices: string[]
  /** What is in targets.json that was not; `nothing` where the same was published before. */
  changed: 'nothing' | 'channel' | 'release'
}

/** Of the target entries that are added. */
export function changedBy(targets: Readonly<Record<string, unknown>>): Published['changed'] {
  const names = Object.keys(targets).map((path) => parseTargetName(path))
  if (names.some(({ kind }) => kind === 'release')) return 'release'
  return names.length === 0 ? 'nothing' : 'channel'
}

/** What publishing needs of the façade. */
export type Publisher = {
  tools(): RepositoryTools
  current(): { state: RepositoryState; catalog: Catalog }
  accept(bytes: Uint8Array): Promise<Catalog>
}

/**
 * Publishes an image from a registry or folder under `<image>/<version>` for each of its architectures. Again with the same
 * content is no harm, so that a first start that was killed can simply be repeated.
 *
 * @throws MusterError `key-not-found` when the targets key is offline, `release-exists`, what the source throws, and what
 *   accept.ts says
 */
export async function publishRelease(publisher: Publisher, request: PublishRequest): Promise<Published> {
  const { blobs, keys, log } = publisher.tools()
  requireKey(keys, 'targets')
  const { source, image, version, onProgress } = request
  const resolved = await resolveManifests(request)
  for (const { manifest, descriptor, manifestBytes } of resolved) {
    const read = (blob: { digest: string; size: number }, offset: number) =>
      source.blob({ ...blob, mediaType: 'application/octet-stream' }, { offset })
    await pullBlobs({ blobs, wanted: contentOf(manifest), read, log, onProgress })
    await writeBytes(blobs, descriptor, manifestBytes)
  }
  const additions = additionsOf(request, resolved, publisher.current().catalog)
  const after = await publishTargets(publisher, additions)
  const releases = resolved.map(({ arch, descriptor }) => ({
    path: releasePath({ image, version, arch }),
    digest: descriptor.digest,
  }))
  return {
    releases,
    targetsVersion: after.trusted.versions.targets,
    notices: additions.notices,
    changed: changedBy(additions.targets),
  }
}

/**
 * Makes a channel name a release that is published, and raises its floor where one is given.
 *
 * @throws MusterError `target-not-found` when there is no such version, `channel-invalid` when the floor would sink
 */
export async function setChannel(publisher: Publisher, request: ChannelRequest): Promise<Published> {
  const { image: name, channel, version, floor } = request
  const image = publisher.current().catalog.image(name)
  const releases = (image?.releases ?? []).filter((one) => one.version === version)
  const [first] = releases
  if (first === undefined) {
    const sentence = `${name}/${version} is not published, so channel ${channel} cannot name it.`
    throw new MusterError('target-not-found', sentence, { details: { ...request } })
  }
  const manifests = Object.fromEntries(releases.map(({ arch, manifest }) => [arch, manifest.digest]))
  const { releaseCounter } = first.custom
  const additions = describeChannel(
    { image: name, channel, floor, version, releaseCounter, manifests },
    image,
  )
  const after = await publishTargets(publisher, additions)
  return {
    releases: releases.map(({ path, manifest }) => ({ path, digest: manifest.digest })),
    targetsVersion: after.trusted.versions.targets,
    notices: additions.notices,
    changed: changedBy(additions.targets),
  }
}

async function publishTargets(
  publisher: Publisher,
  additions: { targets: Record<string, TargetEntry>; document: Uint8Array | undefined },
): Promise<Catalog> {
  const { blobs, keys, now, periods } = publisher.tools()
  const { state, catalog } = publisher.current()
  if (Object.keys(additions.targets).length === 0) return catalog
  if (additions.document !== undefined) {
    const [, entry] = Object.entries(additions.targets).find(([path]) => path.includes('/channel/')) ?? []
    const digest = `sha256:${entry?.hashes['sha256']}`
    await writeBytes(blobs, { digest, size: additions.document.length }, additions.document)
  }
  const bytes = signNextTargets({
    current: state.targets.signed,
    additions: additions.targets,
    expires: expiresIn(now(), periods.targets),
    signers: [requireKey(keys, 'targets')],
  })
  return publisher.accept(bytes)
}

/** One manifest per architecture that is to be published. @throws what the source throws, `manifest-invalid` */
export async function resolveManifests(
  request: Pick<PublishRequest, 'source' | 'name' | 'arch'>,
): Promise<(ResolvedManifest & { arch: Arch })[]> {
  const { source, name, arch } = request
  const found = arch === undefined ? await source.resolveAll(name) : [await source.resolve(name, { arch })]
  return found.map((one) => {
    const known = one.arch ?? arch
    if (known !== undefined) return { ...one, arch: known }
    const sentence = `${source.location} does not say which architecture it is for; say it with --arch amd64 or --arch arm64.`
    throw new MusterError('manifest-invalid', sentence, { details: { location: source.location } })
  })
}

/** What a request adds to the releases that are there, its defaults filled in. @throws as `describeRelease` */
export function additionsOf(
  request: Omit<PublishRequest, 'onProgress'>,
  resolved: readonly (ResolvedManifest & { arch: Arch })[],
  catalog: Catalog,
): Additions {
  const { image, version } = request
  const channel = request.channel === undefined ? defaultChannel : request.channel
  return describeRelease(
    {
      image,
      version,
      kind: request.kind ?? 'artifact',
      source: sourceName(request.source.location, image),
      manifests: resolved.map(({ arch, descriptor }) => ({ ...descriptor, arch })),
      hardwareIds: request.hardwareIds ?? [],
      minAgent: request.minAgent ?? '0.0.0',
      releaseCounter: request.releaseCounter,
    },
    catalog.image(image),
    channel === null ? undefined : { image, channel, floor: request.floor },
  )
}

/** A folder's place on the publisher's disk is nobody's business: the image's name stands for it. */
function sourceName(location: string, image: string): string {
  return /^[./~]|^[A-Za-z]:\\/.test(location) ? image : location
}

async function writeBytes(
  blobs: BlobStore,
  blob: { digest: string; size: number },
  bytes: Uint8Array,
): Promise<void> {
  await blobs.write({ digest: blob.digest, size: blob.size }, once(bytes))
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
