import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { toNumber } from '../../src/dhcp/address.ts'
import { messageTypeOf } from '../../src/dhcp/intent.ts'
import { PoolLeases, type StoredLease } from '../../src/dhcp/leases.ts'
import { defaultDhcpLimits } from '../../src/dhcp/limits.ts'
import { messageName } from '../../src/dhcp/options.ts'
import { createPools } from '../../src/dhcp/pool.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import { openDatabase } from '../../src/store/database.ts'
import { createDhcpLeases } from '../../src/store/dhcp-leases.ts'
import { discover, macOf, poolOf, request, type Site, server, site, vector } from './world.ts'

const small = poolOf({ range: '10.9.0.50-10.9.0.52' })
const client = (last: number) => ({ chaddr: macOf(last) })

async function offered(here: Site, last: number, values: Parameters<typeof discover>[0] = {}) {
  return (await here.ask(discover(values, client(last)))).reply?.yiaddr
}

/** DISCOVER and REQUEST; what the ACK says, or `NAK`, or undefined for silence. */
async function joins(here: Site, last: number): Promise<string | undefined> {
  const address = await offered(here, last)
  return address === undefined ? undefined : takes(here, last, address)
}

async function takes(here: Site, last: number, address: string): Promise<string | undefined> {
  return answerTo(here, request(3, { 54: server, 50: address }, client(last)))
}

/** Seconds of the lease that this REQUEST gets; `NAK`, or undefined for silence. */
async function secondsOf(
  here: Site,
  asked: ReturnType<typeof request>,
  cameBy: 'broadcast' | 'unicast' = 'broadcast',
) {
  const { reply } = await here.ask(asked, { cameBy })
  const [leaseTime, renewalTime] = [reply?.options.get(51), reply?.options.get(58)]
  if (reply === undefined || leaseTime === undefined) return reply && messageName(messageTypeOf(reply))
  const seconds = Buffer.from(leaseTime).readUInt32BE()
  expect(Buffer.from(renewalTime as Uint8Array).readUInt32BE()).toBe(seconds / 2)
  return seconds
}

async function answerTo(
  here: Site,
  asked: ReturnType<typeof request>,
  cameBy: 'broadcast' | 'unicast' = 'broadcast',
) {
  const { reply } = await here.ask(asked, { cameBy })
  if (reply === undefined) return undefined
  const type = messageName(messageTypeOf(reply))
  return type === 'ACK' ? reply.yiaddr : type
}

