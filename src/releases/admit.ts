/** From a verified target to admitted content: the one place where a manifest is read before the store takes it in. */

import { MusterError } from '../errors.ts'
import { contentOf, type ImageManifest, manifestLimits, parseImageManifest } from '../oci/manifest.ts'
import { architectureOf } from '../oci/platform.ts'
import { checkManifest, parseTargetName, type Release, readRelease } from '../protocol/release-rules.ts'
import type { BlobDescriptor, BlobStore } from '../store/blobs.ts'
import type { Store } from '../store/store.ts'
import type { VerifiedTarget } from '../tuf/verify.ts'
import { type Catalog, channelBytesMax } from './catalog.ts'

/**
 * Reads a release's manifest and holds it against what was signed.
 *
 * @throws MusterError `manifest-invalid`, `manifest-mismatch`
 */
export function readManifest(release: Release, bytes: Uint8Array): ImageManifest {
  const manifest = parseImageManifest(bytes, { mediaType: release.custom.oci.mediaType })
  checkManifest(release, { mediaType: manifest.mediaType, architecture: architectureOf(manifest) })
  return manifest
}

/** What a target's own bytes need beside themselves: a manifest's config and layers; nothing for a channel document. */
export function partsOf(target: VerifiedTarget, bytes: Uint8Array): BlobDescriptor[] {
  if (parseTargetName(target.path).kind === 'channel') return []
  return contentOf(readManifest(readRelease(target), bytes)).map(({ digest, size }) => ({ digest, size }))
}

/** How many bytes a target's own file may have: a manifest's cap, or that of a channel document. @throws target-invalid */
export function checkTargetSize(target: VerifiedTarget): void {
  const max = parseTargetName(target.path).kind === 'channel' ? channelBytesMax : manifestLimits.bytes
  if (target.length <= max) return
  const sentence = `${target.path} has ${target.length} bytes; at most ${max} make sense for it.`
  throw new MusterError('target-invalid', sentence, { details: { path: target.path } })
}

/** Reads a target's own bytes from the blob store. @throws MusterError `release-incomplete` when they are not there */
export async function readTargetBytes(blobs: BlobStore, target: VerifiedTarget): Promise<Uint8Array> {
  checkTargetSize(target)
  try {
    return await blobs.readAll(`sha256:${target.sha256}`, target.length)
  } catch (cause) {
    if (!(cause instanceof MusterError) || !cause.code.startsWith('blob-')) throw cause
    const sentence = `${target.path} names sha256:${target.sha256}, which is not here; push it before the metadata.`
    throw new MusterError('release-incomplete', sentence, { cause, details: { path: target.path } })
  }
}

/**
 * Admits one target whose content is here.
 *
 * @throws MusterError as `Store.admit` and `readManifest` do
 */
export async function admitTarget(
  tools: { blobs: BlobStore; store: Store },
  target: VerifiedTarget,
): Promise<void> {
  const manifest = await readTargetBytes(tools.blobs, target)
  await tools.store.admit(target, { manifest, blobs: partsOf(target, manifest) })
}

/** The targets that the catalog understood. */
export function offeredTargets(catalog: Catalog): VerifiedTarget[] {
  return catalog
    .images()
    .flatMap(({ releases, channels }) => [...releases, ...channels].map(({ target }) => target))
}
