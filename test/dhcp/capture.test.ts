import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseHex, readCapture } from '../../src/dhcp/capture.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { thrownCode } from '../support/thrown-code.ts'
import { capture, datagram, ethernet } from './frames.ts'
import { vectorBytes } from './world.ts'

const payload = vectorBytes('ovmf-full-0-67-type1.bin')
const ends = { from: { address: '0.0.0.0', port: 68 }, to: { address: '255.255.255.255', port: 67 } }
const ip = datagram(payload, ends)

describe('captures', () => {
  test.each([
    ['Ethernet', 1, ethernet(ip)],
    ['Ethernet with two VLAN tags', 1, ethernet(ip, [0x88a8, 0x8100])],
    ['raw IP', 101, ip],
    ["Linux' any", 113, Uint8Array.from([...new Uint8Array(14), 8, 0, ...ip])],
    ["Linux' any, second form", 276, Uint8Array.from([8, 0, ...new Uint8Array(18), ...ip])],
  ])('a packet over %s is found, with who sent it', (_, link, frame) => {
    for (const little of [true, false]) {
      const { packets } = readCapture(capture([frame, frame.subarray(0, 20)], { link, little }))
      const [packet, ...rest] = packets
      expect(rest).toEqual([])
      expect(packet).toEqual({ bytes: payload, ...ends, atMs: 1_700_000_000_500 })
    }
  })

  test('a capture of nanoseconds tells the same time', () => {
    expect(readCapture(capture([ip], { link: 101, nanoseconds: true })).packets[0]?.atMs).toBe(
      1_700_000_000_500,
    )
  })

  test('a payload, a frame and an IP packet alone are found too, and Ethernet padding is cut off', () => {
    for (const bytes of [payload, ip, ethernet(ip), Uint8Array.from([...ethernet(ip), 0, 0, 0])])
      expect(readCapture(bytes).packets[0]?.bytes).toEqual(payload)
    expect(readCapture(Uint8Array.of(1, ...new Uint8Array(299))).packets).toHaveLength(1)
  })

  test('other traffic and fragments are passed over', () => {
    const dns = datagram(payload, {
      from: { address: '10.0.0.1', port: 53 },
      to: { address: '10.0.0.2', port: 4000 },
    })
    const fragment = ip.slice()
    fragment[6] = 0x20
    expect(readCapture(capture([dns, fragment, ip], { link: 101 })).packets).toHaveLength(1)
    expect(thrownCode(() => readCapture(capture([dns], { link: 101 })))).toBe('packet-invalid')
  })

  test('a capture that ends in the middle of a packet still has those before it', () => {
    const whole = capture([ip, ip], { link: 101 })
    for (const cut of [1, 40, ip.length + 15]) {
      const { end, packets } = readCapture(whole.subarray(0, whole.length - cut))
      expect([end, packets.length]).toEqual(['truncated', 1])
    }
    expect(readCapture(whole)).toMatchObject({ end: 'whole', packets: [{}, {}] })
    expect(readCapture(whole, 1)).toMatchObject({ end: 'limit', packets: [{}] })
  })

  test('a capture that ends in its first packet says so, and not only that it holds none', () => {
    const file = capture([ip], { link: 101 })
    const cut = () => readCapture(file.subarray(0, file.length - 1))
    expect(thrownCode(cut)).toBe('packet-invalid')
    expect(cut).toThrow('ends in the middle of its packet 1')
  })

  test('a packet that the capture has cut says how much of it is missing', () => {
    const file = capture([ip.subarray(0, 96)], { link: 101 })
    new DataView(file.buffer).setUint32(24 + 12, ip.length, true)
    expect(readCapture(file).packets[0]?.missingBytes).toBe(ip.length - 96)
  })

  test('pcapng is not read, and the way to classic pcap is said', () => {
    const file = Uint8Array.from([0x0a, 0x0d, 0x0d, 0x0a, ...new Uint8Array(60)])
    expect(thrownCode(() => readCapture(file))).toBe('packet-invalid')
    expect(() => readCapture(file)).toThrow('editcap -F pcap')
  })

  test('hexadecimal as it is copied from anywhere', () => {
    expect([...parseHex('0x01, 0x02\n03:04-05')]).toEqual([1, 2, 3, 4, 5])
    for (const text of ['', 'abc', 'no such file'])
      expect(thrownCode(() => parseHex(text))).toBe('packet-invalid')
  })

  test('no file makes it throw anything but our error', () => {
    const start = fc.constantFrom(capture([ethernet(ip)], { link: 1 }), ip, new Uint8Array())
    fc.assert(
      fc.property(start, fc.nat(500), fc.uint8Array({ maxLength: 80 }), (head, cut, tail) => {
        try {
          readCapture(Uint8Array.from([...head.subarray(0, cut), ...tail]))
        } catch (error) {
          expect(errorCodeOf(error)).toBe('packet-invalid')
        }
      }),
      { numRuns: 3000 },
    )
  })
})
