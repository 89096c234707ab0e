import { expect, test } from 'vitest'
import { identifyClient } from '../../src/dhcp/client.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { datagram, ethernet } from '../dhcp/frames.ts'
import { vectorBytes } from '../dhcp/world.ts'
import { plainRom } from './plain-rom.ts'

const ends = (port: number) => ({
  from: { address: '0.0.0.0', port: 68 },
  to: { address: '255.255.255.255', port },
})
const frame = (payload: Uint8Array, port: number) => Buffer.from(ethernet(datagram(payload, ends(port))))
const discover = frame(vectorBytes('ipxe-full-tftp-0-67-type1.bin'), 67)
const readRequest = (name: string) => frame(Buffer.from(`\0\x01${name}\0octet\0`, 'latin1'), 69)
const clientOf = (sent: Buffer) => identifyClient(parsePacket(sent.subarray(14 + 28)))

test("what QEMU's ROM asks by DHCP is what a plain PXE BIOS asks, in a sound IPv4 packet", () => {
  expect(clientOf(discover).kind).toBe('ipxe')
  const sent = plainRom('undionly.kpxe')(discover)
  expect(clientOf(sent)).toMatchObject({ kind: 'pxe', platform: 'bios', mac: clientOf(discover).mac })
  expect(sent.readUInt16BE(14 + 2)).toBe(sent.length - 14)
  expect(sent.readUInt16BE(14 + 20 + 4)).toBe(sent.length - 14 - 20)
  let sum = 0
  for (let at = 14; at < 34; at += 2) sum += sent.readUInt16BE(at)
  expect((sum & 0xffff) + (sum >>> 16)).toBe(0xffff)
})

test('once the ROM has asked for its loader, everything passes as it is', () => {
  const pass = plainRom('undionly.kpxe')
  expect(pass(readRequest('other.kpxe'))).toEqual(readRequest('other.kpxe'))
  expect(clientOf(pass(discover)).kind).toBe('pxe')
  expect(pass(readRequest('undionly.kpxe'))).toEqual(readRequest('undionly.kpxe'))
  expect(pass(discover)).toEqual(discover)
})

test('frames that are no DHCP pass as they are', () => {
  const pass = plainRom('undionly.kpxe')
  const arp = Buffer.concat([discover.subarray(0, 12), Buffer.from([8, 6]), Buffer.alloc(46)])
  for (const other of [arp, Buffer.alloc(14), frame(Buffer.from('name?'), 53)])
    expect(pass(other)).toEqual(other)
})
