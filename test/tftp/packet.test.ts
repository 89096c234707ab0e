import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorCodeOf, MusterError } from '../../src/errors.ts'
import { toErrorPacket } from '../../src/tftp/error-packet.ts'
import { normaliseFilename } from '../../src/tftp/file-name.ts'
import { negotiate } from '../../src/tftp/negotiation.ts'
import { decodeNetascii, encodeNetascii } from '../../src/tftp/netascii.ts'
import { encodePacket, type Packet, parsePacket, writeDataHeader } from '../../src/tftp/packet.ts'
import { thrownCode } from '../support/thrown-code.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((value) => !value.includes('\0'))
const name = fc.stringMatching(/^[a-z]{1,10}$/)
const options = fc.dictionary(name, text, { maxKeys: 5 }).map((entries) => new Map(Object.entries(entries)))
const packet: fc.Arbitrary<Packet> = fc.oneof(
  fc.record({ op: fc.constantFrom('read' as const, 'write' as const), filename: text, mode: name, options }),
  fc.record({ op: fc.constant('data' as const), block: fc.nat(65_535), data: fc.uint8Array() }),
  fc.record({ op: fc.constant('ack' as const), block: fc.nat(65_535) }),
  fc.record({
    op: fc.constant('error' as const),
    code: fc.nat(8),
    message: fc.stringMatching(/^[ -~]{0,100}$/),
  }),
  fc.record({ op: fc.constant('oack' as const), options }),
)

const ascii = (value: string): number[] => Array.from(value, (character) => character.charCodeAt(0))

describe('TFTP packets', () => {
  test('every packet reads back as it was written', () => {
    fc.assert(
      fc.property(packet, (value) => {
        expect(parsePacket(encodePacket(value))).toEqual(value)
      }),
    )
  })

  test('random bytes give a packet or our error, nothing else', () => {
    const opcode = fc.nat(8).map((value) => Uint8Array.of(0, value))
    fc.assert(
      fc.property(fc.option(opcode), fc.uint8Array({ maxLength: 64 }), (head, tail) => {
        try {
          parsePacket(Buffer.concat([head ?? new Uint8Array(), tail]))
        } catch (error) {
          expect(errorCodeOf(error)).toBe('packet-invalid')
        }
      }),
      { numRuns: 5000 },
    )
  })

  test('the first request of EDK2 is read with its options', () => {
    const bytes = [0, 1, ...ascii('grubx64.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0')]
    expect(parsePacket(Uint8Array.from(bytes))).toEqual({
      op: 'read',
      filename: 'grubx64.efi',
      mode: 'octet',
      options: new Map([
        ['tsize', '0'],
        ['blksize', '1468'],
        ['windowsize', '4'],
      ]),
    })
  })

  test('mode and option names are read without regard to case, and the first of two options counts', () => {
    const bytes = [0, 1, ...ascii('a\0OCTET\0BlkSize\x00512\0blksize\x008192\0')]
    const request = parsePacket(Uint8Array.from(bytes))
    expect(request).toMatchObject({ mode: 'octet', options: new Map([['blksize', '512']]) })
  })

  test('zero padding after a request is no option', () => {
    const bytes = [0, 1, ...ascii('a\0octet\0\0\0\0')]
    expect(parsePacket(Uint8Array.from(bytes))).toMatchObject({ op: 'read', options: new Map() })
  })

  test.each([
    ['nothing', []],
    ['half an opcode', [0]],
    ['an unknown opcode', [0, 7, 0, 0]],
    ['a request without a mode', [0, 1, ...ascii('name\0')]],
    ['a request without an end', [0, 1, ...ascii('name\0octet')]],
    ['an option without a value', [0, 1, ...ascii('name\0octet\0tsize\0')]],
    ['a name that is no UTF-8', [0, 1, 0xff, 0, ...ascii('octet\0')]],
    ['an ACK without a block', [0, 4, 0]],
  ])('%s is a malformed packet', (_, bytes) => {
    expect(thrownCode(() => parsePacket(Uint8Array.from(bytes)))).toBe('packet-invalid')
  })

  test('a request beyond 512 bytes cannot be written', () => {
    const value: Packet = { op: 'read', filename: 'x'.repeat(600), mode: 'octet', options: new Map() }
    expect(thrownCode(() => encodePacket(value))).toBe('packet-invalid')
  })

  test('block 65536 is number 0 on the wire', () => {
    const bytes = new Uint8Array(8)
    writeDataHeader(bytes, 4, 65_536 + 258)
    expect([...bytes]).toEqual([0, 0, 0, 0, 0, 3, 1, 2])
  })
})