describe('leases', () => {
  test('each machine gets an address of its own, and the same one again', async () => {
    const here = site({ pools: small })
    expect([await joins(here, 1), await joins(here, 2)]).toEqual(['10.9.0.50', '10.9.0.51'])
    expect(await joins(here, 1)).toBe('10.9.0.50')
    here.pass(86_400_000)
    expect(await joins(here, 2)).toBe('10.9.0.51')
  })

  test('ROM, iPXE and operating system of one machine share an address, although each says another identifier', async () => {
    const here = site()
    const rom = await here.ask(vector('ipxe-full-tftp-0-67-type1'))
    const system = discover({ 61: [255, 1, 2, 3, 4] }, { chaddr: vector('ipxe-full-tftp-0-67-type1').chaddr })
    expect((await here.ask(system)).reply?.yiaddr).toBe(rom.reply?.yiaddr)
  })

  test('a client without an Ethernet address is told apart by its identifier', async () => {
    const here = site()
    const infiniband = (id: number) => discover({ 61: [0, id] }, { htype: 32, chaddr: new Uint8Array() })
    const first = (await here.ask(infiniband(1))).reply?.yiaddr
    expect((await here.ask(infiniband(2))).reply?.yiaddr).not.toBe(first)
    expect((await here.ask(infiniband(1))).reply?.yiaddr).toBe(first)
    const nameless = discover({}, { htype: 32, chaddr: new Uint8Array() })
    expect((await here.ask(nameless)).because.at(-1)).toBe('it has neither hardware address nor identifier')
  })

  test('an address that was asked for is given where it is free', async () => {
    const here = site()
    expect(await offered(here, 1, { 50: '10.9.0.77' })).toBe('10.9.0.77')
    expect(await offered(here, 2, { 50: '10.9.0.77' })).toBe('10.9.0.50')
    expect(await offered(here, 3, { 50: '10.9.0.7' })).toBe('10.9.0.51')
  })

  test('when all are taken a newcomer gets nothing, and the reason names the pool', async () => {
    const here = site({ pools: small })
    for (const last of [1, 2, 3]) await joins(here, last)
    const { because, reply } = await here.ask(discover({}, client(4)))
    expect(reply).toBeUndefined()
    expect(because.at(-1)).toBe('all 3 addresses of 10.9.0.0/24 are in use; widen dhcp.pools')
  })

  test('the address whose lease ended first is given again first', async () => {
    const here = site({ pools: small })
    for (const last of [1, 2, 3]) {
      await joins(here, last)
      here.pass(1000)
    }
    await joins(here, 1)
    here.pass(601_000)
    expect(await joins(here, 4)).toBe('10.9.0.51')
  })

  test('an offer that nobody took is free after its hold', async () => {
    const here = site({ pools: poolOf({ range: '10.9.0.50-10.9.0.50' }) })
    expect(await offered(here, 1)).toBe('10.9.0.50')
    expect(await offered(here, 2)).toBeUndefined()
    here.pass(defaultDhcpLimits.offerHoldMs + 1)
    expect(await offered(here, 2)).toBe('10.9.0.50')
    expect(await takes(here, 1, '10.9.0.50')).toBe('NAK')
  })

  test('a flood of invented machines costs open offers only: who takes one keeps it', async () => {
    const here = site({ limits: { ...defaultDhcpLimits, maxOffers: 10 }, inUse: undefined })
    expect(await joins(here, 1)).toBe('10.9.0.50')
    for (let last = 100; last < 400; last += 1) await offered(here, last)
    expect(here.responder.counts()[0]).toMatchObject({ bound: 1, offered: 10 })
    expect(await joins(here, 2)).toBeDefined()
    expect(await joins(here, 1)).toBe('10.9.0.50')
  })

  test('DISCOVERs that nobody follows up empty a pool for seconds only: then the oldest offer gives way', async () => {
    const here = site({ pools: small })
    for (const last of [101, 102, 103]) {
      await offered(here, last)
      here.pass(1000)
    }
    // Firmware collects offers before it takes one; so long each is kept.
    expect(await offered(here, 1)).toBeUndefined()
    expect(await takes(here, 102, '10.9.0.51')).toBe('10.9.0.51')
    here.pass(defaultDhcpLimits.offerYieldsAfterMs - 3000)
    expect(await joins(here, 1)).toBe('10.9.0.50')
    expect(await offered(here, 2)).toBeUndefined()
    // Who comes too late for its offer is told to begin again.
    expect(await takes(here, 101, '10.9.0.50')).toBe('NAK')
    here.pass(2000)
    expect(await joins(here, 2)).toBe('10.9.0.52')
    expect(await joins(here, 3)).toBeUndefined()
  })

  test('a reserved address is given to its machine, whatever else is free, and to nobody else', async () => {
    const reservations = { '52:54:00:00:00:09': { address: '10.9.0.50' } }
    const here = site({ pools: small, reservations })
    expect([await joins(here, 1), await joins(here, 2), await joins(here, 3)]).toEqual([
      '10.9.0.51',
      '10.9.0.52',
      undefined,
    ])
    expect(await takes(here, 4, '10.9.0.50')).toBe('NAK')
    expect(await joins(here, 9)).toBe('10.9.0.50')
    expect(await takes(here, 9, '10.9.0.51')).toBe('NAK')
  })

  test('an offer of a reserved address that nobody took goes to no stranger, and its machine is answered', async () => {
    const here = site({ reservations: { '52:54:00:00:00:09': { address: '10.9.0.50' } } })
    // Whoever says the hardware address has it offered: one forged packet.
    expect(await offered(here, 9)).toBe('10.9.0.50')
    for (let minute = 0; minute < 3; minute += 1) {
      here.pass(defaultDhcpLimits.offerHoldMs + 1)
      expect(await offered(here, 1)).not.toBe('10.9.0.50')
      expect(await offered(here, 9)).toBe('10.9.0.50')
    }
    expect(await joins(here, 9)).toBe('10.9.0.50')
  })

  test('a reserved address whose lease ended does not stand in the way of the others that are free', async () => {
    const reservations = { '52:54:00:00:00:09': { address: '10.9.0.50' } }
    const here = site({ pools: small, reservations })
    for (const last of [9, 1, 2]) await joins(here, last)
    here.pass(601_000)
    expect([await joins(here, 3), await joins(here, 4)]).toEqual(['10.9.0.51', '10.9.0.52'])
  })

  test('a machine gets its reserved address from a mere offer to somebody else, and not from a lease', () => {
    const reservations = { '52:54:00:00:00:09': { address: '10.9.0.50' } }
    const takenFrom = (state: 'offered' | 'bound') => {
      const { maxOffers, ...limits } = defaultDhcpLimits
      const leases = new PoolLeases(createPools(small, reservations)[0]!, { ...limits, offersMax: maxOffers })
      const address = toNumber('10.9.0.50') as number
      leases.restore([{ address, client: '52:54:00:00:00:01', state, endsAtMs: 1000 }], 0)
      return {
        granted: () => leases.grant('52:54:00:00:00:09', address, 0, false),
        proposed: () => leases.propose('52:54:00:00:00:09', undefined, 0),
      }
    }
    const client = '52:54:00:00:00:09'
    expect(takenFrom('offered').granted()).toMatchObject({ lease: { client, state: 'bound' } })
    expect(takenFrom('offered').proposed()).toMatchObject({
      lease: { client, state: 'offered' },
      fresh: true,
    })
    expect(takenFrom('bound').granted()).toEqual({ refused: "10.9.0.50 is another client's" })
    expect(takenFrom('bound').proposed()).toEqual({
      refused: 'its reserved address 10.9.0.50 is in use by 52:54:00:00:00:01',
    })
  })

  test('an address that somebody else has is passed over, and stays so for a while', async () => {
    const here = site({ pools: small })
    here.strangers.add('10.9.0.50')
    expect(await joins(here, 1)).toBe('10.9.0.51')
    here.strangers.clear()
    expect([await joins(here, 2), await joins(here, 3)]).toEqual(['10.9.0.52', undefined])
    here.pass(defaultDhcpLimits.quarantineMs + 1)
    expect(await joins(here, 3)).toBe('10.9.0.50')
  })

  test('so many addresses are looked for at once: who comes then is not answered, and is when it asks again', async () => {
    const limits = { ...defaultDhcpLimits, maxConflictChecks: 2 }
    const looks = Promise.withResolvers<boolean>()
    const here = site({ limits, inUse: () => looks.promise })
    const first = [offered(here, 1), offered(here, 2)]
    const { because } = await here.ask(discover({}, client(3)))
    expect(because.at(-1)).toBe('as many addresses are being looked for as there may be; it asks again')
    // Nothing is held for it: else it would be offered the address unseen the next time.
    expect(here.responder.counts()[0]).toMatchObject({ offered: 2 })
    looks.resolve(false)
    expect(await Promise.all(first)).toEqual(['10.9.0.50', '10.9.0.51'])
    expect(await offered(here, 3)).toBe('10.9.0.52')
    expect(here.responder.checks()).toEqual({ made: 3, found: 0, refused: 1 })
  })

  test('so many addresses are looked for in a second, and who has a lease or an offer is answered all the same', async () => {
    const limits = { ...defaultDhcpLimits, maxConflictChecksPerSecond: 5 }
    const looked: string[] = []
    const here = site({ limits, inUse: async (address) => looked.push(address) < 0 })
    expect(await joins(here, 1)).toBe('10.9.0.50')
    for (let last = 100; last < 200; last += 1) await offered(here, last)
    expect(looked).toHaveLength(5)
    expect(await joins(here, 1)).toBe('10.9.0.50')
    expect(await offered(here, 100)).toBe('10.9.0.51')
    expect(await offered(here, 2)).toBeUndefined()
    here.pass(200)
    expect(await offered(here, 2)).toBeDefined()
    expect(looked).toHaveLength(6)
    expect(here.responder.checks()).toEqual({ made: 6, found: 0, refused: 97 })
  })

  test('where nobody is to be looked for, there is no limit of looks', async () => {
    const limits = { ...defaultDhcpLimits, maxConflictChecks: 1, maxConflictChecksPerSecond: 1 }
    const here = site({ limits, inUse: undefined })
    for (let last = 1; last <= 20; last += 1) expect(await offered(here, last)).toBeDefined()
  })

  test('a machine that declines its address gets another one, and nobody gets the declined one', async () => {
    const here = site({ pools: small })
    await joins(here, 1)
    expect(await answerTo(here, request(4, { 54: server, 50: '10.9.0.50' }, client(1)))).toBeUndefined()
    expect(await joins(here, 1)).toBe('10.9.0.51')
    expect([await joins(here, 2), await joins(here, 3)]).toEqual(['10.9.0.52', undefined])
  })

  test('nobody declines or releases the address of another', async () => {
    const here = site({ pools: small })
    await joins(here, 1)
    await here.ask(request(4, { 54: server, 50: '10.9.0.50' }, client(2)))
    await here.ask(request(7, { 54: server }, { ...client(2), ciaddr: '10.9.0.50' }))
    here.pass(1000)
    expect([await joins(here, 2), await joins(here, 3), await joins(here, 4)]).toEqual([
      '10.9.0.51',
      '10.9.0.52',
      undefined,
    ])
  })

  test("a released address is free when others need it, and first of all its own machine's", async () => {
    const here = site({ pools: poolOf({ range: '10.9.0.50-10.9.0.51' }) })
    await joins(here, 1)
    await here.ask(request(7, { 54: server }, { ...client(1), ciaddr: '10.9.0.50' }))
    expect(await joins(here, 2)).toBe('10.9.0.51')
    expect(await joins(here, 1)).toBe('10.9.0.50')
    await here.ask(request(7, { 54: server }, { ...client(1), ciaddr: '10.9.0.50' }))
    here.pass(1)
    expect(await joins(here, 3)).toBe('10.9.0.50')
  })

  test('the ROM of a Pi 3 sends no REQUEST: its offer is the lease', async () => {
    const here = site({ pools: small })
    const values = { 60: 'PXEClient:Arch:00000:UNDI:002001', 93: [0, 0], 97: [0, ...Array(16).fill(0x44)] }
    await here.ask(discover(values, { chaddr: Uint8Array.of(0xb8, 0x27, 0xeb, 0, 0, 1) }))
    expect(here.stored.get('10.9.0.50')).toMatchObject({ client: 'b8:27:eb:00:00:01', state: 'bound' })
  })

  test('a lease that cannot be written down is not given', async () => {
    const store = { load: async () => [], put: () => Promise.reject(new Error('disk full')) }
    expect(await joins(site({ store }), 1)).toBeUndefined()
  })
})

