import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addSections, peSection, readPe } from '../../src/builder/pe.ts'
import { MusterError } from '../../src/errors.ts'
import { skipReason, tool } from '../support/tools.ts'
import { smallPe } from './pe-simulator.ts'

const objdump = tool('objdump')
const needsObjdump = objdump === undefined ? ` (${skipReason('objdump')})` : ''
const newSections = fc.uniqueArray(
  fc.record({
    name: fc.stringMatching(/^\.[a-z]{1,7}$/).filter((name) => name !== '.text' && name !== '.data'),
    bytes: fc.uint8Array({ maxLength: 5000 }),
    code: fc.boolean(),
  }),
  { maxLength: 8, selector: ({ name }) => name },
)

describe('a PE image', () => {
  test('gives back each section that was added, and still has its own', () => {
    fc.assert(
      fc.property(newSections, (added) => {
        const image = addSections(smallPe(), added, 'test')
        expect(peSection(image, '.text', 'test')).toEqual(Buffer.alloc(0x180, 't'))
        for (const { name, bytes } of added)
          expect(peSection(image, name, 'test')).toEqual(Buffer.from(bytes))
      }),
    )
  })

  test('lies in memory as UEFI wants it: sections in order, aligned, apart, and all within the size of the image', () => {
    fc.assert(
      fc.property(newSections, (added) => {
        const image = addSections(smallPe(), added, 'test')
        const { sections } = readPe(image, 'test')
        let end = 0
        for (const { virtualAddress, virtualBytes, rawOffset, rawBytes } of sections) {
          expect(virtualAddress % 0x1000).toBe(0)
          expect(rawOffset % 0x200).toBe(0)
          expect(rawBytes % 0x200).toBe(0)
          expect(virtualAddress).toBeGreaterThanOrEqual(end)
          end = virtualAddress + virtualBytes
        }
        expect(image.readUInt32LE(0x78 + 24 + 56)).toBeGreaterThanOrEqual(end)
      }),
    )
  })

  test('of the same parts is the same bytes', () => {
    const sections = [{ name: '.linux', bytes: Buffer.from('kernel'), code: true }]
    expect(addSections(smallPe(), sections, 'a')).toEqual(addSections(smallPe(), sections, 'b'))
  })

  test('whose headers have no room is refused, not overwritten', () => {
    expect(() =>
      addSections(
        smallPe({ headersBytes: 0x200 }),
        ['.initrd', '.linux'].map((name) => ({ name, bytes: Buffer.alloc(1) })),
        'stub',
      ),
    ).toThrow(expect.objectContaining({ code: 'build-failed', message: expect.stringContaining('no room') }))
  })

  test('that is anything else, cut or mutated, ends in our error or in sections within the file', () => {
    const mutated = fc.array(fc.tuple(fc.nat(0x9ff), fc.nat(255)), { maxLength: 12 }).map((changes) => {
      const image = smallPe()
      for (const [at, value] of changes) image[at] = value
      return image
    })
    const cut = fc.nat(0x9ff).map((length) => smallPe().subarray(0, length))
    fc.assert(
      fc.property(
        fc.oneof(
          mutated,
          cut,
          fc.uint8Array().map((bytes) => Buffer.from(bytes)),
        ),
        (bytes) => {
          try {
            for (const { rawOffset, rawBytes } of readPe(bytes, 'hostile').sections)
              expect(rawBytes === 0 || rawOffset + rawBytes <= bytes.length).toBe(true)
          } catch (error) {
            expect(error).toBeInstanceOf(MusterError)
            expect((error as MusterError).code).toBe('build-failed')
          }
        },
      ),
      { numRuns: 2000 },
    )
  })

  test.skipIf(objdump === undefined)(`reads for objdump as it does for us${needsObjdump}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'muster-pe-'))
    try {
      const file = join(folder, 'image.efi')
      const image = addSections(
        smallPe(),
        [
          { name: '.osrel', bytes: Buffer.from('ID=test\n') },
          { name: '.linux', bytes: Buffer.alloc(3000), code: true },
        ],
        'test',
      )
      writeFileSync(file, image)
      const seen = execFileSync(objdump!, ['-h', file], { encoding: 'utf8' })
        .split('\n')
        .map((line) => /^\s+\d+ (\S+)\s+([0-9a-f]{8})\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]{8})/.exec(line))
        .filter((match) => match !== null)
        .map(([, name, bytes, offset]) => [name, Number.parseInt(bytes!, 16), Number.parseInt(offset!, 16)])
      const ours = readPe(image, 'test').sections
      expect(seen).toEqual(ours.map(({ name, virtualBytes, rawOffset }) => [name, virtualBytes, rawOffset]))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
