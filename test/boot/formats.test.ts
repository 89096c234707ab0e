/** Binary formats of boot loaders: round trips, nothing but our errors, and U-Boot's own tools as judges. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { inMemory } from '../../src/boot/files.ts'
import { composeFit } from '../../src/boot/fit-file.ts'
import {
  encodeDeviceTree,
  type ParsedNode,
  parseDeviceTree,
  type TreeNode,
} from '../../src/boot/formats/device-tree.ts'
import { encodeFit } from '../../src/boot/formats/fit.ts'
import {
  encodeLegacyImage,
  encodeScriptImage,
  parseLegacyImage,
  parseScriptImage,
} from '../../src/boot/formats/legacy-image.ts'
import { MusterError } from '../../src/errors.ts'
import { skipReason, tool } from '../support/tools.ts'

const folder = mkdtempSync(join(tmpdir(), 'muster-formats-'))
const [mkimage, dumpimage] = [tool('mkimage'), tool('dumpimage')]

function dump(bytes: Uint8Array, name: string): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return execFileSync(dumpimage as string, ['-l', path], { encoding: 'utf8' })
}

/** Random bytes, and good ones with a few changed: whatever comes out, it is a value or an error of ours. */
function neverAnythingElse(good: Uint8Array, parse: (bytes: Uint8Array) => unknown): void {
  const mutated = fc
    .array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 })
    .map((changes) => {
      const bytes = Uint8Array.from(good)
      for (const [at, value] of changes) bytes[at] = value
      return bytes
    })
  const cut = fc.nat(good.length).map((length) => good.subarray(0, length))
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated, cut), (bytes) => {
      try {
        parse(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MusterError)
        expect((error as MusterError).code).toBe('packet-invalid')
      }
    }),
    { numRuns: 2000 },
  )
}

describe('U-Boot’s legacy image', () => {
  const u32 = fc.nat(0xffffffff)
  const u8 = fc.nat(255)
  const images = fc.record({
    name: fc.string({ unit: 'grapheme-ascii', maxLength: 32 }),
    type: u8,
    architecture: u8,
    operatingSystem: u8,
    compression: u8,
    loadAddress: u32,
    entryPoint: u32,
    time: u32,
    data: fc.uint8Array({ maxLength: 300 }),
  })
  test('comes back as it was made', () => {
    fc.assert(
      fc.property(images, (image) => {
        const parsed = parseLegacyImage(encodeLegacyImage(image))
        expect({ ...parsed, data: [...parsed.data] }).toEqual({ ...image, data: [...image.data] })
      }),
    )
  })
  test('a script comes back as its one part', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (script) => {
        expect(parseScriptImage(encodeScriptImage({ name: 'x', script })).map((part) => [...part])).toEqual([
          [...script],
        ])
      }),
    )
  })
  test('one flipped bit is seen', () => {
    const good = encodeScriptImage({ name: 'boot', script: Buffer.from('echo hello\n') })
    for (let bit = 0; bit < 8 * good.length; bit++) {
      const bytes = Uint8Array.from(good)
      bytes[bit >> 3]! ^= 1 << (bit & 7)
      expect(() => parseScriptImage(bytes), String(bit)).toThrowError(
        expect.objectContaining({ code: 'packet-invalid' }),
      )
    }
  })
  test('any bytes give an image or an error of ours', () => {
    neverAnythingElse(
      encodeScriptImage({ name: 'boot', script: Buffer.from('echo hello\n') }),
      parseScriptImage,
    )
  })

  test.skipIf(mkimage === undefined)(`is byte for byte what mkimage makes${note('mkimage')}`, () => {
    const script = 'echo hello\nbooti $kernel_addr_r\n'.repeat(20)
    writeFileSync(join(folder, 'boot.cmd'), script)
    const made = join(folder, 'boot.scr.uimg')
    const args = ['-A', 'arm', '-O', 'linux', '-T', 'script', '-C', 'none', '-n', 'muster: ask']
    execFileSync(mkimage as string, [...args, '-d', join(folder, 'boot.cmd'), made], {
      env: { ...process.env, SOURCE_DATE_EPOCH: '0' },
    })
    const ours = encodeScriptImage({ name: 'muster: ask', script: Buffer.from(script) })
    expect(Buffer.compare(ours, readFileSync(made))).toBe(0)
  })
  test.skipIf(dumpimage === undefined)(`is a script to dumpimage${note('dumpimage')}`, () => {
    const text = dump(
      encodeScriptImage({ name: 'muster: ask', script: Buffer.from('echo hello\n') }),
      'a.uimg',
    )
    expect(text).toMatch(/Image Name: +muster: ask/)
    expect(text).toMatch(/Image Type: +ARM Linux Script \(uncompressed\)/)
  })
})

