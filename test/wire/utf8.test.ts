import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorCodeOf } from '../../src/errors.ts'
import { decodeUtf8, encodeUtf8 } from '../../src/wire/utf8.ts'

describe('UTF-8 without TextEncoder', () => {
  test('encodes every well-formed string as the platform does, and reads it back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const bytes = encodeUtf8(text)
        expect(bytes).toEqual(Uint8Array.from(new TextEncoder().encode(text)))
        expect(decodeUtf8(bytes)).toBe(text)
      }),
    )
  })

  test('takes exactly the bytes that the platform takes, and throws only our error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8 }), (bytes) => {
        expect(outcome(() => decodeUtf8(bytes))).toBe(
          outcome(() => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)),
        )
      }),
      { numRuns: 2000 },
    )
  })

  test.each([
    ['an overlong slash', [0xc0, 0xaf]],
    ['an overlong slash in three bytes', [0xe0, 0x80, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a point beyond Unicode', [0xf4, 0x90, 0x80, 0x80]],
    ['a cut character', [0xe2, 0x82]],
  ])('%s is refused', (_, bytes) => {
    expect(outcome(() => decodeUtf8(Uint8Array.from(bytes)))).toBe('refused')
  })

  test('half a surrogate pair is not written', () => {
    expect(() => encodeUtf8('\ud800')).toThrow('half a pair')
  })
})

function outcome(action: () => string): string {
  try {
    return `text ${action()}`
  } catch (error) {
    const ours = errorCodeOf(error) === 'packet-invalid'
    return ours || error instanceof TypeError ? 'refused' : String(error)
  }
}
