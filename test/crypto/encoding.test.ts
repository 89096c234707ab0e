import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromBase64, fromHex, toBase64, toHex } from '../../src/crypto/encoding.ts'
import { sha256 } from '../../src/crypto/sha256.ts'
import { MusterError } from '../../src/errors.ts'

const bytes = fc.uint8Array({ maxLength: 300 })

test('hexadecimal and base64 are the bytes that Node makes of them, both ways', () => {
  fc.assert(
    fc.property(bytes, (value) => {
      const buffer = Buffer.from(value)
      expect(toHex(value)).toBe(buffer.toString('hex'))
      expect(toBase64(value)).toBe(buffer.toString('base64'))
      expect(fromHex(buffer.toString('hex'))).toEqual(value)
      expect(fromBase64(buffer.toString('base64'))).toEqual(value)
    }),
  )
})

test('a text that is not hexadecimal or base64 is our error and nothing else', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const decode of [fromHex, fromBase64]) {
        try {
          decode(text)
        } catch (error) {
          expect(error).toBeInstanceOf(MusterError)
        }
      }
    }),
  )
})

test.each(['abc', '0g', 'é0'])('%j is not hexadecimal', (text) => {
  expect(() => fromHex(text)).toThrow(expect.objectContaining({ code: 'key-invalid' }))
})

test.each(['YQ', 'YR==', 'YWI', 'Y\nQ=', 'YQ=='.repeat(2)])(
  '%j is not the one base64 of anything',
  (text) => {
    expect(() => fromBase64(text)).toThrow(expect.objectContaining({ code: 'key-invalid' }))
  },
)

test('sha256 in plain ECMAScript agrees with Node around every block boundary', () => {
  for (let length = 0; length < 200; length++) {
    const message = Uint8Array.from({ length }, (_, index) => index * 7)
    expect(toHex(sha256(message))).toBe(createHash('sha256').update(message).digest('hex'))
  }
})

test('sha256 of a part of a larger buffer reads that part only', () => {
  const whole = Uint8Array.from({ length: 500 }, (_, index) => index)
  const part = whole.subarray(100, 333)
  expect(toHex(sha256(part))).toBe(createHash('sha256').update(part).digest('hex'))
})
