import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, onTestFinished, test } from 'vitest'
import { flatten } from '../../src/layers/flatten.ts'
import { tarOfTree } from '../../src/layers/tree-tar.ts'
import {
  digestOf,
  directory,
  file,
  layerOf,
  link,
  symlink,
  type TestEntry,
  tarOf,
  testLimits,
  whiteout,
} from './layers.ts'

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'muster-layers-'))
  onTestFinished(() => rm(path, { recursive: true }))
  return path
}

async function flatTar(
  layers: Parameters<typeof flatten>[0]['layers'],
  limits = testLimits,
): Promise<Buffer> {
  await using flattened = await flatten({ layers, folder: await folder(), limits })
  const parts: Uint8Array[] = []
  for await (const part of tarOfTree(flattened)) parts.push(part)
  return Buffer.concat(parts)
}

const one: TestEntry[] = [
  directory('./', { mode: 0o711 }),
  file('b', 'of b'),
  directory('a/'),
  symlink('a/s', '../b'),
  file('a/.x', 'x', { xattrs: { 'user.n': new Uint8Array([0xff]) } }),
  link('z', 'a/.x'),
]
const flat: TestEntry[] = [
  directory('./', { mode: 0o711 }),
  directory('a/'),
  file('a/.x', 'x', { xattrs: { 'user.n': new Uint8Array([0xff]) } }),
  symlink('a/s', '../b'),
  file('b', 'of b'),
  link('z', 'a/.x'),
]

describe('the tar of a tree', () => {
  test('has its names in the order of their octets, and is the same from one layer as from three', async () => {
    const single = await flatTar([layerOf(tarOf(one))])
    expect(single).toEqual(tarOf(flat))
    const three = [
      [directory('./'), directory('gone'), file('gone/x'), file('b', 'older')],
      [directory('./', { mode: 0o711 }), whiteout('.wh.gone'), file('b', 'of b'), directory('a/')],
      one.slice(3),
    ]
    expect(await flatTar(three.map((entries) => layerOf(tarOf(entries))))).toEqual(single)
  })

  test('flattened once more it is itself', async () => {
    const tar = await flatTar([layerOf(tarOf(one))])
    expect(await flatTar([layerOf(tar)])).toEqual(tar)
  })
})

describe('a layer', () => {
  const tar = tarOf(one)
  const half = Math.floor(tar.length / 2)
  test.each<[string, Buffer]>([
    ['as it is', tar],
    ['by gzip', gzipSync(tar)],
    [
      'by gzip in two members',
      Buffer.concat([gzipSync(tar.subarray(0, half)), gzipSync(tar.subarray(half))]),
    ],
    ['by zstd', zstdCompressSync(tar)],
    [
      'by zstd in frames, with one to be skipped first',
      Buffer.concat([
        skippable,
        zstdCompressSync(tar.subarray(0, half)),
        zstdCompressSync(tar.subarray(half)),
      ]),
    ],
  ])('is read %s', async (_, packed) => {
    expect(await flatTar([layerOf(tar, packed)])).toEqual(tarOf(flat))
  })

  test.each<[string, ReturnType<typeof layerOf>]>([
    ['cut gzip', layerOf(tar, gzipSync(tar).subarray(0, 60))],
    ['cut zstd', layerOf(tar, zstdCompressSync(tar).subarray(0, 60))],
    ['damaged gzip', layerOf(tar, damaged(gzipSync(tar)))],
    ['something compressed by xz', layerOf(tar, Buffer.from('fd377a585a000004'.repeat(200), 'hex'))],
    ['a tar with another digest than the config says', layerOf(tar, tar, digestOf(Buffer.from('other')))],
    ['a whiteout of nothing', layerOf(tarOf([whiteout('.wh.')]))],
    ['a name that climbs', layerOf(tarOf([file('a/../../etc/passwd')]))],
    ['a hard link that climbs', layerOf(tarOf([link('a', '../../etc/passwd')]))],
    ['a hard link to nothing', layerOf(tarOf([link('a', 'b')]))],
    ['a hard link to a folder', layerOf(tarOf([directory('b'), link('a', 'b')]))],
    ['symlinks in a circle', layerOf(tarOf([symlink('a', 'b'), symlink('b', 'a'), file('a/x')]))],
    ['a file below a file', layerOf(tarOf([file('a'), file('a/x')]))],
    ['a root that is a file', layerOf(tarOf([file('./')]))],
    ['a part of 256 octets', layerOf(tarOf([file('n'.repeat(256))]))],
  ])('is refused with its digest named: %s', async (_, layer) => {
    await expect(flatTar([layer])).rejects.toMatchObject({
      code: 'layer-invalid',
      message: expect.stringContaining(layer.name),
    })
  })

  test('a bomb ends at its limit: octets of tar, octets of files, names', async () => {
    const zeros = Buffer.alloc(8_000_000)
    const tars = tarOf([file('zeros', zeros.toString('latin1'))])
    const refusal = (limits: object) =>
      flatTar([layerOf(tars, gzipSync(tars))], { ...testLimits, ...limits }).catch((error: Error) => error)
    expect(await refusal({ tarBytesMax: 1_000_000 })).toMatchObject({
      code: 'layer-invalid',
      message: expect.stringMatching(/larger/),
    })
    expect(await refusal({ bytesMax: 1_000_000 })).toMatchObject({
      code: 'layer-invalid',
      message: expect.stringMatching(/1000000 bytes/),
    })
    const many = tarOf(Array.from({ length: 200 }, (_, index) => file(`f${index}`)))
    await expect(flatTar([layerOf(many)], { ...testLimits, entriesMax: 100 })).rejects.toMatchObject({
      code: 'layer-invalid',
    })
  })

  test('what its source throws is thrown as it is', async () => {
    const broken = async function* () {
      yield gzipSync(tar).subarray(0, 100)
      throw new TypeError('the cable')
    }
    const layer = { ...layerOf(tar), bytes: broken() }
    await expect(flatTar([layer])).rejects.toThrow(TypeError)
  })
})

const skippable = Buffer.concat([Buffer.from('502a4d1804000000', 'hex'), Buffer.from('note')])

function damaged(bytes: Buffer): Buffer {
  const bad = Buffer.from(bytes)
  bad.fill(0x55, 40, 60)
  return bad
}
