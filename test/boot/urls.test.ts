import { describe, expect, test } from 'vitest'
import { reachableHost } from '../../src/boot/urls.ts'

describe('the host that a machine is told', () => {
  test('is what the operator advertises', () => {
    expect(reachableHost({ advertise: 'boot.example.net', serverAddress: '192.0.2.1' })).toBe(
      'boot.example.net',
    )
  })
  test('else the address that the machine came to', () => {
    expect(reachableHost({ advertise: undefined, serverAddress: '192.0.2.1' })).toBe('192.0.2.1')
    expect(reachableHost({ advertise: undefined, serverAddress: '::ffff:192.0.2.1' })).toBe('192.0.2.1')
  })
  test('an IPv6 address stands in brackets, without its zone', () => {
    expect(reachableHost({ advertise: undefined, serverAddress: 'fe80::1%eth0' })).toBe('[fe80::1]')
  })
  test('a virtual machine behind QEMU’s user network knows this host as 10.0.2.2', () => {
    expect(reachableHost({ advertise: undefined, serverAddress: '127.0.0.1' })).toBe('10.0.2.2')
  })
})
