import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { errorCodeOf } from '../../src/errors.ts'
import { layerTypes } from '../../src/oci/artifact.ts'
import { openLayout, writeLayout } from '../../src/oci/layout.ts'
import { mediaTypes } from '../../src/oci/manifest.ts'
import { digestOf } from './registry-simulator.ts'

let path: string
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'muster-layout-'))
})
afterEach(() => rm(path, { recursive: true }))

const codeOf = (promise: Promise<unknown>) => promise.then(() => 'accepted', errorCodeOf)
const empty = Buffer.from('{}')
const image = (kernel: Buffer) =>
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: { mediaType: mediaTypes.empty, digest: digestOf(empty), size: 2 },
      layers: [{ mediaType: layerTypes.kernel, digest: digestOf(kernel), size: kernel.length }],
    }),
  )
const [kernelA, kernelB] = [Buffer.from('kernel for amd64'), Buffer.from('kernel for arm64')]
const write = (images: { arch: 'amd64' | 'arm64'; manifestBytes: Buffer; tag: string }[]) =>
  writeLayout({ path, images, blobs: [empty, kernelA, kernelB] })
const blobFile = (bytes: Buffer) => join(path, 'blobs/sha256', digestOf(bytes).slice(7))

describe('a layout folder', () => {
  test('that we wrote is read again, by tag, by digest, or as the only image in it', async () => {
    await write([
      { arch: 'amd64', manifestBytes: image(kernelA), tag: '1' },
      { arch: 'arm64', manifestBytes: image(kernelB), tag: '1' },
    ])
    const source = await openLayout({ path })
    for (const name of [{ tag: '1' }, {}]) {
      const { descriptor, manifest, arch } = await source.resolve(name, { arch: 'arm64' })
      expect([descriptor.digest, arch]).toEqual([digestOf(image(kernelB)), 'arm64'])
      const chunks = []
      for await (const chunk of source.blob(manifest.layers[0]!, { offset: 7 })) chunks.push(chunk)
      expect(Buffer.concat(chunks).toString()).toBe('for arm64')
    }
    expect((await source.resolveAll({ tag: '1' })).map((one) => one.arch)).toEqual(['amd64', 'arm64'])
    const digest = digestOf(image(kernelA))
    expect((await source.resolve({ digest }, { arch: 'amd64' })).descriptor.digest).toBe(digest)
  })

  test('has one image index behind the tag of several architectures, and a plain manifest behind that of one', async () => {
    const { manifests } = await write([
      { arch: 'amd64', manifestBytes: image(kernelA), tag: '1' },
      { arch: 'arm64', manifestBytes: image(kernelB), tag: '1' },
      { arch: 'arm64', manifestBytes: image(kernelB), tag: '2' },
    ])
    const file = JSON.parse(await readFile(join(path, 'index.json'), 'utf8')) as { manifests: unknown }
    expect(file.manifests).toEqual(manifests)
    expect(
      manifests.map(({ mediaType, annotations }) => [mediaType, Object.values(annotations ?? {})]),
    ).toEqual([
      [mediaTypes.index, ['1']],
      [mediaTypes.manifest, ['2']],
    ])
    const index = await readFile(join(path, 'blobs/sha256', manifests[0]!.digest.slice(7)))
    expect([digestOf(index), index.length]).toEqual([manifests[0]!.digest, manifests[0]!.size])
    const described = (JSON.parse(index.toString()) as { manifests: object[] }).manifests
    expect(described).toEqual(
      [kernelA, kernelB].map((kernel, at) => ({
        mediaType: mediaTypes.manifest,
        digest: digestOf(image(kernel)),
        size: image(kernel).length,
        platform: { architecture: ['amd64', 'arm64'][at], os: 'linux' },
      })),
    )
    const source = await openLayout({ path })
    expect((await source.resolveAll({ tag: '2' })).map((one) => one.arch)).toEqual(['arm64'])
  })

  test('with an index behind the tag, as skopeo and buildx write it, is read', async () => {
    await write([])
    const manifestBytes = image(kernelA)
    const platform = { architecture: 'amd64', os: 'linux' }
    const inner = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.index,
        manifests: [
          {
            mediaType: mediaTypes.manifest,
            digest: digestOf(manifestBytes),
            size: manifestBytes.length,
            platform,
          },
        ],
      }),
    )
    await writeFile(blobFile(inner), inner)
    await writeFile(blobFile(manifestBytes), manifestBytes)
    const entry = { mediaType: mediaTypes.index, digest: digestOf(inner), size: inner.length }
    await writeFile(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }))
    const source = await openLayout({ path })
    expect((await source.resolve({}, { arch: 'amd64' })).descriptor.digest).toBe(digestOf(manifestBytes))
    expect((await source.resolveAll({})).length).toBe(1)
    expect(await codeOf(source.resolve({}, { arch: 'arm64' }))).toBe('registry-not-found')
    const inside = { digest: digestOf(manifestBytes) }
    expect((await source.resolve(inside, { arch: 'amd64' })).descriptor.digest).toBe(inside.digest)
  })

  test('of several images wants a name', async () => {
    await write([
      { arch: 'amd64', manifestBytes: image(kernelA), tag: '1' },
      { arch: 'amd64', manifestBytes: image(kernelB), tag: '2' },
    ])
    const source = await openLayout({ path })
    expect(await codeOf(source.resolve({}, { arch: 'amd64' }))).toBe('layout-invalid')
    expect(await codeOf(source.resolve({ tag: '3' }, { arch: 'amd64' }))).toBe('registry-not-found')
    expect(await codeOf(source.resolve({ tag: '2' }, { arch: 'arm64' }))).toBe('registry-not-found')
  })

  test('with a changed manifest, a short, long, changed or missing blob is refused', async () => {
    await write([{ arch: 'amd64', manifestBytes: image(kernelA), tag: '1' }])
    const source = await openLayout({ path })
    const { manifest } = await source.resolve({ tag: '1' }, { arch: 'amd64' })
    const read = async () => {
      for await (const _ of source.blob(manifest.layers[0]!));
    }
    await writeFile(blobFile(kernelA), kernelB)
    expect(await codeOf(read())).toBe('blob-digest')
    await writeFile(blobFile(kernelA), 'kernel for amd64 and more')
    expect(await codeOf(read())).toBe('blob-too-long')
    await truncate(blobFile(kernelA), 3)
    expect(await codeOf(read())).toBe('blob-truncated')
    await rm(blobFile(kernelA))
    expect(await codeOf(read())).toBe('blob-unavailable')
    await writeFile(blobFile(image(kernelA)), image(kernelB))
    expect(await codeOf(source.resolve({ tag: '1' }, { arch: 'amd64' }))).toBe('manifest-mismatch')
    expect(await codeOf(source.resolve({ digest: '../../etc' }, { arch: 'amd64' }))).toBe('reference-invalid')
  })

  test.each<[string, string, () => Promise<unknown>]>([
    ['is empty', 'layout-invalid', async () => rm(join(path, 'oci-layout'))],
    [
      'is of another version',
      'layout-invalid',
      () => writeFile(join(path, 'oci-layout'), '{"imageLayoutVersion":"9"}'),
    ],
    ['has nonsense as oci-layout', 'layout-invalid', () => writeFile(join(path, 'oci-layout'), 'null')],
    ['has no index.json', 'layout-invalid', () => rm(join(path, 'index.json'))],
    [
      'has a folder as index.json',
      'layout-invalid',
      async () => {
        await rm(join(path, 'index.json'))
        await mkdir(join(path, 'index.json'))
      },
    ],
    [
      'has a manifest as index.json',
      'manifest-invalid',
      () => writeFile(join(path, 'index.json'), image(kernelA)),
    ],
    [
      'has an index.json without end',
      'manifest-too-large',
      () => truncate(join(path, 'index.json'), 5 * 1024 * 1024),
    ],
  ])('that %s is refused', async (_, code, spoil) => {
    await write([{ arch: 'amd64', manifestBytes: image(kernelA), tag: '1' }])
    await spoil()
    expect(await codeOf(openLayout({ path }))).toBe(code)
  })
})