describe('a flattened device tree', () => {
  const name = fc.stringMatching(/^[a-z#][a-z0-9,._+-]{0,20}$/)
  const value = fc.uint8Array({ maxLength: 40 })
  const { tree } = fc.letrec<{ tree: TreeNode }>((tie) => ({
    tree: fc.record({
      properties: fc.dictionary(name, value, { maxKeys: 4, noNullPrototype: true }),
      children: fc.oneof(
        { depthSize: 'small' },
        fc.constant({}),
        fc.dictionary(name, tie('tree'), { maxKeys: 3, noNullPrototype: true }),
      ),
    }) as fc.Arbitrary<TreeNode>,
  }))
  const plain = (node: ParsedNode): object => ({
    properties: Object.fromEntries([...node.properties].map(([key, bytes]) => [key, [...bytes]])),
    children: Object.fromEntries([...node.children].map(([key, child]) => [key, plain(child)])),
  })
  const wanted = (node: TreeNode): object => ({
    properties: Object.fromEntries(
      Object.entries(node.properties).map(([key, bytes]) => [key, [...(bytes as Uint8Array)]]),
    ),
    children: Object.fromEntries(Object.entries(node.children).map(([key, child]) => [key, wanted(child)])),
  })
  test('comes back as it was made', () => {
    fc.assert(
      fc.property(tree, (node) => {
        const parts = encodeDeviceTree(node) as Uint8Array[]
        expect(plain(parseDeviceTree(Buffer.concat(parts)))).toEqual(wanted(node))
      }),
    )
  })
  test('any bytes give a tree or an error of ours, also nodes in nodes without end', () => {
    const node: TreeNode = {
      properties: { compatible: 'x', size: 1 },
      children: { a: { properties: {}, children: {} } },
    }
    neverAnythingElse(Buffer.concat(encodeDeviceTree(node) as Uint8Array[]), parseDeviceTree)
    let deep: TreeNode = { properties: {}, children: {} }
    for (let depth = 0; depth < 100; depth++) deep = { properties: {}, children: { a: deep } }
    expect(() => parseDeviceTree(Buffer.concat(encodeDeviceTree(deep) as Uint8Array[]))).toThrowError(
      /nested deeper/,
    )
  })
})

describe('a FIT of the agent', () => {
  const kernel = Buffer.alloc(10_001, 'kernel')
  const initramfs = Buffer.alloc(3_000_002, 'initramfs')
  const open = async () =>
    composeFit()(
      'arm64',
      async () => inMemory(kernel),
      async () => inMemory(initramfs),
    )

  test('holds both with the hashes that U-Boot checks', async () => {
    const file = await open()
    const bytes = await buffer(file.stream())
    expect(bytes.length).toBe(file.size)
    const root = parseDeviceTree(bytes)
    for (const [image, content] of [
      ['kernel', kernel],
      ['initramfs', initramfs],
    ] as const) {
      const node = root.children.get('images')?.children.get(image)
      expect(Buffer.from(node?.properties.get('data') ?? []).equals(content)).toBe(true)
      const hash = node?.children.get('hash-1')?.properties.get('value')
      expect(Buffer.from(hash ?? []).toString('hex')).toBe(createHash('sha256').update(content).digest('hex'))
    }
  })
  test('gives both files back when nobody reads it, and when it was read', async () => {
    const closed: string[] = []
    const counted = (name: string, bytes: Uint8Array) => async () => ({
      ...inMemory(bytes),
      close: async () => void closed.push(name),
    })
    const openCounted = () =>
      composeFit()('arm64', counted('kernel', kernel), counted('initramfs', initramfs))
    const stream = (await openCounted()).stream()
    stream.destroy()
    await once(stream, 'close')
    expect(closed).toEqual(['kernel', 'initramfs'])
    const piece = await buffer((await openCounted()).stream({ start: 3, end: 9 }))
    expect(piece).toEqual(Buffer.from(await (await open()).read(3, 7)))
    expect(closed).toEqual(['kernel', 'initramfs', 'kernel', 'initramfs'])
  })
  test('has nothing behind the kernel that U-Boot would overwrite when it moves it up to the next 2 MiB', async () => {
    const bytes = await buffer((await open()).stream())
    expect(bytes.indexOf(initramfs)).toBeGreaterThan(0)
    expect(bytes.indexOf(kernel)).toBeGreaterThan(bytes.indexOf(initramfs))
  })
  test('is the same in pieces of any size, as TFTP and Range ask for it', async () => {
    const file = await open()
    const whole = await buffer(file.stream())
    await fc.assert(
      fc.asyncProperty(fc.nat(file.size - 1), fc.integer({ min: 1, max: 70_000 }), async (offset, length) => {
        const end = Math.min(offset + length, file.size)
        const ranged = await buffer(file.stream({ start: offset, end: end - 1 }))
        expect(ranged.equals(whole.subarray(offset, end))).toBe(true)
        const read = await file.read(offset, length)
        expect(read.length).toBeGreaterThan(0)
        expect(Buffer.from(read).equals(whole.subarray(offset, offset + read.length))).toBe(true)
      }),
      { numRuns: 50 },
    )
    expect(await file.read(file.size, 10)).toHaveLength(0)
  })
  test.skipIf(dumpimage === undefined)(
    `is one to dumpimage, which takes its parts out again${note('dumpimage')}`,
    async () => {
      const bytes = await buffer((await open()).stream())
      const text = dump(bytes, 'agent.itb')
      expect(text).toContain('Muster boot agent for arm64')
      expect(text).toMatch(/Type: +Kernel Image \(no loading done\)/)
      expect(text).toMatch(/Type: +RAMDisk Image/)
      expect(text).toMatch(/Architecture: +AArch64/)
      expect(text).toMatch(/Default Configuration: +'muster'/)
      expect(text).toContain(createHash('sha256').update(kernel).digest('hex'))
      const out = join(folder, 'kernel.out')
      execFileSync(dumpimage as string, ['-T', 'flat_dt', '-p', '1', '-o', out, join(folder, 'agent.itb')])
      expect(readFileSync(out).equals(kernel)).toBe(true)
    },
  )
  test('an image without an initramfs names none', () => {
    const parts = encodeFit({
      description: 'x',
      arch: 'amd64',
      kernel: { elsewhere: 'kernel', size: 4, sha256: new Uint8Array(32) },
    })
    expect(parts.filter((part) => !(part instanceof Uint8Array))).toEqual([{ elsewhere: 'kernel', size: 4 }])
  })
})

function note(name: string): string {
  return tool(name) === undefined ? ` (skipped: ${skipReason(name)})` : ''
}
