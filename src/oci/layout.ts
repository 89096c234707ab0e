/** OCI image layout folders (image-spec v1.1, image-layout.md): read as a source, written for images we make ourselves. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MusterError } from '../errors.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { readBlob } from './blob-reader.ts'
import { type Descriptor, type ImageIndex, manifestLimits, mediaTypes, parseManifest } from './manifest.ts'
import { platformsOf, selectPlatform } from './platform.ts'
import { isDigest } from './reference.ts'
import {
  checkDocument,
  digestOf,
  type ImageName,
  type ImageSource,
  type Loader,
  loadDescribed,
  resolveEvery,
  resolveImage,
} from './source.ts'

const tagAnnotation = 'org.opencontainers.image.ref.name'
const layoutVersion = '1.0.0'

/**
 * Opens a layout folder. A tag is the `org.opencontainers.image.ref.name` of an entry in index.json; without tag and digest
 * the folder has to hold one image. Several entries under one tag are its architectures.
 * @throws layout-invalid, manifest-invalid, manifest-too-large
 */
export async function openLayout(options: { path: string }): Promise<ImageSource> {
  const { path } = options
  const marker = await readSmall(path, 'oci-layout')
  const version = parseVersion(marker)
  if (version !== layoutVersion) {
    throw invalid(path, `its oci-layout file says version ${version ?? 'nothing'}, expected ${layoutVersion}`)
  }
  const index = parseManifest(await readSmall(path, 'index.json'), { mediaType: mediaTypes.index })
  if (index.kind !== 'index') throw invalid(path, 'its index.json is a manifest')

  const document: Loader['document'] = async (digest) => {
    const bytes = await readSmall(path, blobPath(digest))
    checkDocument(bytes, { digest })
    const mediaType = index.manifests.find((one) => one.digest === digest)?.mediaType
    return mediaType === undefined ? { bytes } : { bytes, mediaType }
  }
  const blob: ImageSource['blob'] = (descriptor, { offset = 0, signal } = {}) =>
    readFile(path, descriptor, offset, signal)
  const load = { document, blob }
  return {
    location: path,
    blob,
    async resolve(name, { arch, signal }) {
      const entries = entriesOf(path, index, name)
      const [only] = entries
      // Without a platform the entry says nothing of itself: an index, or a manifest as `oras push` makes it.
      if (entries.length === 1 && only !== undefined && only.platform === undefined) {
        return resolveImage(load, { digest: only.digest }, { arch, ...(signal && { signal }) })
      }
      return loadDescribed(load, selectPlatform({ ...index, manifests: entries }, arch), arch, signal)
    },
    async resolveAll(name, { signal } = {}) {
      const entries = entriesOf(path, index, name)
      const platforms = platformsOf({ ...index, manifests: entries })
      if (platforms.length === 0) {
        const [only] = entries
        return only === undefined ? [] : resolveEvery(load, { digest: only.digest }, signal)
      }
      return Promise.all(
        platforms.map(({ arch, descriptor }) => loadDescribed(load, descriptor, arch, signal)),
      )
    },
  }
}

/** In memory, or a file that is moved into the layout. */
export type LayoutBlob = Uint8Array | { digest: string; path: string }

export type LayoutImage = { arch: Arch; manifestBytes: Uint8Array; tag: string }

/**
 * Writes a layout folder: blobs first, index.json last, so that a folder that has an index.json is whole. The same input
 * makes the same bytes. Several architectures under one tag become one image index behind it: of two entries of one name skopeo
 * (1.18) copies the first and says nothing of the other.
 *
 * @returns what index.json has, one entry a tag
 */
export async function writeLayout(options: {
  path: string
  images: readonly LayoutImage[]
  blobs: readonly LayoutBlob[]
}): Promise<{ manifests: Descriptor[] }> {
  const { path, images, blobs } = options
  await mkdir(join(path, 'blobs/sha256'), { recursive: true })
  for (const blob of [...blobs, ...images.map((image) => image.manifestBytes)]) {
    if (blob instanceof Uint8Array) await replaceFile(join(path, blobPath(digestOf(blob))), blob)
    else await rename(blob.path, join(path, blobPath(blob.digest)))
  }
  const manifests: Descriptor[] = []
  for (const [tag, named] of Map.groupBy(images, (image) => image.tag)) {
    const annotations = { [tagAnnotation]: tag }
    const described = named.map(describeImage)
    const [only] = described
    if (only !== undefined && described.length === 1) {
      manifests.push({ ...only, annotations })
      continue
    }
    const bytes = Buffer.from(indexText(described))
    const digest = digestOf(bytes)
    await replaceFile(join(path, blobPath(digest)), bytes)
    manifests.push({ mediaType: mediaTypes.index, digest, size: bytes.length, annotations })
  }
  await replaceFile(join(path, 'oci-layout'), `{"imageLayoutVersion":"${layoutVersion}"}`)
  await replaceFile(join(path, 'index.json'), indexText(manifests))
  return { manifests }
}

