import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalJson, type JsonValue } from '../../src/signing/canonical-json.ts'

describe('canonical JSON', () => {
  it('sorts keys, drops white space and escapes only quotes and backslashes', () => {
    expect(canonicalJson({ b: [1, true, null], a: 'tab\t"q"\\' })).toBe(
      '{"a":"tab\t\\"q\\"\\\\","b":[1,true,null]}',
    )
  })

  it.each([1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])('refuses the number %s', (value) => {
    expect(() => canonicalJson({ value })).toThrow(expect.objectContaining({ code: 'metadata-invalid' }))
  })

  it('refuses what TUF clients would sort differently, and what is no JSON', () => {
    for (const value of [{ '😀': 1 }, '\ud800', { a: undefined as unknown as JsonValue }]) {
      expect(() => canonicalJson(value)).toThrow(expect.objectContaining({ code: 'metadata-invalid' }))
    }
  })

  it('gives the same bytes whatever the order in which members were added', () => {
    const name = fc.stringMatching(/^[a-z0-9._/-]{1,12}$/)
    fc.assert(
      fc.property(fc.dictionary(name, fc.oneof(fc.integer(), name, fc.boolean())), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse())
        expect(canonicalJson(reversed)).toBe(canonicalJson(value))
        expect(JSON.parse(canonicalJson(value))).toEqual({ ...value })
      }),
    )
  })
})