describe('the first lease of a client that nobody knows', () => {
  const pools = poolOf({ range: '10.9.0.50-10.9.0.52', leaseSeconds: 7200 })
  const select = (last: number, address: string) => request(3, { 54: server, 50: address }, client(last))
  const renew = (last: number, address: string) => request(3, {}, { ...client(last), ciaddr: address })

  test('is a short one, and the offer says so too; whoever renews gets what the pool says', async () => {
    const here = site({ pools })
    expect(await secondsOf(here, discover({}, client(1)))).toBe(300)
    expect(await secondsOf(here, select(1, '10.9.0.50'))).toBe(300)
    // ROM, loader and agent ask one after the other, and have proved nothing by that.
    here.pass(20_000)
    expect(await secondsOf(here, select(1, '10.9.0.50'))).toBe(300)
    here.pass(140_000)
    expect(await secondsOf(here, renew(1, '10.9.0.50'), 'unicast')).toBe(7200)
    expect(await secondsOf(here, discover({}, client(1)))).toBe(7200)
  })

  test('one REQUEST for each address of a pool, without a DISCOVER, takes it for minutes and not for a lease', async () => {
    const here = site({ pools })
    for (const last of [101, 102, 103])
      expect(await secondsOf(here, select(last, `10.9.0.${last - 51}`))).toBe(300)
    expect(await joins(here, 1)).toBeUndefined()
    here.pass(300_001)
    expect([await joins(here, 1), await joins(here, 2), await joins(here, 3)]).toEqual([
      '10.9.0.50',
      '10.9.0.51',
      '10.9.0.52',
    ])
    // Who comes back after its lease was over has kept none.
    here.pass(300_001)
    expect(await secondsOf(here, select(1, '10.9.0.50'))).toBe(300)
  })

  test('is found again when it has ended, also behind longer ones that were given before it', async () => {
    const here = site({
      pools,
      machine: async (mac) => (mac.endsWith(':01') ? { name: undefined } : undefined),
    })
    for (const last of [1, 2, 3]) await joins(here, last)
    here.pass(300_001)
    expect([await joins(here, 4), await joins(here, 5), await joins(here, 6)]).toEqual([
      '10.9.0.51',
      '10.9.0.52',
      undefined,
    ])
  })

  test('is a whole one where a machine with its MAC address said hello, or has an address of its own', async () => {
    const known = site({ pools, machine: async () => ({ name: undefined }) })
    expect(await secondsOf(known, select(1, '10.9.0.50'))).toBe(7200)
    const reserved = site({ pools, reservations: { '52:54:00:00:00:09': { address: '10.9.0.9' } } })
    expect(await secondsOf(reserved, discover({}, client(9)))).toBe(7200)
    expect(await secondsOf(reserved, select(9, '10.9.0.9'))).toBe(7200)
  })

  test('is no longer than the leases of its pool', async () => {
    const here = site({ pools: poolOf({ leaseSeconds: 120 }) })
    expect(await secondsOf(here, select(1, '10.9.0.50'))).toBe(120)
  })

  test('after a restart who had a whole lease has one again, and who had a first one renews into it', async () => {
    const stored = new Map<string, StoredLease>()
    const before = site({ pools, stored })
    await joins(before, 1)
    await joins(before, 2)
    before.pass(150_000)
    await before.ask(renew(1, '10.9.0.50'), { cameBy: 'unicast' })
    const after = site({ pools, stored })
    after.pass(160_000)
    await after.responder.restore()
    expect(await secondsOf(after, select(1, '10.9.0.50'))).toBe(7200)
    expect(await secondsOf(after, renew(2, '10.9.0.51'), 'unicast')).toBe(7200)
  })
})