export async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const bytes of createReadStream(path)) hash.update(bytes as Buffer)
  return `sha256:${hash.digest('hex')}`
}

function describeImage({ arch, manifestBytes }: LayoutImage): Descriptor {
  const { mediaType, artifactType } = parseManifest(manifestBytes)
  return {
    mediaType,
    digest: digestOf(manifestBytes),
    size: manifestBytes.length,
    ...(artifactType === undefined ? {} : { artifactType }),
    platform: { architecture: arch, os: 'linux' },
  }
}

/** image-spec v1.1, image-index.md. */
function indexText(manifests: readonly Descriptor[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests })
}

function entriesOf(path: string, index: ImageIndex, name: ImageName): Descriptor[] {
  const { tag, digest } = name
  if (digest !== undefined) {
    const listed = index.manifests.filter((one) => one.digest === digest)
    // A manifest inside an index of the folder may be named as well; its bytes are checked against the digest.
    return listed.length > 0 ? listed.slice(0, 1) : [{ mediaType: mediaTypes.manifest, digest, size: 0 }]
  }
  const entries =
    tag === undefined
      ? index.manifests
      : index.manifests.filter((one) => one.annotations?.[tagAnnotation] === tag)
  const tags = [...new Set(index.manifests.map((one) => one.annotations?.[tagAnnotation] ?? one.digest))]
  const offered = tags.slice(0, 16).join(', ') || 'nothing'
  if (entries.length === 0) {
    throw new MusterError(
      'registry-not-found',
      `The folder ${path} has nothing called '${tag ?? ''}'; it has ${offered}.`,
    )
  }
  const images = new Set(entries.map((one) => one.annotations?.[tagAnnotation]))
  if (images.size > 1) throw invalid(path, `it has several images; name one of ${offered}`)
  return entries
}

/** @throws layout-invalid; blobs are reached by digest alone, so no name leads out of the folder */
function blobPath(digest: string): string {
  if (!isDigest(digest)) throw new MusterError('reference-invalid', `'${digest}' is not a sha256 digest.`)
  return `blobs/sha256/${digest.slice('sha256:'.length)}`
}

function readFile(
  path: string,
  descriptor: Descriptor,
  offset: number,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  const file = join(path, blobPath(descriptor.digest))
  return readBlob({
    descriptor,
    offset,
    signal,
    location: path,
    // A disk that fails is not asked again.
    limits: { failuresMax: 0, progressBytes: 1, stallTimeoutMs: 60_000 },
    backoff: async () => {},
    async open(start) {
      const size = await sizeOf(path, file, 'blob-unavailable')
      const stream = createReadStream(file, { start, highWaterMark: 1024 * 1024 })
      const headers = new Map([
        start > 0
          ? ['content-range', `bytes ${start}-${size - 1}/${size}`]
          : ['content-length', String(size)],
      ])
      return {
        status: start > 0 ? 206 : 200,
        headers: { get: (name) => headers.get(name) ?? null },
        body: stream,
        url: file,
        abort: () => stream.destroy(),
      }
    },
  })
}

async function sizeOf(
  path: string,
  file: string,
  code: 'blob-unavailable' | 'layout-invalid',
): Promise<number> {
  try {
    const handle = await open(file, 'r')
    const stat = await handle.stat().finally(() => handle.close())
    if (stat.isFile()) return stat.size
  } catch (cause) {
    throw new MusterError(
      code,
      `The folder ${path} cannot be read as an OCI layout: ${file} is missing or not readable.`,
      { cause },
    )
  }
  throw new MusterError(code, `The folder ${path} cannot be read as an OCI layout: ${file} is not a file.`)
}

async function readSmall(path: string, name: string): Promise<Uint8Array<ArrayBuffer>> {
  const file = join(path, name)
  const size = await sizeOf(path, file, 'layout-invalid')
  if (size > manifestLimits.bytes) {
    throw new MusterError(
      'manifest-too-large',
      `${file} has ${size} bytes, at most ${manifestLimits.bytes} are read.`,
    )
  }
  const chunks: Buffer[] = []
  // `end` is the last byte that is read: a file that grows meanwhile stays under the limit.
  for await (const chunk of createReadStream(file, { end: manifestLimits.bytes - 1 }))
    chunks.push(chunk as Buffer)
  return new Uint8Array(Buffer.concat(chunks))
}

function parseVersion(marker: Uint8Array): string | undefined {
  try {
    const version = Object(JSON.parse(new TextDecoder().decode(marker)))['imageLayoutVersion']
    return typeof version === 'string' ? version.slice(0, 32) : undefined
  } catch {
    return undefined
  }
}

async function replaceFile(file: string, bytes: Uint8Array | string): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFile(`${file}.partial`, bytes)
  await rename(`${file}.partial`, file)
}

function invalid(path: string, reason: string): MusterError {
  return new MusterError(
    'layout-invalid',
    `The folder ${path} is not an OCI layout that can be used: ${reason}.`,
  )
}
