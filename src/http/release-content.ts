/**
 * What the firmware plane serves of releases: metadata as it was signed, targets under their consistent-snapshot names, blobs
 * by digest, and the same by the distribution API. All of it comes through the store's one door.
 */
import { createHash } from 'node:crypto'
import { errorCodeOf } from '../errors.ts'
import { mediaTypes } from '../oci/manifest.ts'
import { isDigest } from '../oci/reference.ts'
import type { CatalogImage, CatalogRelease } from '../releases/catalog.ts'
import type { Releases } from '../releases/releases.ts'
import type { Store } from '../store/store.ts'
import type { FirmwareDeciders } from './firmware.ts'
import type { OciManifest, OciPullDeciders } from './oci-pull.ts'
import type { Content } from './serve-content.ts'

export function createReleaseContent(options: {
  releases: Releases
  store: Store
}): FirmwareDeciders['content'] & {
  oci: OciPullDeciders
} {
  const { releases, store } = options

  async function blob(digest: string): Promise<(Content & { close(): Promise<void> }) | undefined> {
    if (!isDigest(digest) || !store.isAdmitted(digest)) return undefined
    const opened = await store.open(digest)
    return {
      size: opened.size,
      etag: digest,
      contentType: 'application/octet-stream',
      stream: (range) => opened.stream(range),
      close: () => opened.close(),
    }
  }

  const image = (name: string): CatalogImage | undefined => {
    try {
      return releases.catalog().image(name)
    } catch (error) {
      // A follower before its first sync has no images yet; an image without its floor is not offered.
      if (['repository-not-found', 'channel-invalid'].includes(errorCodeOf(error))) return undefined
      throw error
    }
  }

  async function manifestByDigest(digest: string, mediaType: string): Promise<OciManifest | undefined> {
    const opened = store.isAdmitted(digest) ? await store.open(digest) : undefined
    if (opened === undefined) return undefined
    try {
      return { bytes: await opened.read(0, opened.size), digest, mediaType }
    } finally {
      await opened.close()
    }
  }

  return {
    async metadata(repository, name) {
      return repository === releases.repository ? releases.metadata(name) : undefined
    },
    async target(repository, path) {
      const found = repository === releases.repository ? releases.target(path) : undefined
      return found === undefined ? undefined : blob(found.digest)
    },
    blob,
    oci: {
      open: blob,
      async manifest(name, reference) {
        const releasesOfName = image(name)?.releases ?? []
        if (isDigest(reference)) {
          const release = releasesOfName.find(({ manifest }) => manifest.digest === reference)
          return release && manifestByDigest(reference, release.custom.oci.mediaType)
        }
        const version =
          image(name)?.channels.find(({ channel }) => channel === reference)?.version ?? reference
        const tagged = releasesOfName.filter((release) => release.version === version)
        const [first] = tagged
        if (first === undefined) return undefined
        return tagged.length === 1
          ? manifestByDigest(first.manifest.digest, first.custom.oci.mediaType)
          : indexOf(tagged)
      },
      async tags(name) {
        const found = image(name)
        if (found === undefined) return undefined
        return [
          ...new Set([
            ...found.releases.map(({ version }) => version),
            ...found.channels.map(({ channel }) => channel),
          ]),
        ]
      },
    },
  }
}

/** An index over the architectures of one release: OCI image-spec v1.1, image-index.md. It names signed manifests only. */
function indexOf(releases: readonly CatalogRelease[]): OciManifest {
  const manifests = releases.map(({ arch, custom, manifest }) => ({
    mediaType: custom.oci.mediaType,
    digest: manifest.digest,
    size: manifest.size,
    platform: { os: 'linux', architecture: arch },
  }))
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }))
  return {
    bytes,
    digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`,
    mediaType: mediaTypes.index,
  }
}