describe('the states of a client (RFC 2131 §4.3.2)', () => {
  test('who took the offer of another server hears nothing from us', async () => {
    const { because, reply } = await site().ask(request(3, { 54: '10.9.0.2', 50: '10.9.0.60' }))
    expect(reply).toBeUndefined()
    expect(because.at(-1)).toBe('it took the offer of 10.9.0.2, which is not us')
  })

  test('a machine that restarts with its address keeps it; on another network it is told so', async () => {
    const here = site()
    await joins(here, 1)
    expect(await answerTo(here, request(3, { 50: '10.9.0.50' }, client(1)))).toBe('10.9.0.50')
    expect(await answerTo(here, request(3, { 50: '192.0.2.7' }, client(1)))).toBe('NAK')
    expect(await answerTo(here, request(3, { 50: '10.9.0.60' }, client(2)))).toBeUndefined()
  })

  test('a lease is renewed at our address, and rebound by broadcast', async () => {
    const here = site()
    await joins(here, 1)
    here.pass(300_000)
    const renewing = request(3, {}, { ...client(1), ciaddr: '10.9.0.50' })
    expect(await answerTo(here, renewing, 'unicast')).toBe('10.9.0.50')
    here.pass(500_000)
    expect(await answerTo(here, renewing, 'broadcast')).toBe('10.9.0.50')
  })

  test('renewing what another machine has is refused; rebinding it is left to who may know better', async () => {
    const here = site()
    await joins(here, 1)
    const wrong = request(3, {}, { ...client(2), ciaddr: '10.9.0.50' })
    expect(await answerTo(here, wrong, 'unicast')).toBe('NAK')
    expect(await answerTo(here, wrong, 'broadcast')).toBeUndefined()
  })

  test('a server that forgot a lease grants it again where nobody else has it', async () => {
    const here = site()
    const renewing = request(3, {}, { ...client(1), ciaddr: '10.9.0.60' })
    expect(await answerTo(here, renewing, 'unicast')).toBe('10.9.0.60')
  })

  test('INFORM gets settings without an address and without a lease, at an address of this network only', async () => {
    const here = site()
    const { reply } = await here.ask(request(8, {}, { ciaddr: '10.9.0.200' }))
    expect(reply).toMatchObject({ yiaddr: '0.0.0.0', ciaddr: '10.9.0.200' })
    expect(reply?.options.has(51)).toBe(false)
    expect(reply?.options.has(1)).toBe(true)
    // Whoever forges a sender must not make us write to any host.
    const far = await here.ask(request(8, {}, { ciaddr: '198.51.100.7' }))
    expect(far.reply).toBeUndefined()
  })

  test("a relay's address chooses the pool, and its link selection before that", async () => {
    const pools = {
      ...poolOf(),
      '10.20.0.0/16': { range: '10.20.1.1-10.20.1.9', dns: [], ntp: [], leaseSeconds: 600 },
    }
    const here = site({ pools })
    const relayed = (values = {}) => here.ask(discover(values, { giaddr: '10.20.0.1' }))
    expect((await relayed()).reply?.yiaddr).toBe('10.20.1.1')
    expect((await relayed({ 82: [5, 4, 10, 9, 0, 0] })).reply?.yiaddr).toBe('10.9.0.50')
    const nowhere = await here.ask(discover({}, { giaddr: '10.99.0.1' }))
    expect(nowhere.because.at(-1)).toBe('no pool is for the network of 10.99.0.1')
  })
})

