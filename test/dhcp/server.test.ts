import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { judgeOffers, startAuto } from '../../src/dhcp/auto.ts'
import { dgramEngine } from '../../src/dhcp/engines/dgram.ts'
import { messageTypeOf } from '../../src/dhcp/intent.ts'
import { defaultDhcpLimits } from '../../src/dhcp/limits.ts'
import { messageName } from '../../src/dhcp/options.ts'
import { type DhcpPacket, encodePacket, parsePacket } from '../../src/dhcp/packet.ts'
import { type Offer, probeServers } from '../../src/dhcp/probe.ts'
import { type Answered, createDhcpServer, type DhcpServerOptions, dhcpPorts } from '../../src/dhcp/server.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { type Log, silentLog } from '../../src/log.ts'
import { Segment } from './segment.ts'
import { discover, macOf, poolOf, request, type SiteOptions, site, vector, vectorBytes } from './world.ts'

type Given = Partial<DhcpServerOptions> & { segment?: Segment; address?: string; world?: SiteOptions }

/** A server on a segment; `muster` hears what it says to others, and `ask` is a client without an address. */
async function serverOn(given: Given = {}) {
  const { address = '10.9.0.1', segment = new Segment(), world = {}, ...rest } = given
  const answers: Answered[] = []
  const here = site(world)
  const server = createDhcpServer({
    responder: here.responder,
    mode: 'server',
    addresses: [address],
    limits: defaultDhcpLimits,
    log: silentLog,
    engine: segment.engine(address),
    onAnswer: (answered) => answers.push(answered),
    ...rest,
  })
  await server.listen()
  const client = { address: '0.0.0.0', port: 68 }
  return {
    ...{ server, segment, answers, here },
    async ask(bytes: Uint8Array | DhcpPacket, to = '255.255.255.255', port = 67, from = client) {
      const before = segment.sent.length
      segment.send(bytes instanceof Uint8Array ? bytes : encodePacket(bytes, 1472), from, {
        address: to,
        port,
      })
      await sleep(5)
      return segment.sent.slice(before + 1).map((one) => ({ ...one, packet: parsePacket(one.bytes) }))
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

const typeOf = (packet: DhcpPacket) => messageName(messageTypeOf(packet))

describe('a DHCP server', () => {
  test('leads a captured iPXE from its DISCOVER to a lease, from port 67 by broadcast', async () => {
    await using muster = await serverOn()
    const [offer] = await muster.ask(vectorBytes('ipxe-full-tftp-0-67-type1.bin'))
    expect(offer).toMatchObject({
      from: { address: '10.9.0.1', port: 67 },
      to: { address: '255.255.255.255', port: 68 },
    })
    const wanted = { 54: '10.9.0.1', 50: offer!.packet.yiaddr, 77: 'iPXE' }
    const [ack] = await muster.ask(request(3, wanted, { chaddr: offer!.packet.chaddr }))
    expect([typeOf(offer!.packet), typeOf(ack!.packet), ack!.packet.yiaddr]).toEqual([
      'OFFER',
      'ACK',
      '10.9.0.50',
    ])
    expect(muster.answers.map(({ asked, reply, address }) => [asked, reply, address])).toEqual([
      ['DISCOVER', 'OFFER', '10.9.0.50'],
      ['REQUEST', 'ACK', '10.9.0.50'],
    ])
    expect(muster.server.stats()).toMatchObject({ received: 2, offers: 1, acks: 1, malformed: 0 })
  })

  test('a relay is answered at its own address and port 67', async () => {
    await using muster = await serverOn()
    const relayed = discover({ 82: [1, 1, 9] }, { giaddr: '10.9.0.254', hops: 1 })
    const [offer] = await muster.ask(relayed, '10.9.0.1', 67, { address: '10.9.0.254', port: 67 })
    expect(offer).toMatchObject({ to: { address: '10.9.0.254', port: 67 }, packet: { giaddr: '10.9.0.254' } })
  })

  test('port 4011 is answered to who asked, from that port', async () => {
    await using muster = await serverOn({ mode: 'proxy' })
    const from = { address: '10.9.0.50', port: 4011 }
    const [ack] = await muster.ask(vectorBytes('ovmf-proxy-binl-5-4011-type3.bin'), '10.9.0.1', 4011, from)
    expect(ack).toMatchObject({ from: { address: '10.9.0.1', port: 4011 }, to: from })
    expect([typeOf(ack!.packet), ack!.packet.file]).toEqual(['ACK', 'ipxe-amd64.efi'])
  })

  test('with two addresses each answers on its own segment, and the one that was chosen gives the lease', async () => {
    const pools = {
      ...poolOf(),
      '10.20.0.0/24': { range: '10.20.0.5-10.20.0.9', dns: [], ntp: [], leaseSeconds: 600 },
    }
    await using muster = await serverOn({ addresses: ['10.9.0.1', '10.20.0.1'], world: { pools } })
    const offers = await muster.ask(discover())
    expect(offers.map(({ from, packet }) => [from.address, packet.yiaddr])).toEqual([
      ['10.9.0.1', '10.9.0.50'],
      ['10.20.0.1', '10.20.0.5'],
    ])
    const answered = await muster.ask(
      request(3, { 54: '10.20.0.1', 50: '10.20.0.5' }, { chaddr: offers[0]!.packet.chaddr }),
    )
    expect(answered.map(({ packet }) => [typeOf(packet), packet.yiaddr])).toEqual([['ACK', '10.20.0.5']])
  })

  test("a Pi's REQUEST, which does not say any more that it is one, gets what its DISCOVER got", async () => {
    await using muster = await serverOn()
    const chaddr = Uint8Array.of(0xdc, 0xa6, 0x32, 1, 2, 3)
    const values = {
      60: 'PXEClient:Arch:00000:UNDI:002001',
      93: [0, 0],
      97: [0, ...Buffer.from('RPi4'), ...Array(12).fill(1)],
    }
    const [offer] = await muster.ask(discover(values, { chaddr, xid: 7 }))
    const wanted = { 54: '10.9.0.1', 50: offer!.packet.yiaddr }
    const [ack] = await muster.ask(request(3, wanted, { chaddr, xid: 7 }))
    expect(ack!.packet.options.get(43)).toEqual(offer!.packet.options.get(43))
    const [later] = await muster.ask(request(3, wanted, { chaddr, xid: 8 }))
    expect(later!.packet.options.has(43)).toBe(false)
  })

  test('replies, rubbish and packets that are too long are dropped and counted, and the next client is answered', async () => {
    await using muster = await serverOn()
    await muster.ask({ ...discover(), op: 'reply' })
    await muster.ask(new Uint8Array(30))
    await muster.ask(new Uint8Array(5000))
    expect(muster.server.stats()).toMatchObject({ received: 3, ignored: 1, malformed: 2, offers: 0 })
    expect(await muster.ask(discover())).toHaveLength(1)
  })

  test('one hardware address that floods is left alone, and others are answered', async () => {
    await using muster = await serverOn({ now: () => 0 })
    for (let count = 0; count < 50; count += 1) await muster.ask(discover({}, { chaddr: macOf(1) }))
    const { offers, rateLimited, silent } = muster.server.stats()
    expect([offers + silent, rateLimited]).toEqual([20, 30])
    expect(await muster.ask(discover({}, { chaddr: macOf(2) }))).toHaveLength(1)
  })

  test('neither rubbish nor one machine that floods uses up what packets there may be in all', async () => {
    const limits = { ...defaultDhcpLimits, maxPacketsPerSecond: 30 }
    await using muster = await serverOn({ now: () => 0, limits })
    for (let count = 0; count < 200; count += 1) {
      muster.segment.send(
        Uint8Array.of(0),
        { address: '10.9.0.66', port: 9 },
        { address: '255.255.255.255', port: 67 },
      )
      await muster.ask(discover({}, { chaddr: macOf(1) }))
    }
    expect(muster.server.stats()).toMatchObject({ malformed: 200, rateLimited: 180 })
    for (let last = 2; last <= 11; last += 1)
      expect(await muster.ask(discover({}, { chaddr: macOf(last) }))).toHaveLength(1)
    expect(await muster.ask(discover({}, { chaddr: macOf(12) }))).toEqual([])
  })

  test('the options of a packet are read only where it may pass: above the rate, broken ones are not even found', async () => {
    await using muster = await serverOn({ now: () => 0 })
    const broken = Buffer.concat([
      encodePacket(discover({}, { chaddr: macOf(1) }), 576).slice(0, 243),
      Buffer.from([12]),
    ])
    for (let count = 0; count < 50; count += 1) await muster.ask(broken)
    expect(muster.server.stats()).toMatchObject({ malformed: 20, rateLimited: 30 })
    expect(await muster.ask(discover({}, { chaddr: macOf(2) }))).toHaveLength(1)
  })

  test('invented machines fill no log: some answers are lines in it, and then how many more there were', async () => {
    const lines: { level: string; message: string | undefined; left?: number }[] = []
    const at = (level: string) => (fields: object, message?: string) =>
      void lines.push({ ...fields, level, message })
    const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
    const limits = { ...defaultDhcpLimits, maxLogLineBurst: 10 }
    const muster = await serverOn({ now: () => 0, limits, log, mode: 'proxy' })
    const rom = { 60: 'PXEClient:Arch:00007:UNDI:003016', 93: [0, 7] }
    for (let last = 1; last <= 40; last += 1) {
      await muster.ask(discover(rom, { chaddr: macOf(last) }))
      await muster.ask(Uint8Array.of(0))
    }
    await muster.server[Symbol.asyncDispose]()
    expect(muster.server.stats()).toMatchObject({ offers: 40, malformed: 40 })
    const written = (sentence: string) => lines.filter(({ message }) => message === sentence)
    expect(written('DHCP DISCOVER answered')).toHaveLength(10)
    expect(written('DHCP packet dropped')).toHaveLength(10)
    expect(written('30 more lines were left out: DHCP DISCOVER answered')).toMatchObject([
      { level: 'info', left: 30 },
    ])
    expect(written('30 more lines were left out: DHCP packet dropped')).toMatchObject([
      { level: 'debug', left: 30 },
    ])
  })

  test('a question at port 4011 from port 0, where no answer can go, is dropped', async () => {
    await using muster = await serverOn({ mode: 'proxy' })
    const asked = vectorBytes('ovmf-proxy-binl-5-4011-type3.bin')
    expect(await muster.ask(asked, '10.9.0.1', 4011, { address: '10.9.0.50', port: 0 })).toEqual([])
    expect(muster.server.stats()).toMatchObject({ malformed: 1, acks: 0 })
    // At port 67 the answer goes to port 68, whatever port the question came from.
    const odd = { address: '0.0.0.0', port: 0 }
    expect(
      await muster.ask(vectorBytes('ovmf-full-0-67-type1.bin'), '255.255.255.255', 67, odd),
    ).toHaveLength(1)
  })

  test('a packet that is sent again while its answer waits for a look at the address gets one answer', async () => {
    let looks = 0
    const inUse = async () => {
      looks += 1
      await sleep(30)
      return false
    }
    await using muster = await serverOn({ world: { inUse } })
    await muster.ask(discover())
    await muster.ask(discover())
    await sleep(40)
    expect([looks, muster.server.stats().offers]).toEqual([1, 1])
  })

  test('a client that wants more echoed than it takes gets nothing, and the next one is answered', async () => {
    await using muster = await serverOn()
    const greedy = {
      61: Array(250).fill(1),
      82: Array(250).fill(2),
      97: [0, ...Array(16).fill(3)],
      57: [2, 0x40],
    }
    const values = { 60: 'HTTPClient:Arch:00016', 93: [0, 16], ...greedy }
    expect(await muster.ask(discover(values, { chaddr: macOf(1) }))).toEqual([])
    expect(muster.server.stats()).toMatchObject({ silent: 1, offers: 0 })
    expect(await muster.ask(discover({}, { chaddr: macOf(2) }))).toHaveLength(1)
  })

  test('when it is stopped it has let go of every port', async () => {
    const muster = await serverOn()
    expect(muster.segment.openPorts).toBe(3)
    await muster.server[Symbol.asyncDispose]()
    expect(muster.segment.openPorts).toBe(0)
  })
})

describe('no loop', () => {
  test.each(['proxy', 'server'] as const)(
    'in mode %s a ROM gets iPXE once, and iPXE its script from then on',
    async (mode) => {
      await using muster = await serverOn({ mode })
      const [rom] = await muster.ask(
        discover({ 60: 'PXEClient:Arch:00000:UNDI:002001', 93: [0, 0], 55: [67] }),
      )
      expect(rom!.packet.file).toBe('undionly.kpxe')
      for (const run of ['ipxe-proxy43-0-67-type1.bin', 'tpm-ipxe-723-67-type1.bin']) {
        const [again] = await muster.ask(vectorBytes(run))
        expect(again!.packet.file).toBe('http://10.9.0.1:8080/boot/autoexec.ipxe')
      }
    },
  )
})

describe('who gives addresses here', () => {
  const ask = (segment: Segment, more: Partial<Parameters<typeof probeServers>[0]> = {}) =>
    probeServers({
      engine: segment.engine('10.9.0.9'),
      address: '10.9.0.9',
      ports: dhcpPorts,
      waitMs: 20,
      random: (bytes) => new Uint8Array(bytes).fill(bytes),
      wait: (ms) => sleep(ms),
      ...more,
    })

  test('a question of our own finds another server, what it offers, and that it is a Muster', async () => {
    await using muster = await serverOn()
    expect(await ask(muster.segment)).toEqual([
      { server: '10.9.0.1', address: '10.9.0.50', nextServer: '0.0.0.0', file: '', muster: 'server' },
    ])
    await using proxy = await serverOn({ mode: 'proxy', yields: true })
    expect(await ask(proxy.segment)).toEqual([])
    const asRom = { vendorClass: 'PXEClient:Arch:00007:UNDI:003000', architecture: 7 }
    expect(await ask(proxy.segment, asRom)).toEqual([
      {
        server: '10.9.0.1',
        address: '0.0.0.0',
        nextServer: '10.9.0.1',
        file: 'ipxe-amd64.efi',
        muster: 'auto',
      },
    ])
  })

  test('nobody answers an empty segment, and answers to somebody else are not ours', async () => {
    const segment = new Segment()
    const asked = ask(segment)
    await sleep(5)
    const foreign = encodePacket({ ...request(2), op: 'reply', xid: 99 }, 576)
    segment.send(foreign, { address: '10.9.0.3', port: 67 }, { address: '255.255.255.255', port: 68 })
    segment.send(
      new Uint8Array(9),
      { address: '10.9.0.3', port: 67 },
      { address: '255.255.255.255', port: 68 },
    )
    expect(await asked).toEqual([])
    expect(segment.openPorts).toBe(0)
  })

  /** What is judged of offers that arrive in this order; the real server is 10.9.0.254. */
  async function judged(forged: (xid: number) => DhcpPacket[]) {
    const segment = new Segment()
    const asked = ask(segment)
    await sleep(5)
    const { xid } = parsePacket(segment.sent[0]!.bytes)
    for (const packet of forged(xid))
      segment.send(
        encodePacket(packet, 1472),
        { address: '10.9.0.66', port: 67 },
        { address: '255.255.255.255', port: 68 },
      )
    return judgeOffers(await asked, ['10.9.0.9'])
  }
  const said = (xid: number, server: string, yiaddr: string, mark?: string): DhcpPacket => {
    const values = { 54: server, ...(mark === undefined ? {} : { 224: mark }) }
    return { ...request(2, values), op: 'reply', xid, yiaddr }
  }
  const real = (xid: number) => said(xid, '10.9.0.254', '10.9.0.70')
  const standsBack = { mode: 'proxy', because: '10.9.0.254 offers addresses here' }
  const many = (one: (index: number) => DhcpPacket) => Array.from({ length: 70 }, (_, index) => one(index))

  test.each<[what: string, forged: (xid: number) => DhcpPacket[]]>([
    [
      'a later offer in its name, of a Muster',
      (xid) => [real(xid), said(xid, '10.9.0.254', '10.9.0.70', 'auto')],
    ],
    ['an earlier one', (xid) => [said(xid, '10.9.0.254', '10.9.0.70', 'auto'), real(xid)]],
    [
      'a crowd of proxies before it',
      (xid) => [...many((one) => said(xid, `10.9.1.${one}`, '0.0.0.0')), real(xid)],
    ],
    [
      'a crowd of Musters that would step back',
      (xid) => [...many((one) => said(xid, `10.9.1.${one}`, '10.9.0.70', 'auto')), real(xid)],
    ],
  ])('a server is not hidden by %s', async (_, forged) => {
    expect(await judged(forged)).toEqual(standsBack)
  })

  test('offers that are invented by the hundred take bounded room, whatever marks they have', async () => {
    const segment = new Segment()
    const asked = ask(segment)
    await sleep(5)
    const { xid } = parsePacket(segment.sent[0]!.bytes)
    for (let one = 0; one < 600; one += 1)
      segment.send(
        encodePacket(said(xid, `10.9.${one >> 8}.${one & 255}`, '10.9.0.70', `mark ${one}`), 1472),
        { address: '10.9.0.66', port: 67 },
        { address: '255.255.255.255', port: 68 },
      )
    expect(await asked).toHaveLength(64)
  })

  const offer = (server: string, more: Partial<Offer> = {}): Offer => ({
    ...{ server, address: '10.9.0.70', nextServer: '0.0.0.0', file: '', muster: undefined },
    ...more,
  })
  test.each([
    ['nobody', [], 'server'],
    ['our own answer', [offer('10.9.0.5')], 'server'],
    ['a router', [offer('10.9.0.254')], 'proxy'],
    ['another proxy, which gives no address', [offer('10.9.0.254', { address: '0.0.0.0' })], 'server'],
    ['a Muster that never steps back', [offer('10.9.0.9', { muster: 'server' })], 'proxy'],
    ['a Muster in mode auto with a lower address', [offer('10.9.0.2', { muster: 'auto' })], 'proxy'],
    ['a Muster in mode auto with a higher address', [offer('10.9.0.9', { muster: 'auto' })], 'server'],
  ])('%s on the segment: %s', (_, offers, mode) => {
    expect(judgeOffers(offers as Offer[], ['10.9.0.5']).mode).toBe(mode)
  })
})

describe('mode auto', () => {
  const lines: string[] = []
  const log: Log = { ...silentLog, warn: (_, message) => void lines.push(message ?? '') }

  test('gives addresses after nobody answered twice, steps back when somebody does, and says so once', async () => {
    lines.length = 0
    await using muster = await serverOn({ mode: 'proxy' })
    let found: Offer[] = []
    await using auto = startAuto({
      ...{ server: muster.server, addresses: ['10.9.0.1'], canServe: true, recheckMs: 10, log },
      ask: async () => found,
    })
    expect(muster.server.mode).toBe('proxy')
    await auto.settled
    expect(muster.server.mode).toBe('server')
    found = [
      { server: '10.9.0.254', address: '10.9.0.70', nextServer: '0.0.0.0', file: '', muster: undefined },
    ]
    await sleep(40)
    expect(muster.server.mode).toBe('proxy')
    expect(lines).toEqual([
      'DHCP mode auto: nobody else offers addresses here, so Muster gives them',
      'DHCP mode auto: 10.9.0.254 offers addresses here, so Muster is a proxy and gives none',
    ])
  })

  test('two that start at once end with one server, the one with the lower address', async () => {
    const segment = new Segment()
    const start = async (address: string) => {
      const muster = await serverOn({ segment, address, mode: 'proxy', yields: true })
      const auto = startAuto({
        ...{ server: muster.server, addresses: [address], canServe: true, recheckMs: 40, log: silentLog },
        ask: (signal) =>
          probeServers({
            ...{ engine: segment.engine(address), address, ports: dhcpPorts, waitMs: 15 },
            random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
            onAddress: (mac) => muster.server.ignore(mac),
            wait: (ms) => sleep(ms, undefined, { signal }),
          }),
      })
      return { muster, auto }
    }
    const [low, high] = [await start('10.9.0.1'), await start('10.9.0.2')]
    await sleep(300)
    expect([low.muster.server.mode, high.muster.server.mode]).toEqual(['server', 'proxy'])
    for (const { auto, muster } of [low, high]) {
      await auto[Symbol.asyncDispose]()
      await muster.server[Symbol.asyncDispose]()
    }
    expect(segment.openPorts).toBe(0)
  })

  test("where this machine's own DHCP client has port 68, somebody gives addresses: it stays a proxy", async () => {
    lines.length = 0
    await using muster = await serverOn({ mode: 'proxy' })
    const engine = muster.segment.engine('10.9.0.1', [68])
    await using auto = startAuto({
      ...{ server: muster.server, addresses: ['10.9.0.1'], canServe: true, recheckMs: 1000, log },
      ask: () =>
        probeServers({
          ...{ engine, address: '10.9.0.1', ports: dhcpPorts, waitMs: 5, wait: (ms) => sleep(ms) },
          random: (bytes) => new Uint8Array(bytes),
        }),
    })
    await auto.settled
    expect(muster.server.mode).toBe('proxy')
    expect(lines.join()).toContain('own DHCP client has port 68')
  })

  test('without a pool it has nothing to give, and says that', async () => {
    lines.length = 0
    await using muster = await serverOn({ mode: 'proxy' })
    await using auto = startAuto({
      ...{ server: muster.server, addresses: ['10.9.0.1'], canServe: false, recheckMs: 1000, log },
      ask: async () => [],
    })
    await auto.settled
    expect(muster.server.mode).toBe('proxy')
    expect(lines.join()).toContain('there is no dhcp.pools to give from')
  })
})

describe('on real sockets', () => {
  test('a broadcast on loopback is received, and the reply broadcast from the chosen address', async () => {
    const ports = { server: 16_067, client: 16_068, pxe: 16_411 }
    await using muster = await serverOn({
      engine: dgramEngine,
      address: '127.0.0.1',
      ports,
      world: {
        pools: { '127.0.0.0/8': { range: '127.0.9.1-127.0.9.9', dns: [], ntp: [], leaseSeconds: 600 } },
      },
    })
    const offers = await probeServers({
      ...{ engine: dgramEngine, address: '127.0.0.1', ports, waitMs: 150, wait: (ms) => sleep(ms) },
      random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
    })
    expect(offers).toMatchObject([{ server: '127.0.0.1', address: '127.0.9.1' }])
    expect(muster.server.stats()).toMatchObject({ offers: 1 })
  })

  test('a port that another program has is named, with the way out', async () => {
    const port = await dgramEngine.bind({ host: '127.0.0.1', port: 16_069, onDatagram() {}, onError() {} })
    try {
      await dgramEngine.bind({ host: '127.0.0.1', port: 16_069, onDatagram() {}, onError() {} })
      expect.fail('nothing was thrown')
    } catch (error) {
      expect(errorCodeOf(error)).toBe('listen-failed')
      expect((error as Error).message).toContain('another DHCP server runs on this machine')
    }
    await port.close()
  })
})

test('a captured packet of every firmware is answered within its own exchange', async () => {
  // xid and hardware address are how firmware knows its answer; a server must not mix up two exchanges.
  await using muster = await serverOn()
  const asked = ['ovmf-full-0-67-type1', 'uboot-arm64-0-67-type1'].map(vector)
  for (const packet of asked)
    muster.segment.send(
      encodePacket(packet, 1472),
      { address: '0.0.0.0', port: 68 },
      { address: '255.255.255.255', port: 67 },
    )
  await sleep(10)
  const replies = muster.segment.sent.slice(2).map(({ bytes }) => parsePacket(bytes))
  expect(replies.map(({ xid }) => xid)).toEqual(asked.map(({ xid }) => xid))
})
