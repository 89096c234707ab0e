import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  cleanIdentifiers,
  normaliseMac,
  normaliseSerial,
  normaliseUuid,
  sourceOf,
} from '../../src/machines/identifiers.ts'

test.each([
  '00000000-0000-0000-0000-000000000000',
  'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF',
  '03000200-0400-0500-0006-000700080009',
  'To be filled by O.E.M.',
  '',
])('the UUID %j names no machine', (uuid) => expect(normaliseUuid(uuid)).toBeUndefined())

test.each([
  'To be filled by O.E.M.',
  'To Be Filled By O.E.M',
  'Default string',
  'System Serial Number',
  '0123456789',
  '00000000',
  'Not Specified',
  'N/A',
  '  ',
  '..............',
  'abc\u0000def1',
])('the serial number %j names no machine', (serial) => expect(normaliseSerial(serial)).toBeUndefined())

test('honest identifiers are kept in one form', () => {
  expect(normaliseUuid('4C4C4544-0043-3510-8052-B4C04F4A4D32')).toBe('4c4c4544-0043-3510-8052-b4c04f4a4d32')
  expect(normaliseSerial(' CZC1234XYZ ')).toBe('czc1234xyz')
  expect(normaliseSerial('10000000abcdef01')).toBe('10000000abcdef01')
})

test('a MAC address is read in every notation that firmware and people use', () => {
  for (const text of ['52:54:00:AB:CD:EF', '52-54-00-ab-cd-ef', '525400abcdef', '5254.00ab.cdef'])
    expect(normaliseMac(text)).toBe('52:54:00:ab:cd:ef')
})

test('zero, broadcast and group addresses are no machine', () => {
  for (const text of [
    '00:00:00:00:00:00',
    'ff:ff:ff:ff:ff:ff',
    '01:00:5e:00:00:01',
    '52:54:00:ab:cd',
    'm-abc',
  ])
    expect(normaliseMac(text)).toBeUndefined()
})

test('the same MAC address said twice counts once', () => {
  const macs = ['52:54:00:00:00:02', '52:54:00:00:00:01', '52:54:00:00:00:02', '00:00:00:00:00:00']
  expect(cleanIdentifiers({ macs }).macs).toEqual(['52:54:00:00:00:01', '52:54:00:00:00:02'])
})

test('limits count an IPv4 host by its address and an IPv6 host by its address and its /64, in one form', () => {
  expect(sourceOf('192.0.2.1')).toEqual({ host: '192.0.2.1' })
  expect(sourceOf('::ffff:192.0.2.1')).toEqual({ host: '192.0.2.1' })
  const network = '2001:db8:1:2::/64'
  expect(sourceOf('2001:db8:1:2:3:4:5:6')).toEqual({ host: '2001:db8:1:2:3:4:5:6', network })
  expect(sourceOf('2001:0DB8:1:2::0009')).toEqual({ host: '2001:db8:1:2:0:0:0:9', network })
  expect(sourceOf('2001:db8:1:2::9%eth0')).toEqual(sourceOf('2001:db8:1:2::9'))
})

test('every link has the same fe80::/64, so its zone counts', () => {
  expect(sourceOf('fe80::1%eth0')).toEqual({
    host: 'fe80:0:0:0:0:0:0:1%eth0',
    network: 'fe80:0:0:0::/64%eth0',
  })
  expect(sourceOf('fe80::1%eth1').network).not.toBe(sourceOf('fe80::1%eth0').network)
})

test('no text makes a normaliser throw, and what it gives is stable', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 128, unit: 'binary' }), (text) => {
      for (const normalise of [normaliseMac, normaliseSerial, normaliseUuid]) {
        const once = normalise(text)
        if (once !== undefined) expect(normalise(once)).toBe(once)
      }
    }),
  )
})