describe('netascii', () => {
  test('every file comes back as it was', () => {
    const byte = fc.oneof(fc.constantFrom(0, 10, 13), fc.nat(255))
    fc.assert(
      fc.property(fc.array(byte), (bytes) => {
        const file = Uint8Array.from(bytes)
        expect(decodeNetascii(encodeNetascii(file))).toEqual(file)
      }),
    )
  })

  test('line feeds travel as CR LF, carriage returns as CR NUL', () => {
    expect([...encodeNetascii(Uint8Array.of(97, 10, 13, 98))]).toEqual([97, 13, 10, 13, 0, 98])
  })
})

describe('file names', () => {
  test.each([
    ['/ipxe.efi', 'ipxe.efi'],
    ['\\Boot\\BCD', 'Boot/BCD'],
    ['//a/./b//c', 'a/b/c'],
    ['pxelinux.cfg/01-aa-bb', 'pxelinux.cfg/01-aa-bb'],
    ['..a/b..', '..a/b..'],
  ])('%s is asked for as %s', (asked, name) => {
    expect(normaliseFilename(asked, 255)).toBe(name)
  })

  test.each(['../etc/shadow', 'a/../b', 'a\\..\\b', '..', '', '/', '.', 'a\0b', 'a\nb', 'x'.repeat(256)])(
    '%j is refused',
    (asked) => {
      expect(thrownCode(() => normaliseFilename(asked, 255))).toBe('access-denied')
    },
  )

  test('no name leads upwards or starts at a root, whatever was asked', () => {
    const part = fc.constantFrom('..', '.', '/', '\\', 'a', '\0', '...', ' ')
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        try {
          const segments = normaliseFilename(parts.join(''), 255).split('/')
          for (const segment of segments) expect(['', '.', '..']).not.toContain(segment)
        } catch (error) {
          expect(errorCodeOf(error)).toBe('access-denied')
        }
      }),
    )
  })
})

describe('option negotiation', () => {
  const limits = { maxBlockBytes: 1468, maxWindowBlocks: 16, maxWindowBytes: 65_536 }
  const granted = (asked: Record<string, string>, size: number | undefined = 1000) =>
    Object.fromEntries(negotiate(new Map(Object.entries(asked)), size, limits).granted)

  test('a block larger than the path takes is answered with what fits', () => {
    expect(granted({ blksize: '8192' })).toEqual({ blksize: '1468' })
  })

  test('a smaller block is granted as asked, never more', () => {
    expect(granted({ blksize: '1024' })).toEqual({ blksize: '1024' })
    expect(granted({ windowsize: '4' })).toEqual({ windowsize: '4' })
  })

  test('a window is bounded in blocks and in bytes', () => {
    expect(granted({ windowsize: '64' })).toEqual({ windowsize: '16' })
    const large = { ...limits, maxBlockBytes: 65_464 }
    const asked = new Map([
      ['windowsize', '16'],
      ['blksize', '8192'],
    ])
    expect(negotiate(asked, 1, large)).toMatchObject({ windowBlocks: 8, blockBytes: 8192 })
  })

  test('the timeout is granted exactly as asked, or not at all', () => {
    expect(granted({ timeout: '5' })).toEqual({ timeout: '5' })
    expect(granted({ timeout: '0' })).toEqual({})
    expect(granted({ timeout: '255' })).toEqual({})
  })

  test('the size is told in octet, and not where line ends change it', () => {
    expect(granted({ tsize: '0' }, 4711)).toEqual({ tsize: '4711' })
    const none = negotiate(new Map([['tsize', '0']]), undefined, limits)
    expect([...none.granted]).toEqual([])
  })

  test.each([
    [{ multicast: '' }],
    [{ blksize: '7' }],
    [{ blksize: '-1' }],
    [{ blksize: '0x200' }],
    [{ windowsize: '0' }],
    [{ tsize: '' }],
    [{ timeout: '1.5' }],
  ])('%j is left out of the answer', (asked) => {
    expect(granted(asked as Record<string, string>)).toEqual({})
  })

  test('without options a block has 512 bytes', () => {
    expect(negotiate(new Map(), 1, limits)).toMatchObject({ blockBytes: 512, windowBlocks: 1 })
  })
})

describe('what a client is told about an error', () => {
  test.each([
    ['file-not-found', 1],
    ['access-denied', 2],
    ['operation-refused', 4],
    ['too-many-transfers', 0],
    ['internal', 0],
  ] as const)('%s is TFTP error %i', (errorCode, number) => {
    const sentence = 'a sentence that names /var/lib/secret'
    const packet = parsePacket(toErrorPacket(new MusterError(errorCode, sentence)))
    expect(packet).toMatchObject({ op: 'error', code: number })
    expect(JSON.stringify(packet)).not.toContain('secret')
  })

  test('a foreign error is TFTP error 0', () => {
    expect(parsePacket(toErrorPacket(new RangeError('x')))).toMatchObject({ op: 'error', code: 0 })
  })
})
