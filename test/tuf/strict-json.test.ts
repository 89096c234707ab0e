import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { parseStrictJson } from '../../src/tuf/strict-json.ts'

const parse = (text: string | Uint8Array) => parseStrictJson(Buffer.from(text as string), 'x.json').value
const invalid = expect.objectContaining({ code: 'metadata-invalid' })

describe('refused, though JSON.parse takes it', () => {
  test.each([
    ['a byte order mark', '\ufeff{}'],
    ['the same member twice', '{"version":1,"version":2}'],
    ['the same member twice, once escaped', '{"version":1,"v\\u0065rsion":2}'],
    ['__proto__', '{"__proto__":{"threshold":0}}'],
    ['__proto__, escaped', '{"\\u005f_proto__":{}}'],
    ['an integer that a double cannot hold', '9007199254740993'],
    ['the first integer that is not safe', '9007199254740992'],
    ['a fraction', '1.5'],
    ['a fraction of zero', '1.0'],
    ['an exponent', '1e3'],
    ['a number above every double', '1e999'],
    ['minus zero', '-0'],
    ['half of a surrogate pair', '"\\ud800"'],
    ['the other half alone', '"a\\udc00"'],
    ['a member name beyond the Basic Multilingual Plane', '{"😀":1}'],
    ['40 levels of nesting', `${'['.repeat(40)}${']'.repeat(40)}`],
  ])('%s', (_, text) => {
    expect(() => parse(text)).toThrow(invalid)
  })

  test('bytes that are not UTF-8', () => {
    for (const bytes of [
      [0x22, 0xff, 0x22],
      [0x22, 0xc0, 0xaf, 0x22],
      [0x22, 0xed, 0xa0, 0x80, 0x22],
    ]) {
      expect(() => parse(Uint8Array.from(bytes))).toThrow(invalid)
    }
  })
})

test('a million opening brackets end in an error, not in the end of the stack', () => {
  expect(() => parse('['.repeat(1_000_000))).toThrow(invalid)
})

test.each([
  '',
  ' ',
  '{',
  '[1,]',
  '{"a":1,}',
  '{"a" 1}',
  "{'a':1}",
  '01',
  '+1',
  'NaN',
  'tru',
  '"\n"',
  '"\\x"',
  '"\\u12"',
  '1 2',
  '{}x',
])('is not JSON: %j', (text) => {
  expect(() => parse(text)).toThrow(invalid)
})

test('the largest safe integers are read, both signs', () => {
  expect(parse('[9007199254740991,-9007199254740991,0]')).toEqual([9007199254740991, -9007199254740991, 0])
})

test('what is accepted has the value that JSON.parse gives it', () => {
  const json = fc
    .jsonValue({ maxDepth: 5, stringUnit: 'binary' })
    .map((value) => JSON.stringify(value, undefined, 1))
  fc.assert(
    fc.property(json, (text) => {
      let value: unknown
      try {
        value = parse(text)
      } catch (error) {
        expect(error).toBeInstanceOf(MusterError)
        return
      }
      expect(value).toEqual(JSON.parse(text))
    }),
  )
})

test('whatever the bytes are, it is a value that JSON.parse also has, or our error', () => {
  const noise = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.string({ unit: fc.constantFrom(...'{}[]",:\\u0019eE+-.tn \n') }).map((text) => Buffer.from(text)),
  )
  fc.assert(
    fc.property(noise, (bytes) => {
      let found: unknown
      try {
        found = parse(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MusterError)
        return
      }
      expect(found).toEqual(JSON.parse(Buffer.from(bytes).toString()))
    }),
  )
})
