import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { options } from '../../src/dhcp/options.ts'
import { type DhcpPacket, encodePacket, parsePacket } from '../../src/dhcp/packet.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { thrownCode } from '../support/thrown-code.ts'
import { discover, request, vectorBytes, vectorNames } from './world.ts'

const address = fc.ipV4()
const field = (max: number) =>
  fc.array(fc.integer({ min: 1, max: 255 }), { maxLength: max }).map((codes) => String.fromCharCode(...codes))
const optionCode = fc.integer({ min: 1, max: 254 }).filter((code) => code !== options.overload)
const packet: fc.Arbitrary<DhcpPacket> = fc.record({
  op: fc.constantFrom('request' as const, 'reply' as const),
  htype: fc.nat(255),
  hops: fc.nat(255),
  xid: fc.nat(0xffffffff),
  secs: fc.nat(0xffff),
  flags: fc.nat(0xffff),
  ciaddr: address,
  yiaddr: address,
  siaddr: address,
  giaddr: address,
  chaddr: fc.uint8Array({ maxLength: 16 }),
  sname: field(64),
  file: field(128),
  options: fc
    .array(fc.tuple(optionCode, fc.uint8Array({ maxLength: 40 })), { maxLength: 12 })
    .map((entries) => new Map(entries)),
})

describe('DHCP packets', () => {
  test('every packet reads back as it was written', () => {
    fc.assert(
      fc.property(packet, (value) => {
        expect(parsePacket(encodePacket(value, 1472))).toEqual(value)
      }),
    )
  })

  test('random bytes give a packet or our error, nothing else', () => {
    const head = fc.constantFrom(vectorBytes(vectorNames[0]!), new Uint8Array(236), new Uint8Array(0))
    fc.assert(
      fc.property(head, fc.uint8Array({ maxLength: 400 }), fc.nat(240), (start, tail, cut) => {
        const bytes = Buffer.concat([start.subarray(0, Math.max(cut, start.length - cut)), tail])
        try {
          parsePacket(bytes)
        } catch (error) {
          expect(errorCodeOf(error)).toBe('packet-invalid')
        }
      }),
      { numRuns: 5000 },
    )
  })

  test.each(vectorNames)('%s is read, and says the same when it is written again', (name) => {
    const parsed = parsePacket(vectorBytes(name))
    expect(parsed).toMatchObject({ op: 'request', htype: 1, giaddr: '0.0.0.0' })
    expect(parsed.chaddr).toHaveLength(6)
    expect(parsePacket(encodePacket(parsed, 1472))).toEqual(parsed)
  })

  test('a captured DISCOVER of EDK2 is read field by field', () => {
    const parsed = parsePacket(vectorBytes('ovmf-full-0-67-type1.bin'))
    expect(parsed.flags).toBe(0x8000)
    expect(Object.fromEntries([...parsed.options].map(([key, value]) => [key, value.length]))).toEqual({
      ...{ 53: 1, 55: 35, 57: 2, 60: 32, 93: 2, 94: 3, 97: 17 },
    })
  })

  test('a reply has at least 300 bytes, because relays and in-kernel clients drop shorter ones', () => {
    expect(encodePacket(discover(), 576)).toHaveLength(300)
  })

  test('an option of more than 255 bytes travels in parts, and is put together again', () => {
    const long = Array.from({ length: 600 }, (_, index) => index & 255)
    const bytes = encodePacket(discover({ 43: long }), 1472)
    const lengths: number[] = []
    for (let at = 240; bytes[at] !== 255; at += 2 + bytes[at + 1]!)
      if (bytes[at] === 43) lengths.push(bytes[at + 1]!)
    expect(lengths).toEqual([255, 255, 90])
    expect([...parsePacket(bytes).options.get(43)!]).toEqual(long)
  })

  test('an option in parts of one byte, spread over all three areas, is put together in the order of the packet', () => {
    const bytes = encodePacket(discover(), 576).slice(0, 243)
    bytes.set([43, 1, 3, 43, 0, 255], 108)
    bytes.set([43, 1, 4, 255], 44)
    const main = [52, 1, 3, 43, 1, 1, 12, 1, 0x61, 43, 1, 2, 255]
    const parsed = parsePacket(Uint8Array.from([...bytes, ...main]))
    expect([...parsed.options.get(43)!]).toEqual([1, 2, 3, 4])
    expect([...parsed.options.keys()]).toEqual([53, 43, 12])
  })

  test('more options than there are codes are a malformed packet, however short they are', () => {
    const withParts = (count: number) =>
      Uint8Array.from([
        ...encodePacket(discover(), 576).slice(0, 240),
        ...Array.from({ length: count }, () => [43, 1, 7]).flat(),
      ])
    expect(parsePacket(withParts(256)).options.get(43)).toHaveLength(256)
    expect(thrownCode(() => parsePacket(withParts(257)))).toBe('packet-invalid')
    expect(thrownCode(() => parsePacket(withParts(30_000)))).toBe('packet-invalid')
  })

  test('what does not fit goes into file and sname, and option 52 says so', () => {
    const values = { 43: Array(200).fill(7), 66: Array(100).fill(8), 67: Array(50).fill(9) }
    const bytes = encodePacket(discover(values), 470)
    expect(bytes.length).toBeLessThanOrEqual(470)
    expect([bytes[108], bytes[44]]).toEqual([66, 67])
    const parsed = parsePacket(bytes)
    expect(parsed).toMatchObject({ file: '', sname: '' })
    for (const [key, value] of Object.entries(values))
      expect([...parsed.options.get(Number(key))!]).toEqual(value)
  })

  test('a packet whose options fit nowhere cannot be written', () => {
    expect(thrownCode(() => encodePacket(discover({ 43: Array(900).fill(1) }), 576))).toBe('packet-invalid')
    expect(thrownCode(() => encodePacket(request(1, {}, { file: 'x'.repeat(129) }), 576))).toBe(
      'packet-invalid',
    )
  })

  test('plain BOOTP without the cookie has no options', () => {
    expect(parsePacket(Uint8Array.of(1, ...new Uint8Array(299))).options.size).toBe(0)
  })

  test('padding between options is skipped, and a missing end is forgiven', () => {
    const bytes = encodePacket(discover(), 576).slice(0, 243)
    const padded = Uint8Array.from([...bytes, 0, 0, 12, 2, 0x61, 0x62])
    expect(parsePacket(padded).options.get(12)).toEqual(Uint8Array.of(0x61, 0x62))
  })

  test.each([
    ['nothing', new Uint8Array(0)],
    ['half a header', new Uint8Array(200)],
    ['an op that is neither', new Uint8Array(300).fill(3, 0, 1)],
    ['a hardware address of 17 bytes', Uint8Array.from({ length: 300 }, (_, at) => [1, 1, 17][at] ?? 0)],
    [
      'an option that runs over the end',
      Buffer.concat([encodePacket(discover(), 576).slice(0, 243), Buffer.from([12, 9, 1])]),
    ],
    [
      'an option without a length',
      Buffer.concat([encodePacket(discover(), 576).slice(0, 243), Buffer.from([12])]),
    ],
  ])('%s is a malformed packet', (_, bytes) => {
    expect(thrownCode(() => parsePacket(bytes))).toBe('packet-invalid')
  })
})
