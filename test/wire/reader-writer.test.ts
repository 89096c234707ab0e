import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ByteReader } from '../../src/wire/reader.ts'
import { ByteWriter } from '../../src/wire/writer.ts'
import { thrownCode } from '../support/thrown-code.ts'

const field = fc.oneof(
  fc.record({ kind: fc.constantFrom('u8' as const), value: fc.nat(0xff) }),
  fc.record({ kind: fc.constantFrom('u16' as const, 'u16le' as const), value: fc.nat(0xffff) }),
  fc.record({
    kind: fc.constantFrom('u32' as const, 'u32le' as const),
    value: fc.integer({ min: 0, max: 0xffffffff }),
  }),
)
const big = fc.record({
  kind: fc.constantFrom('u64' as const, 'u64le' as const),
  value: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
})

describe('wire', () => {
  test('what a writer wrote, a reader reads back in the same order', () => {
    fc.assert(
      fc.property(fc.array(field), fc.array(big), fc.uint8Array(), (fields, bigs, tail) => {
        const writer = new ByteWriter({ limitBytes: 65_536 })
        for (const { kind, value } of fields) writer[kind](value)
        for (const { kind, value } of bigs) writer[kind](value)
        const reader = new ByteReader(writer.bytes(tail).finish())
        for (const { kind, value } of fields) expect(reader[kind]()).toBe(value)
        for (const { kind, value } of bigs) expect(reader[kind]()).toBe(value)
        expect(reader.rest()).toEqual(tail)
        reader.expectEnd()
      }),
    )
  })

  test('zero-terminated strings stop at their zero byte', () => {
    const packet = new ByteWriter({ limitBytes: 16 })
      .zeroTerminated(Uint8Array.of(1, 2))
      .zeroTerminated(Uint8Array.of())
    const reader = new ByteReader(packet.finish())
    expect(reader.untilZero(2)).toEqual(Uint8Array.of(1, 2))
    expect(reader.untilZero(2)).toEqual(Uint8Array.of())
    expect(reader.remaining).toBe(0)
  })

  test('network order is big-endian', () => {
    const reader = new ByteReader(Uint8Array.of(1, 2, 3, 4, 1, 2))
    expect([reader.u32(), reader.u16le()]).toEqual([0x01020304, 0x0201])
  })

  test('a reader of a view sees only the view', () => {
    const whole = Uint8Array.of(9, 9, 1, 2, 9, 9)
    const reader = new ByteReader(whole.subarray(2, 4))
    expect(reader.u16()).toBe(0x0102)
    expect(thrownCode(() => reader.u8())).toBe('packet-invalid')
  })

  test.each([
    ['a number past the end', (reader: ByteReader) => reader.u32()],
    ['more bytes than there are', (reader: ByteReader) => reader.bytes(4)],
    ['a negative length', (reader: ByteReader) => reader.bytes(-1)],
    ['a length that is no number', (reader: ByteReader) => reader.skip(Number.NaN)],
    ['a string without its zero byte', (reader: ByteReader) => reader.untilZero(10)],
    ['bytes left over', (reader: ByteReader) => reader.expectEnd()],
  ])('%s is a malformed packet', (_, read) => {
    expect(thrownCode(() => read(new ByteReader(Uint8Array.of(1, 2, 3))))).toBe('packet-invalid')
  })

  test('a string longer than its limit is refused', () => {
    expect(thrownCode(() => new ByteReader(Uint8Array.of(1, 2, 3, 0)).untilZero(2))).toBe('packet-invalid')
    expect(new ByteReader(Uint8Array.of(1, 2, 3, 0)).untilZero(3)).toHaveLength(3)
  })

  test('the sentence names the structure, the offset and what was missing', () => {
    const reader = new ByteReader(Uint8Array.of(1, 2, 3), { what: 'RRQ', code: 'request-invalid' })
    reader.u16()
    expect(() => reader.u16()).toThrow('RRQ is malformed: 2 bytes were expected at offset 2, 1 are left')
    expect(thrownCode(() => reader.u16())).toBe('request-invalid')
  })

  test.each([
    ['a byte of 256', (writer: ByteWriter) => writer.u8(256)],
    ['a negative number', (writer: ByteWriter) => writer.u16(-1)],
    ['a fraction', (writer: ByteWriter) => writer.u32(0.5)],
    ['65 bits', (writer: ByteWriter) => writer.u64(1n << 64n)],
    ['a zero byte inside a string', (writer: ByteWriter) => writer.zeroTerminated(Uint8Array.of(0))],
    ['more than the limit', (writer: ByteWriter) => writer.zeros(17)],
  ])('%s cannot be written', (_, write) => {
    expect(thrownCode(() => write(new ByteWriter({ limitBytes: 16 })))).toBe('packet-invalid')
  })

  test('a finished packet does not change with later writes', () => {
    const writer = new ByteWriter({ limitBytes: 4 }).u8(1)
    const first = writer.finish()
    writer.u8(2)
    expect(first).toEqual(Uint8Array.of(1))
    expect(writer.finish()).toEqual(Uint8Array.of(1, 2))
  })
})
