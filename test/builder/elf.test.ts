import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { elfSection, readElf } from '../../src/builder/elf.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { skipReason, tool } from '../support/tools.ts'

const readelf = tool('readelf')
const node = readFileSync(process.execPath)

describe('an ELF file', () => {
  test('names its loader and libraries: Node, which runs this test, needs the C library', () => {
    const elf = readElf(node, 'node')
    expect(elf.machine).toBe(process.arch === 'arm64' ? 183 : 62)
    expect(elf.interpreter).toMatch(/^\/lib/)
    expect(elf.needed).toContain('libc.so.6')
  })

  test.skipIf(readelf === undefined)(
    `needs what readelf says${readelf ? '' : ` (${skipReason('readelf')})`}`,
    () => {
      const text = execFileSync(readelf!, ['-d', process.execPath], { encoding: 'utf8' })
      const expected = [...text.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map((match) => match[1])
      expect(readElf(node, 'node').needed).toEqual(expected)
    },
  )

  test('gives a section by its name, or undefined', () => {
    expect(elfSection(node, '.interp', 'node')?.toString('latin1')).toBe(
      `${readElf(node, 'node').interpreter}\0`,
    )
    expect(elfSection(node, '.modinfo', 'node')).toBeUndefined()
  })

  test('that is cut or changed ends in our error or in an answer, nothing else', () => {
    const head = Buffer.from(node.subarray(0, 4096))
    fc.assert(
      fc.property(
        fc.nat(4095),
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc.integer({ min: 0, max: 4096 }),
        (at, patch, length) => {
          const bytes = Buffer.from(head)
          Buffer.from(patch).copy(bytes, at)
          for (const read of [
            () => readElf(bytes.subarray(0, length), 'x'),
            () => elfSection(bytes, '.modinfo', 'x'),
          ])
            try {
              read()
            } catch (error) {
              expect(errorCodeOf(error)).toBe('build-failed')
            }
        },
      ),
    )
  })

  test.each(['', '#!/bin/sh\n', '\x7fELF'])('that is none (%j) is refused', (text) => {
    expect(() => readElf(Buffer.from(text), 'script')).toThrow(
      expect.objectContaining({ code: 'build-failed' }),
    )
  })
})