describe('leases over a restart', () => {
  test('every machine keeps its address, and no other gets it', async () => {
    await using database = await openDatabase({ path: ':memory:', log: silentLog })
    const before = site({ pools: small, store: createDhcpLeases(database) })
    await before.responder.restore()
    await joins(before, 1)
    await joins(before, 2)
    await before.ask(request(4, { 54: server, 50: '10.9.0.51' }, client(2)))

    const after = site({ pools: small, store: createDhcpLeases(database) })
    expect(await after.responder.restore()).toBe(2)
    expect(await joins(after, 3)).toBe('10.9.0.52')
    expect(await joins(after, 4)).toBeUndefined()
    expect(await answerTo(after, request(3, { 50: '10.9.0.50' }, client(1)))).toBe('10.9.0.50')
  })

  test('an offer of before is granted after, because the client did not notice', async () => {
    const stored = new Map<string, StoredLease>()
    const address = await offered(site({ stored }), 1)
    expect(await takes(site({ stored }), 1, address as string)).toBe(address)
  })

  test('a lease of a pool that was made smaller runs out, and is given to nobody new', async () => {
    const stored = new Map<string, StoredLease>()
    const wide = site({ stored })
    for (const last of [1, 2, 3, 4, 5]) await joins(wide, last)
    const narrow = site({ stored, pools: small })
    await narrow.responder.restore()
    expect(await joins(narrow, 5)).toBeUndefined()
    expect(await joins(narrow, 1)).toBe('10.9.0.50')
  })
})

