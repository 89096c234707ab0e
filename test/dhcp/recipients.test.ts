/** Where replies go, whatever a packet says of that: a server that writes to any address is a reflector. */
import type { networkInterfaces } from 'node:os'
import { describe, expect, test } from 'vitest'
import { segmentsOf } from '../../src/dhcp/recipients.ts'
import { destinationOf } from '../../src/dhcp/reply.ts'
import type { Arrival, DhcpMode } from '../../src/dhcp/responder.ts'
import { dhcpPorts } from '../../src/dhcp/server.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import { discover, request, type SiteOptions, server, site } from './world.ts'

const rom = { 60: 'PXEClient:Arch:00007:UNDI:003000', 93: [0, 7] }
const link = { 82: [5, 4, 10, 9, 0, 0] }
const far = '198.51.100.7'

/** The address that is answered, or why none is. */
async function answered(
  given: SiteOptions,
  asked: ReturnType<typeof request>,
  how: Partial<Arrival> & { mode: DhcpMode },
): Promise<string | undefined> {
  const { because, reply } = await site(given).ask(asked, { cameBy: 'unicast', ...how })
  return reply === undefined ? because.at(-1) : destinationOf(asked, reply, dhcpPorts).address
}

const unknownRelay = `the relay agent ${far} is not known here: name it in dhcp.relays`

describe('a relay agent', () => {
  test.each<[what: string, values: Parameters<typeof discover>[0]]>([
    ['link selection (RFC 3527)', link],
    ['subnet selection (RFC 3011)', { 118: '10.9.0.0' }],
  ])('of any address is not answered because %s names our network', async (_, values) => {
    expect(await answered({}, discover(values, { giaddr: far }), { mode: 'server' })).toBe(unknownRelay)
  })

  test('that is not known leaves no offer and no lease behind', async () => {
    const here = site()
    await here.ask(discover(link, { giaddr: far }))
    await here.ask(request(3, { ...link, 54: server, 50: '10.9.0.60' }, { giaddr: far }))
    expect([here.stored.size, here.responder.counts()[0]?.offered]).toEqual([0, 0])
  })

  test('inside the network of a pool needs no setting', async () => {
    expect(await answered({}, discover({}, { giaddr: '10.9.0.254' }), { mode: 'server' })).toBe('10.9.0.254')
    expect(await answered({}, discover(rom, { giaddr: '10.9.0.254' }), { mode: 'proxy' })).toBe('10.9.0.254')
  })

  test.each(['198.51.100.7', '198.51.100.0/24'])(
    'that dhcp.relays names as %s is answered',
    async (relay) => {
      const relays = ['192.0.2.7', relay]
      expect(await answered({ relays }, discover(link, { giaddr: far }), { mode: 'server' })).toBe(far)
      expect(await answered({ relays, pools: {} }, discover(rom, { giaddr: far }), { mode: 'proxy' })).toBe(
        far,
      )
    },
  )

  test('that is not among those that are named is not answered, wherever it is', async () => {
    const asked = discover({}, { giaddr: '10.9.0.254' })
    expect(await answered({ relays: [far] }, asked, { mode: 'server' })).toContain('dhcp.relays')
  })

  test('is not answered by a proxy that was told of none, although it sent the packet itself', async () => {
    const asked = discover(rom, { giaddr: far })
    expect(await answered({ pools: {} }, asked, { mode: 'proxy', from: far })).toBe(unknownRelay)
  })

  test('that is not known is named in the log once, and a thousand invented ones do not fill it', async () => {
    const lines: unknown[] = []
    const log = { ...silentLog, warn: (fields: unknown) => void lines.push(fields) }
    const here = site({ log })
    for (let count = 0; count < 3; count += 1) await here.ask(discover(link, { giaddr: far }))
    expect(lines).toEqual([{ relay: far }])
    for (let count = 0; count < 1000; count += 1)
      await here.ask(discover(link, { giaddr: `198.51.${count >> 8}.${count & 255}` }))
    expect(lines).toHaveLength(16)
  })

  test.each(['198.51.100.7/24', '198.51.100.300', '0.0.0.0/0'])(
    'that is written as %s is refused at the start, with its key',
    (relay) => {
      try {
        site({ relays: [relay] })
        expect.fail('nothing was thrown')
      } catch (error) {
        expect(errorCodeOf(error)).toBe('config-invalid')
        expect((error as Error).message).toContain(`dhcp.relays: '${relay}'`)
      }
    },
  )
})

describe('the address that a client says it has', () => {
  const segments = [{ first: 0xc0000200, prefix: 24 }]
  const inform = (ciaddr: string) => request(8, rom, { ciaddr })

  test('is written to on our own segments, and elsewhere only where it sent the packet from', async () => {
    const proxy = { pools: {}, segments }
    const ask = (ciaddr: string, from: string) => answered(proxy, inform(ciaddr), { mode: 'proxy', from })
    expect(await ask('192.0.2.9', '0.0.0.0')).toBe('192.0.2.9')
    expect(await ask(far, far)).toBe(far)
    const refused = `${far} is on no segment of ours, and not where it came from: nothing is sent there`
    expect(await ask(far, '192.0.2.9')).toBe(refused)
    expect(await answered(proxy, discover(rom, { ciaddr: far }), { mode: 'proxy' })).toBe(refused)
  })

  test('does not matter at port 4011, where the sender is answered', async () => {
    const { reply } = await site({ pools: {} }).ask(inform(far), { mode: 'proxy', port: 'pxe' })
    expect(reply).toBeDefined()
  })

  test('is of a segment by the interfaces that this machine has', () => {
    const interfaces = {
      eth0: [
        { address: '192.0.2.1', cidr: '192.0.2.1/25' },
        { address: 'fe80::1', cidr: 'fe80::1/64' },
      ],
      eth1: [{ address: '198.51.100.1', cidr: '198.51.100.1/24' }],
      ppp0: [{ address: '203.0.113.1', cidr: null }],
    } as unknown as ReturnType<typeof networkInterfaces>
    expect(segmentsOf(['192.0.2.1', '203.0.113.1', '10.0.0.1'], interfaces)).toEqual([
      { first: 0xc0000200, prefix: 25 },
      { first: 0xcb007101, prefix: 32 },
    ])
  })
})
