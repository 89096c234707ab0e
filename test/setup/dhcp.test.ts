import type { networkInterfaces } from 'node:os'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { dhcpAddresses } from '../../src/setup/dhcp.ts'
import { startServer } from '../support/server.ts'

const configOf = (flags: Record<string, string>) => loadConfig({ env: {}, flags }).config

const interfacesOf = (...addresses: string[]) =>
  (() => ({
    lo: [{ address: '127.0.0.1', family: 'IPv4', internal: true }],
    eth0: addresses.map((address) => ({ address, family: 'IPv4', internal: false })),
    eth1: [{ address: 'fe80::1', family: 'IPv6', internal: false }],
  })) as unknown as () => ReturnType<typeof networkInterfaces>

async function codeOf(action: () => unknown): Promise<[code: string, sentence: string]> {
  try {
    await action()
  } catch (error) {
    return [errorCodeOf(error), (error as Error).message]
  }
  return ['nothing was thrown', '']
}

describe('which addresses DHCP answers on', () => {
  test('those that are named, without a look at the machine', () => {
    expect(dhcpAddresses(configOf({ 'dhcp.addresses': '10.9.0.1,10.8.0.1,10.9.0.1' }))).toEqual([
      '10.9.0.1',
      '10.8.0.1',
    ])
  })
  test('the only one that the machine has, else what it advertises or listens on', () => {
    expect(dhcpAddresses(configOf({}), interfacesOf('10.9.0.1'))).toEqual(['10.9.0.1'])
    const two = interfacesOf('10.9.0.1', '10.8.0.1')
    expect(dhcpAddresses(configOf({ advertise: '10.8.0.1' }), two)).toEqual(['10.8.0.1'])
    expect(dhcpAddresses(configOf({ 'firmware.host': '10.9.0.1' }), two)).toEqual(['10.9.0.1'])
  })
  test('it is not guessed among several, nor made up where there is none', async () => {
    const several = await codeOf(() => dhcpAddresses(configOf({}), interfacesOf('10.9.0.1', '10.8.0.1')))
    expect(several).toEqual(['config-invalid', expect.stringContaining('10.9.0.1, 10.8.0.1: name those')])
    const none = await codeOf(() => dhcpAddresses(configOf({ advertise: 'boot.example' }), interfacesOf()))
    expect(none).toEqual(['config-invalid', expect.stringContaining('set dhcp.addresses')])
  })
})

describe('a server with DHCP', () => {
  const settings = {
    'dhcp.addresses': '127.0.0.1',
    'dhcp.port': '18067',
    'dhcp.clientPort': '18068',
    'dhcp.pxePort': '18411',
    'dhcp.pools': '{"127.0.0.0/8":{"range":"127.0.9.1-127.0.9.9"}}',
  }

  test('listens, and `muster status` says in which mode', async () => {
    await using site = await startServer({ settings: { ...settings, 'dhcp.mode': 'server' } })
    const status = await site.api.call<{ planes: object[] }>({ method: 'GET', path: '/status' })
    expect(status.planes).toContainEqual({ name: 'dhcp', url: 'udp://127.0.0.1:18067', note: 'server' })
    expect(site.running.ports.dhcp?.server.mode).toBe('server')
    const { token } = await site.api.call<{ token: string }>({ method: 'POST', path: '/token' })
    const text = await (
      await fetch(`http://127.0.0.1:${site.running.ports.admin}/metrics`, {
        headers: { authorization: `Bearer ${token}` },
      })
    ).text()
    expect(text).toContain('muster_dhcp_packets_total{what="received"} 0')
    expect(text).toContain('muster_dhcp_addresses{pool="127.0.0.0/8",state="size"} 9')
    expect(text).toContain('muster_dhcp_conflict_checks_total{what="refused"} 0')
    expect(text).toContain('muster_dhcp_serving 1')
  })

  test('mode auto begins as a proxy, and stops without waiting for its question to end', async () => {
    const site = await startServer({
      settings: { ...settings, 'dhcp.mode': 'auto', 'dhcp.probeMs': '10000' },
    })
    expect(site.running.ports.dhcp?.server.mode).toBe('proxy')
    const before = performance.now()
    await site[Symbol.asyncDispose]()
    expect(performance.now() - before).toBeLessThan(5000)
  })

  test.each([
    [{ 'dhcp.mode': 'server', 'dhcp.pools': '{}' }, 'dhcp.mode is server, and dhcp.pools is empty'],
    [
      { 'dhcp.mode': 'proxy', 'dhcp.pools': '{"10.0.0.1/8":{}}' },
      "dhcp.pools: '10.0.0.1/8' is no IPv4 network",
    ],
    [
      { 'dhcp.mode': 'proxy', 'dhcp.reservations': '{"x":{"address":"127.0.0.9"}}' },
      "dhcp.reservations: 'x' is no MAC address",
    ],
  ])('%j is refused at the start', async (wrong, sentence) => {
    const [code, message] = await codeOf(() => startServer({ settings: { ...settings, ...wrong } as never }))
    expect([code, message]).toEqual(['config-invalid', expect.stringContaining(sentence)])
  })

  test('a port that another program has stops the start, and says which', async () => {
    await using _first = await startServer({ settings: { ...settings, 'dhcp.mode': 'proxy' } })
    const [code, message] = await codeOf(() =>
      startServer({ settings: { ...settings, 'dhcp.mode': 'proxy' } }),
    )
    expect([code, message]).toEqual(['listen-failed', expect.stringContaining('127.0.0.1:18067')])
  })
})
