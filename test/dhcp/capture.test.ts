import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readCapture } from '../../src/dhcp/capture.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { thrownCode } from '../support/thrown-code.ts'
import { capture, datagram, ethernet } from './frames.ts'
import { vectorBytes } from './world.ts'

const payload = vectorBytes('ovmf-full-0-67-type1.bin')
const ends = { from: { address: '0.0.0.0', port: 68 }, to: { address: '255.255.255.255', port: 67 } }
const ip = datagram(payload, ends)

const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0'))
const shown = (bytes: Uint8Array) =>
  Buffer.from(bytes)
    .toString('latin1')
    .replace(/[^\x20-\x7e]/g, '.')
const rows = (bytes: Uint8Array) =>
  Array.from({ length: Math.ceil(bytes.length / 16) }, (_, row) => bytes.subarray(16 * row, 16 * row + 16))
const offset = (row: number, digits: number) => (16 * row).toString(16).padStart(digits, '0')
const inFours = (row: Uint8Array) =>
  hex(row)
    .join('')
    .replace(/(.{4})(?=.)/g, '$1 ')

/** As the program of that name prints it. */
function xxd(bytes: Uint8Array): string {
  return rows(bytes)
    .map((row, index) => `${offset(index, 8)}: ${inFours(row).padEnd(39)}  ${shown(row)}\n`)
    .join('')
}

/** With the lines that tcpdump itself writes before each packet, with -v. */
function tcpdump(bytes: Uint8Array, text: boolean): string {
  const lines = rows(bytes).map(
    (row, index) =>
      `\t0x${offset(index, 4)}:  ${text ? `${inFours(row).padEnd(39)}  ${shown(row)}` : inFours(row)}\n`,
  )
  return `19:22:18.123456 IP (tos 0x0, ttl 64, id 0, proto UDP (17), length 328)\n    0.0.0.0.68 > 255.255.255.255.67: BOOTP/DHCP, Request from 52:54:00:12:34:56, length 300\n${lines.join('')}`
}

function hexdump(bytes: Uint8Array): string {
  const lines = rows(bytes).map((row) => {
    const [left, right] = [hex(row.subarray(0, 8)).join(' '), hex(row.subarray(8)).join(' ')]
    return `${`${left.padEnd(23)}  ${right}`.padEnd(50)}|${shown(row)}|`
  })
  const out: string[] = []
  for (const [index, line] of lines.entries())
    if (index === 0 || line !== lines[index - 1]) out.push(`${offset(index, 8)}  ${line}`)
    else if (out.at(-1) !== '*') out.push('*')
  return `${out.join('\n')}\n${bytes.length.toString(16).padStart(8, '0')}\n`
}

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

  test.each([
    ['digits alone', (bytes: Uint8Array) => hex(bytes).join('')],
    [
      'with blanks and line ends',
      (bytes: Uint8Array) =>
        hex(bytes)
          .join(' ')
          .replace(/(.{47}) /g, '$1\r\n'),
    ],
    ['with colons', (bytes: Uint8Array) => `${hex(bytes).join(':').toUpperCase()}\n`],
    [
      'as in C',
      (bytes: Uint8Array) =>
        hex(bytes)
          .map((pair) => `0x${pair}`)
          .join(', '),
    ],
    ['of xxd', xxd],
    ['of hexdump -C, which leaves out repeated lines', hexdump],
    ['of tcpdump -xx', (bytes: Uint8Array) => tcpdump(bytes, false)],
    ['of tcpdump -XX', (bytes: Uint8Array) => tcpdump(bytes, true)],
  ])('hexadecimal %s is read', (_, write) => {
    for (const bytes of [payload, ip, ethernet(ip)])
      expect(readCapture(Buffer.from(write(bytes))).packets.map((one) => Buffer.from(one.bytes))).toEqual([
        Buffer.from(payload),
      ])
  })

  test('a dump of several packets has them all, and text that looks like digits is none', () => {
    const letters = payload.map((byte, index) => (index < 44 || index >= 236 ? byte : 0x61 + (index % 6)))
    const { packets } = readCapture(
      Buffer.from(tcpdump(ethernet(ip), true) + tcpdump(letters, true) + xxd(letters)),
    )
    expect(packets.map((one) => Buffer.from(one.bytes))).toEqual([payload, letters, letters].map(Buffer.from))
    expect(readCapture(Buffer.from(xxd(ip) + xxd(ip)), 1)).toMatchObject({ end: 'limit', packets: [{}] })
  })

  test('text that is no hexadecimal, half a byte, and a dump that lacks a line are refused', () => {
    const lines = xxd(payload).split('\n')
    for (const [text, says] of [
      ['', 'no hexadecimal'],
      ['no such thing', 'no hexadecimal'],
      ['abc', 'half a byte'],
      ['0102', 'holds no DHCP packet'],
      [lines.toSpliced(3, 1).join('\n'), 'line 4 begins at byte 64, and the lines before it have 48'],
      ['00000000: 01\n*\nffffffff: 02', 'line 3'],
      [`00000000: ${'00'.repeat(70_000)}`, 'at most'],
    ] as const) {
      const read = () => readCapture(Buffer.from(text))
      expect(thrownCode(read), says).toBe('packet-invalid')
      expect(read).toThrow(says)
    }
  })

  test('no text makes it throw anything but our error', () => {
    const line = fc.stringMatching(/^[ \t]*(0x)?[0-9a-f]{0,9}:? {0,3}[0-9a-f |*.]{0,40}$/)
    fc.assert(
      fc.property(fc.array(fc.oneof(line, fc.constantFrom('*', '00000000: 0101', xxd(payload)))), (lines) => {
        try {
          readCapture(Buffer.from(lines.join('\n')))
        } catch (error) {
          expect(errorCodeOf(error)).toBe('packet-invalid')
        }
      }),
      { numRuns: 2000 },
    )
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
