/** From an index of several platforms to the one manifest of an architecture (image-spec v1.1, image-index.md). Pure. */
import { MusterError } from '../errors.ts'
import { type Arch, arch as archSchema } from '../protocol/identifiers.ts'
import { decodeUtf8 } from '../wire/utf8.ts'
import { architectureAnnotation, osArtifactType } from './artifact.ts'
import { type Descriptor, type ImageIndex, type ImageManifest, kindOf, mediaTypes } from './manifest.ts'

/**
 * The manifest of one architecture. Where several fit, one of our own artifact type wins; otherwise the index is
 * ambiguous, because which of two systems boots must not depend on their order.
 * @throws registry-not-found when none fits, manifest-invalid when several do
 */
export function selectPlatform(index: ImageIndex, arch: Arch): Descriptor {
  const fitting = index.manifests.filter((one) => fits(one, arch))
  const ours = fitting.filter((one) => one.artifactType === osArtifactType)
  const candidates = ours.length > 0 ? ours : fitting
  if (candidates.length > 1) {
    throw new MusterError(
      'manifest-invalid',
      `The index has ${candidates.length} manifests for ${arch}: ${candidates.map((one) => one.digest).join(', ')}. Name one by its digest.`,
      { details: { arch } },
    )
  }
  const [found] = candidates
  if (found !== undefined) return found
  const offered = index.manifests.map((one) => one.platform?.architecture ?? 'unknown')
  throw new MusterError(
    'registry-not-found',
    `The index has no manifest for linux/${arch}; it has ${[...new Set(offered)].join(', ') || 'none at all'}.`,
    { details: { arch, offered } },
  )
}

/** Every architecture of ours that the index has. @throws manifest-invalid when one is ambiguous */
export function platformsOf(index: ImageIndex): { arch: Arch; descriptor: Descriptor }[] {
  return archSchema.options
    .filter((arch) => index.manifests.some((one) => fits(one, arch)))
    .map((arch) => ({ arch, descriptor: selectPlatform(index, arch) }))
}

/**
 * What a single manifest says of its architecture; undefined when it says nothing (plain `oras push`).
 * @throws manifest-invalid for an architecture that is not one of ours
 */
export function architectureOf(manifest: ImageManifest): Arch | undefined {
  const said = manifest.annotations?.[architectureAnnotation]
  if (said === undefined) return undefined
  const known = archSchema.options.find((arch) => arch === said)
  if (known !== undefined) return known
  throw new MusterError(
    'manifest-invalid',
    `The manifest's annotation ${architectureAnnotation} is '${said.slice(0, 32)}', expected one of ${archSchema.options.join(', ')}.`,
  )
}

/** Whether a manifest's config is the kind that names a platform; an artifact's is anything, or empty. */
export function hasPlatform({ mediaType }: Descriptor): boolean {
  return mediaType === mediaTypes.imageConfig || mediaType === mediaTypes.dockerConfig
}

/**
 * What an image config (image-spec v1.1, config.md §Properties) says of its platform; undefined when it says nothing.
 * @throws manifest-invalid for a platform that is none of ours, and for what is no config
 */
export function configuredArchitecture(bytes: Uint8Array): Arch | undefined {
  let config: unknown
  try {
    config = JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw new MusterError('manifest-invalid', "The image's config is not JSON in UTF-8.", { cause })
  }
  // Attacker-controlled: members are compared with text, and nothing else is done with them.
  const { architecture, os, variant } = Object(config) as Record<string, unknown>
  if (architecture === undefined || architecture === '') return undefined
  const known = archSchema.options.find((arch) => arch === architecture)
  const isLinux = os === undefined || os === '' || os === 'linux'
  if (known !== undefined && isLinux && isBaseline(known, variant)) return known
  const said = [os ?? 'linux', architecture, variant ?? '']
    .map((part) => (typeof part === 'string' ? part.slice(0, 32) : 'no text'))
    .filter((part) => part !== '')
    .join('/')
  throw new MusterError(
    'manifest-invalid',
    `The image's config is for ${said}, expected one of ${archSchema.options.map((arch) => `linux/${arch}`).join(', ')}.`,
    { details: { expected: archSchema.options, found: said } },
  )
}

/** Attestations stand in an index as platform unknown/unknown; an index inside an index is not followed. */
function fits(descriptor: Descriptor, arch: Arch): boolean {
  const { platform } = descriptor
  if (platform === undefined || kindOf(descriptor.mediaType) !== 'manifest') return false
  return platform.os === 'linux' && platform.architecture === arch && isBaseline(arch, platform.variant)
}

/** amd64/v3 and arm64/v9 would not run on every machine that says amd64 or arm64. */
function isBaseline(arch: Arch, variant: unknown): boolean {
  return variant === undefined || variant === '' || variant === (arch === 'arm64' ? 'v8' : 'v1')
}
