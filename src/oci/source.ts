/** Where images come from: one repository of a registry, or one layout folder. Nothing that they say is trusted. */
import { createHash } from 'node:crypto'
import { MusterError } from '../errors.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { architectureAnnotation } from './artifact.ts'
import {
  type Descriptor,
  type ImageManifest,
  manifestLimits,
  parseImageManifest,
  parseManifest,
} from './manifest.ts'
import {
  architectureOf,
  configuredArchitecture,
  hasPlatform,
  platformsOf,
  selectPlatform,
} from './platform.ts'

/** A tag or a digest in one source; with both, the digest decides. */
export type ImageName = { tag?: string; digest?: string }

export type ResolvedManifest = {
  descriptor: Descriptor
  /** Exactly what `descriptor.digest` is the sha256 of. */
  manifestBytes: Uint8Array<ArrayBuffer>
  manifest: ImageManifest
  /** Undefined where neither an index nor the manifest says it. */
  arch?: Arch
}

export type ImageSource = {
  /** For people and logs: `registry.example/os/edge`, or the folder. */
  readonly location: string
  /**
   * The one manifest for `arch`.
   * @throws registry-not-found, manifest-invalid, manifest-mismatch, manifest-too-large, and what reaching it throws
   */
  resolve(name: ImageName, options: { arch: Arch; signal?: AbortSignal }): Promise<ResolvedManifest>
  /** Every architecture of ours that stands under that name; one without `arch` for a single manifest that does not say. */
  resolveAll(name: ImageName, options?: { signal?: AbortSignal }): Promise<ResolvedManifest[]>
  /**
   * The bytes from `offset` on, never more than `descriptor.size` in all. Read from 0 their digest is checked at the end;
   * read from further on only whoever has the beginning can check it. Who stops reading after `firstBytes` says so, that no more be sent.
   * @throws blob-digest, blob-too-long, blob-truncated, blob-unavailable
   */
  blob(
    descriptor: Descriptor,
    options?: { offset?: number; firstBytes?: number; signal?: AbortSignal },
  ): AsyncIterable<Uint8Array>
}

/** Fetches a manifest or index and checks its digest where it was named by one. `mediaType`: what the carrier said. */
export type LoadDocument = (
  reference: string,
  signal: AbortSignal | undefined,
) => Promise<{ bytes: Uint8Array<ArrayBuffer>; mediaType?: string }>

export type Loader = {
  document: LoadDocument
  /** The bytes of a blob, their digest checked: `ImageSource.blob`. */
  blob: ImageSource['blob']
}

export async function resolveImage(
  load: Loader,
  name: ImageName,
  options: { arch: Arch; signal?: AbortSignal },
): Promise<ResolvedManifest> {
  const { arch, signal } = options
  const root = await load.document(referenceOf(name), signal)
  const parsed = parseManifest(root.bytes, root)
  if (parsed.kind === 'index') return loadDescribed(load, selectPlatform(parsed, arch), arch, signal)
  const resolved = await toResolved(load, root.bytes, parsed, signal)
  if (resolved.arch !== undefined && resolved.arch !== arch) {
    throw new MusterError(
      'registry-not-found',
      `${referenceOf(name)} is for ${resolved.arch}, and ${arch} is needed; there is no other under that name.`,
      { details: { expected: arch, found: resolved.arch } },
    )
  }
  return resolved
}

export async function resolveEvery(
  load: Loader,
  name: ImageName,
  signal: AbortSignal | undefined,
): Promise<ResolvedManifest[]> {
  const root = await load.document(referenceOf(name), signal)
  const parsed = parseManifest(root.bytes, root)
  if (parsed.kind === 'manifest') return [await toResolved(load, root.bytes, parsed, signal)]
  const resolved: ResolvedManifest[] = []
  for (const { arch, descriptor } of platformsOf(parsed)) {
    resolved.push(await loadDescribed(load, descriptor, arch, signal))
  }
  return resolved
}

/** The manifest that an index describes as being for `arch`. */
export async function loadDescribed(
  load: Loader,
  descriptor: Descriptor,
  arch: Arch,
  signal: AbortSignal | undefined,
): Promise<ResolvedManifest> {
  const { bytes } = await load.document(descriptor.digest, signal)
  checkDocument(bytes, descriptor)
  const resolved = await toResolved(load, bytes, parseImageManifest(bytes, descriptor), signal)
  if (resolved.arch !== undefined && resolved.arch !== arch) {
    throw new MusterError(
      'manifest-invalid',
      `The index calls ${descriptor.digest} the manifest for ${arch}, and it says of itself that it is for ${resolved.arch}.`,
      { details: { expected: arch, found: resolved.arch } },
    )
  }
  return { ...resolved, arch }
}

/** @throws manifest-mismatch */
export function checkDocument(bytes: Uint8Array, expected: { digest: string; size?: number }): void {
  const found = digestOf(bytes)
  if (found === expected.digest && (expected.size ?? bytes.length) === bytes.length) return
  throw new MusterError(
    'manifest-mismatch',
    `The manifest named ${expected.digest} (${expected.size ?? 'any number of'} bytes) came as ${found} (${bytes.length} bytes): it was changed on the way, or the registry is broken.`,
    { details: { expected: expected.digest, found } },
  )
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export function referenceOf(name: ImageName): string {
  return name.digest ?? name.tag ?? 'latest'
}

async function toResolved(
  load: Loader,
  bytes: Uint8Array<ArrayBuffer>,
  manifest: ImageManifest,
  signal: AbortSignal | undefined,
): Promise<ResolvedManifest> {
  const descriptor: Descriptor = {
    mediaType: manifest.mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  }
  if (manifest.artifactType !== undefined) descriptor.artifactType = manifest.artifactType
  const arch = await ownArchitecture(load, descriptor.digest, manifest, signal)
  const resolved = { descriptor, manifestBytes: bytes, manifest }
  return arch === undefined ? resolved : { ...resolved, arch }
}

/** What an image says of itself: in our annotation, or in the config that every container tool writes. */
async function ownArchitecture(
  load: Loader,
  digest: string,
  manifest: ImageManifest,
  signal: AbortSignal | undefined,
): Promise<Arch | undefined> {
  const annotated = architectureOf(manifest)
  const { config } = manifest
  if (!hasPlatform(config)) return annotated
  if (config.size > manifestLimits.bytes)
    throw new MusterError(
      'manifest-too-large',
      `The config of ${digest} has ${config.size} bytes, at most ${manifestLimits.bytes} are read.`,
      { details: { expected: manifestLimits.bytes, found: config.size } },
    )
  const chunks: Uint8Array[] = []
  for await (const chunk of load.blob(config, signal === undefined ? {} : { signal })) chunks.push(chunk)
  const configured = configuredArchitecture(Buffer.concat(chunks))
  if (annotated === undefined || configured === undefined) return annotated ?? configured
  if (annotated === configured) return annotated
  throw new MusterError(
    'manifest-invalid',
    `The manifest ${digest} is for ${annotated} by its annotation ${architectureAnnotation}, and for ${configured} by its config; one of the two has to be put right.`,
    { details: { annotated, configured } },
  )
}
