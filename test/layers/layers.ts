/** Layers and images for the tests of src/layers, written entry by entry. */
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { toByteString } from '../../src/layers/byte-string.ts'
import type { FlattenLimits, Layer } from '../../src/layers/flatten.ts'
import type { TarEntry } from '../../src/layers/tar-reader.ts'
import { encodeTarEntry, paddingOf, tarEnd } from '../../src/layers/tar-writer.ts'

type Part = Partial<Omit<TarEntry, 'xattrs'>> & { xattrs?: Record<string, Uint8Array>; data?: string }

export const testLimits: FlattenLimits = { entriesMax: 10_000, bytesMax: 10_000_000, tarBytesMax: 20_000_000 }

export function entryOf(name: string, part: Part): TarEntry {
  const defaults = { linkName: '', mode: 0o644, uid: 0, gid: 0, mtime: 1_000_000_000, major: 0, minor: 0 }
  return {
    ...{ kind: 'file' as const, ...defaults, ...part },
    size: part.size ?? part.data?.length ?? 0,
    name: toByteString(Buffer.from(name)),
    xattrs: new Map(Object.entries(part.xattrs ?? {})),
  }
}

export const file = (name: string, data = name, part: Part = {}) => ({ ...part, name, data })
export const directory = (name: string, part: Part = {}) => ({
  kind: 'directory' as const,
  mode: 0o755,
  ...part,
  name,
})
export const symlink = (name: string, linkName: string) => ({
  kind: 'symlink' as const,
  mode: 0o777,
  name,
  linkName,
})
export const link = (name: string, linkName: string) => ({ kind: 'link' as const, name, linkName })
export const whiteout = (name: string) => ({ name, data: '' })

export type TestEntry = Part & { name: string }

export function tarOf(entries: readonly TestEntry[]): Buffer {
  const parts = entries.flatMap(({ name, ...part }) => {
    const data = Buffer.from(part.data ?? '')
    return [encodeTarEntry(entryOf(name, part)), data, new Uint8Array(paddingOf(data.length))]
  })
  return Buffer.concat([...parts, tarEnd])
}

export const digestOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

export function layerOf(tar: Uint8Array, packed: Uint8Array = tar, diffId = digestOf(tar)): Layer {
  return {
    name: digestOf(packed),
    diffId,
    bytes: (async function* () {
      // Odd pieces, so that no header comes whole.
      for (let at = 0; at < packed.length; at += 1021) yield packed.subarray(at, at + 1021)
    })(),
  }
}

/** An image layout (image-spec, image-layout.md) of one image with the tag `image`. */
export async function writeLayout(folder: string, tars: readonly Buffer[]): Promise<void> {
  await mkdir(join(folder, 'blobs/sha256'), { recursive: true })
  const blob = async (mediaType: string, bytes: Buffer) => {
    const digest = digestOf(bytes)
    await writeFile(join(folder, 'blobs/sha256', digest.slice(7)), bytes)
    return { mediaType, digest, size: bytes.length }
  }
  const json = (value: unknown) => Buffer.from(JSON.stringify(value))
  const type = (what: string) => `application/vnd.oci.image.${what}+json`
  const layers = []
  for (const tar of tars)
    layers.push(await blob('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(tar)))
  const config = await blob(
    type('config.v1'),
    json({
      ...{ architecture: 'amd64', os: 'linux', config: {} },
      rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
      history: tars.map(() => ({ created_by: 'test' })),
    }),
  )
  const manifest = await blob(
    type('manifest.v1'),
    json({ schemaVersion: 2, mediaType: type('manifest.v1'), config, layers }),
  )
  const annotations = { 'org.opencontainers.image.ref.name': 'image' }
  await writeFile(
    join(folder, 'index.json'),
    json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  )
  await writeFile(join(folder, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }))
}
