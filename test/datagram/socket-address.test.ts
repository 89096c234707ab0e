import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { encodeAddress, peerKey, SocketPeer, sourceOf } from '../../src/datagram/socket-address.ts'

describe('socket addresses', () => {
  test.each([
    ['192.0.2.1', 69, 'IPv4'],
    ['::', 1, 'IPv6'],
    ['::1', 65_535, 'IPv6'],
    ['2001:db8::1:0:0:1', 4011, 'IPv6'],
    ['2001:db8:1:2:3:4:5:6', 69, 'IPv6'],
    ['::ffff:192.0.2.1', 69, 'IPv6'],
    ['fe80::1%7', 69, 'IPv6'],
  ] as const)('%s port %d comes back as it went', (address, port, family) => {
    const { address: back, ...rest } = new SocketPeer(encodeAddress(address, port), new Uint8Array(0))
    expect({ address: back, port: rest.port, family: rest.family }).toEqual({ address, port, family })
  })

  test('a client is the same one, whether its socket is IPv4’s or carries it', () => {
    expect(peerKey(encodeAddress('::ffff:192.0.2.1', 69))).toBe(peerKey(encodeAddress('192.0.2.1', 69)))
    expect(peerKey(encodeAddress('192.0.2.1', 69))).not.toBe(peerKey(encodeAddress('192.0.2.1', 70)))
    expect(peerKey(encodeAddress('2001:db8::1', 69))).not.toBe(peerKey(encodeAddress('2001:db8::2', 69)))
  })

  test('control messages that make no sense choose no source address', () => {
    for (let length = 0; length < 64; length += 1)
      for (let seed = 0; seed < 20; seed += 1) expect(sourceOf(randomBytes(length)).byteLength).toBe(0)
  })
})