describe('no two machines have one address', () => {
  test('whatever they do, and whenever the server restarts', async () => {
    const act = fc.record({
      who: fc.nat(8),
      what: fc.constantFrom('join', 'join', 'join', 'release', 'decline', 'wait', 'restart'),
      ms: fc.nat(700_000),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        const stored = new Map<string, StoredLease>()
        const pools = poolOf({ range: '10.9.0.50-10.9.0.54' })
        let here = site({ stored, pools })
        let passedMs = 0
        const startedAtMs = Date.parse('2026-06-01T08:00:00Z')
        /** Who holds what until when, by their own account. */
        const holds = new Map<number, { address: string; untilMs: number }>()
        for (const { what, who, ms } of acts) {
          const held = holds.get(who)
          if (what === 'wait') {
            here.pass(ms)
            passedMs += ms
          } else if (what === 'restart') {
            here = site({ stored, pools })
            here.pass(passedMs)
            await here.responder.restore()
          } else if (what === 'join') {
            const address = await joins(here, who)
            if (address === undefined || address === 'NAK') continue
            for (const [other, { address: taken, untilMs }] of holds)
              if (other !== who && untilMs > passedMs) expect(taken).not.toBe(address)
            const endsAtMs = stored.get(address)?.endsAt as number
            holds.set(who, { address, untilMs: endsAtMs - startedAtMs })
          } else if (held !== undefined && held.untilMs > passedMs) {
            const values = { 54: server, 50: held.address }
            if (what === 'release')
              await here.ask(request(7, values, { ...client(who), ciaddr: held.address }))
            else await here.ask(request(4, values, client(who)))
            holds.delete(who)
          }
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('pools as they are configured', () => {
  const refused: [
    what: string,
    pools: Parameters<typeof createPools>[0],
    reservations: Parameters<typeof createPools>[1],
    says: string,
  ][] = [
    [
      'no network',
      { '10.9.0.1/24': poolOf()['10.9.0.0/24']! },
      {},
      "dhcp.pools: '10.9.0.1/24' is no IPv4 network",
    ],
    [
      'a range outside',
      poolOf({ range: '10.9.1.50-10.9.1.60' }),
      {},
      '10.9.1.50 is no address for a machine in 10.9.0.0/24',
    ],
    [
      'a range of half',
      poolOf({ range: '10.9.0.50' }),
      {},
      "dhcp.pools.10.9.0.0/24.range: '' is no IPv4 address",
    ],
    ['a range backwards', poolOf({ range: '10.9.0.60-10.9.0.50' }), {}, '10.9.0.60 comes after 10.9.0.50'],
    [
      'the broadcast address',
      poolOf({ range: '10.9.0.250-10.9.0.255' }),
      {},
      '10.9.0.255 is no address for a machine',
    ],
    [
      'a gateway that would be given away',
      poolOf({ gateway: '10.9.0.60' }),
      {},
      '10.9.0.60 lies in the range',
    ],
    [
      'two that overlap',
      { ...poolOf(), '10.9.0.0/16': { dns: [], ntp: [], leaseSeconds: 600 } },
      {},
      '10.9.0.0/24 and 10.9.0.0/16 overlap',
    ],
    [
      'a reservation elsewhere',
      poolOf(),
      { '52:54:00:00:00:01': { address: '10.8.0.1' } },
      '10.8.0.1 is in no network of dhcp.pools',
    ],
    [
      'one address for two',
      poolOf(),
      { '52:54:00:00:00:01': { address: '10.9.0.5' }, '52:54:00:00:00:02': { address: '10.9.0.5' } },
      '10.9.0.5 is reserved for 52:54:00:00:00:01 and 52:54:00:00:00:02',
    ],
  ]
  test.each(refused)('%s is refused at the start, with its key', (_, pools, reservations, says) => {
    try {
      createPools(pools, reservations)
      expect.fail('nothing was thrown')
    } catch (error) {
      expect(errorCodeOf(error)).toBe('config-invalid')
      expect((error as Error).message).toContain(says)
    }
  })
})
