import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorCodeOf, MusterError } from '../../src/errors.ts'
import {
  contentOf,
  manifestLimits,
  mediaTypes,
  parseImageManifest,
  parseManifest,
  totalBytes,
} from '../../src/oci/manifest.ts'

const digest = (letter: string) => `sha256:${letter.repeat(64)}`
const layer = { mediaType: 'application/octet-stream', digest: digest('a'), size: 10 }
const config = { mediaType: mediaTypes.empty, digest: digest('b'), size: 2 }
const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [layer] }
const index = {
  schemaVersion: 2,
  mediaType: mediaTypes.index,
  manifests: [{ mediaType: mediaTypes.manifest, digest: digest('c'), size: 100 }],
}
const codeOf = (document: unknown, mediaType?: string) => {
  try {
    parseManifest(
      typeof document === 'string' ? document : JSON.stringify(document),
      mediaType ? { mediaType } : {},
    )
    return 'accepted'
  } catch (error) {
    return errorCodeOf(error)
  }
}

describe('a manifest', () => {
  test('is read with its config and layers, from text or from bytes', () => {
    const text = JSON.stringify(manifest)
    expect(parseManifest(text)).toEqual({
      kind: 'manifest',
      mediaType: mediaTypes.manifest,
      config,
      layers: [layer],
    })
    expect(parseManifest(new TextEncoder().encode(text))).toEqual(parseManifest(text))
  })

  test('of docker is read as well, and an index as an index', () => {
    const { mediaType: _, ...bare } = manifest
    expect(parseManifest(JSON.stringify(bare)).mediaType).toBe(mediaTypes.manifest)
    const options = { mediaType: mediaTypes.dockerManifest }
    expect(parseManifest(JSON.stringify(bare), options).mediaType).toBe(mediaTypes.dockerManifest)
    expect(parseManifest(JSON.stringify(index)).kind).toBe('index')
  })

  test('counts a layer that is there twice once', () => {
    const twice = parseImageManifest(JSON.stringify({ ...manifest, layers: [layer, layer] }))
    expect(contentOf(twice).map((one) => one.digest)).toEqual([digest('b'), digest('a')])
    expect(totalBytes(twice)).toBe(12)
  })

  test.each([
    ['both layers and manifests', { ...manifest, manifests: [] }],
    ['neither layers nor manifests', { schemaVersion: 2, config }],
    ['schema version 1', { ...manifest, schemaVersion: 1 }],
    [
      'another digest algorithm',
      { ...manifest, layers: [{ ...layer, digest: `sha512:${'a'.repeat(128)}` }] },
    ],
    ['an upper-case digest', { ...manifest, layers: [{ ...layer, digest: digest('A') }] }],
    ['a negative size', { ...manifest, layers: [{ ...layer, size: -1 }] }],
    ['half a byte', { ...manifest, layers: [{ ...layer, size: 1.5 }] }],
    ['a size as text', { ...manifest, layers: [{ ...layer, size: '10' }] }],
    [
      'sizes beyond 2^53',
      { ...manifest, layers: [layer, { ...layer, digest: digest('d'), size: 2 ** 53 - 1 }] },
    ],
    ['two sizes of one blob', { ...manifest, layers: [layer, { ...layer, size: 11 }] }],
    ['no config', { schemaVersion: 2, layers: [layer] }],
    ['layers that are no list', { ...manifest, layers: {} }],
    [
      'more layers than any system has',
      { ...manifest, layers: Array(manifestLimits.layers + 1).fill(layer) },
    ],
    ['the media type of an index', { ...manifest, mediaType: mediaTypes.index }],
    ['a media type nobody knows', { ...manifest, mediaType: 'application/json' }],
    ['a list', [manifest]],
    ['null', null],
    ['nesting without end', '['.repeat(100_000)],
    ['a broken end', '{"schemaVersion":2'],
    ['HTML of a captive portal', '<html></html>'],
  ])('with %s is refused', (_, document) => {
    expect(codeOf(document)).toBe('manifest-invalid')
  })

  test('announced as something else than it says it is, is refused', () => {
    expect(codeOf(manifest, mediaTypes.dockerManifest)).toBe('manifest-invalid')
    expect(codeOf(index, mediaTypes.manifest)).toBe('manifest-invalid')
    expect(codeOf(manifest, mediaTypes.manifest)).toBe('accepted')
  })

  test('of more than 4 MiB is refused before it is parsed', () => {
    expect(codeOf(`${JSON.stringify(manifest)}${' '.repeat(manifestLimits.bytes)}`)).toBe(
      'manifest-too-large',
    )
  })

  test('that is not UTF-8 is refused', () => {
    expect(() => parseManifest(new Uint8Array([0x7b, 0xff, 0x7d]))).toThrow(
      expect.objectContaining({ code: 'manifest-invalid' }),
    )
  })

  test('where an index stands instead of a manifest is refused', () => {
    expect(() => parseImageManifest(JSON.stringify(index))).toThrow(
      expect.objectContaining({ code: 'manifest-invalid' }),
    )
  })

  test('braces inside strings do not count as nesting', () => {
    expect(codeOf({ ...manifest, annotations: { note: '[{"\\'.repeat(50) } })).toBe('accepted')
  })

  test('of any bytes or any JSON gives nothing but our errors', () => {
    const only = (run: () => unknown) => {
      try {
        run()
      } catch (error) {
        expect(error).toBeInstanceOf(MusterError)
      }
    }
    fc.assert(fc.property(fc.uint8Array(), (bytes) => only(() => parseManifest(bytes))))
    const member = fc.jsonValue()
    fc.assert(
      fc.property(
        fc.record(
          { schemaVersion: member, layers: member, manifests: member, config: member },
          { requiredKeys: [] },
        ),
        (document) => only(() => parseManifest(JSON.stringify({ ...manifest, ...document }))),
      ),
    )
  })
})
