/**
 * Image manifests and indexes, image-spec v1.1 (manifest.md, image-index.md, descriptor.md) and docker's schema 2.
 *
 * The bytes are attacker-controlled until their digest was compared, and badly made even afterwards: what is strange is
 * refused. Pure: server and agent read manifests with this same code.
 */
import * as z from 'zod/mini'
import { MusterError } from '../errors.ts'
import { decodeUtf8 } from '../wire/utf8.ts'

export const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  empty: 'application/vnd.oci.empty.v1+json',
  imageConfig: 'application/vnd.oci.image.config.v1+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
} as const

export const manifestLimits = {
  /** distribution-spec v1.1 §push: registries should take manifests of at least 4 MiB, so nobody makes larger ones. */
  bytes: 4 * 1024 * 1024,
  depth: 16,
  layers: 256,
  manifests: 256,
} as const

const text = (chars: number) => z.string().check(z.maxLength(chars))
const mediaType = z
  .string()
  .check(z.maxLength(255), z.regex(/^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$/))
const annotations = z.optional(z.record(z.string(), text(65_536)))

const descriptorSchema = z.object({
  mediaType,
  digest: z.string().check(z.regex(/^sha256:[0-9a-f]{64}$/)),
  size: z.number().check(z.int(), z.gte(0)),
  artifactType: z.optional(mediaType),
  annotations,
  platform: z.optional(z.object({ architecture: text(64), os: text(64), variant: z.optional(text(64)) })),
})
/** What something is, its sha256 and its size in bytes. `urls` and `data` are dropped: content comes from one place. */
export type Descriptor = z.infer<typeof descriptorSchema>

const common = {
  schemaVersion: z.literal(2),
  mediaType: z.optional(mediaType),
  artifactType: z.optional(mediaType),
  annotations,
}
const manifestSchema = z.object({
  ...common,
  config: descriptorSchema,
  layers: z.array(descriptorSchema).check(z.maxLength(manifestLimits.layers)),
})
const indexSchema = z.object({
  ...common,
  manifests: z.array(descriptorSchema).check(z.maxLength(manifestLimits.manifests)),
})

export type ImageManifest = Omit<z.infer<typeof manifestSchema>, 'schemaVersion' | 'mediaType'> & {
  kind: 'manifest'
  mediaType: string
}
export type ImageIndex = Omit<z.infer<typeof indexSchema>, 'schemaVersion' | 'mediaType'> & {
  kind: 'index'
  mediaType: string
}

/**
 * Reads a manifest or an index. `mediaType` is what the one who named it said (a descriptor, a Content-Type, a signed
 * target): it has to agree with the document, so that the same bytes cannot be read as two things.
 * @throws manifest-invalid, manifest-too-large
 */
export function parseManifest(
  document: Uint8Array | string,
  options: { mediaType?: string } = {},
): ImageManifest | ImageIndex {
  const json = parseJson(document)
  const members = typeof json === 'object' && json !== null && !Array.isArray(json) ? json : {}
  const [hasLayers, hasManifests] = [Object.hasOwn(members, 'layers'), Object.hasOwn(members, 'manifests')]
  // A reader that looks at one member and a verifier that looks at the other would disagree about what was signed.
  if (hasLayers && hasManifests)
    throw invalid('it has both layers and manifests, so it could be read as two things')
  if (!hasLayers && !hasManifests)
    throw invalid('it has neither layers (a manifest) nor manifests (an index)')

  const kind = hasLayers ? 'manifest' : 'index'
  const parsed = hasLayers ? manifestSchema.safeParse(json) : indexSchema.safeParse(json)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw invalid(
      `${issue?.path.map(String).join('.') || 'the document'}: ${issue?.message ?? 'is not as expected'}`,
    )
  }
  const { schemaVersion: _, mediaType: own, ...rest } = parsed.data
  const found = own ?? options.mediaType ?? (kind === 'manifest' ? mediaTypes.manifest : mediaTypes.index)
  if (kindOf(found) !== kind)
    throw invalid(`it is of media type ${found} and has ${hasLayers ? 'layers' : 'manifests'}`)
  if (options.mediaType !== undefined && options.mediaType !== found) {
    throw invalid(`it says it is ${found}, and was announced as ${options.mediaType}`)
  }
  const result = { ...rest, kind, mediaType: found } as ImageManifest | ImageIndex
  checkSizes(result)
  return result
}

/** @throws manifest-invalid for an index too: a signed target is always one manifest. */
export function parseImageManifest(
  document: Uint8Array | string,
  options: { mediaType?: string } = {},
): ImageManifest {
  const parsed = parseManifest(document, options)
  if (parsed.kind === 'index') {
    throw invalid(
      'it is an index of several manifests where one manifest is needed; name the one of an architecture',
    )
  }
  return parsed
}

/** Everything a manifest needs, config first, each digest once. */
export function contentOf(manifest: ImageManifest): Descriptor[] {
  const all = [manifest.config, ...manifest.layers]
  return all.filter((one, index) => all.findIndex((other) => other.digest === one.digest) === index)
}

/** Bytes of everything a manifest needs: to be compared with memory or disk before the first byte is fetched. */
export function totalBytes(manifest: ImageManifest): number {
  return contentOf(manifest).reduce((sum, descriptor) => sum + descriptor.size, 0)
}

export function kindOf(mediaType: string): 'manifest' | 'index' | undefined {
  if (mediaType === mediaTypes.manifest || mediaType === mediaTypes.dockerManifest) return 'manifest'
  if (mediaType === mediaTypes.index || mediaType === mediaTypes.dockerIndex) return 'index'
  return undefined
}

function checkSizes(document: ImageManifest | ImageIndex): void {
  const descriptors =
    document.kind === 'manifest' ? [document.config, ...document.layers] : document.manifests
  const sizes = new Map<string, number>()
  let sum = 0
  for (const { digest, size } of descriptors) {
    const other = sizes.get(digest)
    if (other !== undefined && other !== size)
      throw invalid(`${digest} is given two sizes, ${other} and ${size} bytes`)
    sizes.set(digest, size)
    sum += size
  }
  if (!Number.isSafeInteger(sum)) throw invalid('its sizes add up to more than 2^53 bytes')
}

function parseJson(document: Uint8Array | string): unknown {
  if (document.length > manifestLimits.bytes) {
    throw new MusterError(
      'manifest-too-large',
      `The manifest has ${document.length} bytes, at most ${manifestLimits.bytes} are accepted.`,
      { details: { expected: manifestLimits.bytes, found: document.length } },
    )
  }
  try {
    const json = typeof document === 'string' ? document : decodeUtf8(document)
    checkDepth(json)
    return JSON.parse(json)
  } catch (cause) {
    if (cause instanceof MusterError && cause.code === 'manifest-invalid') throw cause
    throw invalid('it is not JSON in UTF-8', cause)
  }
}

/** Before JSON.parse: QuickJS parses recursively, and its stack is the agent's. */
function checkDepth(json: string): void {
  let depth = 0
  let inString = false
  for (let index = 0; index < json.length; index++) {
    const character = json[index]
    if (inString) {
      if (character === '\\') index++
      else if (character === '"') inString = false
    } else if (character === '"') inString = true
    else if (character === '{' || character === '[') {
      depth++
      if (depth > manifestLimits.depth)
        throw invalid(`it is nested deeper than ${manifestLimits.depth} levels`)
    } else if (character === '}' || character === ']') depth--
  }
}

function invalid(reason: string, cause?: unknown): MusterError {
  return new MusterError('manifest-invalid', `The manifest cannot be used: ${reason}.`, { cause })
}
