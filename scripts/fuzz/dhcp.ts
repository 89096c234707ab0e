/**
 * Random and mutated DHCP packets against codec, client, modes and leases, and every thousandth against a live server on
 * loopback. Seeds are the packets of real clients. Wrong is: anything thrown but our error, a reply that does not read back, a proxy that
 * offers an address, memory that grows, a next client that is not answered.
 */
import { createDhcpBoot } from '../../src/boot/dhcp.ts'
import { dgramEngine } from '../../src/dhcp/engines/dgram.ts'
import { defaultDhcpLimits } from '../../src/dhcp/limits.ts'
import { type DhcpPacket, encodePacket, parsePacket } from '../../src/dhcp/packet.ts'
import { createPools } from '../../src/dhcp/pool.ts'
import { destinationOf, replyLimit } from '../../src/dhcp/reply.ts'
import { type DhcpMode, Responder } from '../../src/dhcp/responder.ts'
import { createDhcpServer, dhcpPorts } from '../../src/dhcp/server.ts'
import { chooseEngine } from '../../src/dhcp/start.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import { request, vectorBytes, vectorNames } from '../../test/dhcp/world.ts'
import { createDice, mutate, usedBytes } from './mutate.ts'

const maxBytes = 1500
const liveEvery = 1000
const checkEvery = 500_000
const growthBytesMax = 64 << 20
/** Whose packets came before must not matter to it: an address of its own is kept for it. */
const nextClient = Uint8Array.of(0x52, 0x54, 0, 0xaa, 0xbb, 0xcc)
/** The server that the captured packets speak to, and one on loopback. */
const captured = { server: '10.9.0.1', relay: '10.9.0.254', network: '10.9' }
const loopback = { server: '127.0.0.1', relay: '127.0.0.2', network: '127.0' }
type Place = typeof captured
const livePorts = { server: 17_067, client: 17_068, pxe: 17_411 }

export async function run({ packets, seed }: { packets: number; seed: number }): Promise<void> {
  const dice = createDice(seed)
  const seeds = vectorNames.map(vectorBytes)
  let nowMs = 1_800_000_000_000
  const responder = responderOf(() => nowMs, captured)
  await using live = await startLive()
  const counts = { malformed: 0, silent: 0, replies: 0, live: 0 }
  const startedMs = performance.now()
  let usedAtFirst = 0
  for (let index = 0; index < packets; index += 1) {
    const bytes = mutate(seeds, dice, maxBytes)
    nowMs += dice.roll(20)
    const mode = dice.roll(2) === 0 ? 'proxy' : 'server'
    try {
      counts[await tryOne(bytes, responder, mode, dice.roll(8) === 0 ? 'pxe' : 'dhcp')] += 1
    } catch (error) {
      console.error(`packet ${index}, mode ${mode}: ${Buffer.from(bytes).toString('hex')}`)
      throw error
    }
    if (index % liveEvery === 0) {
      live.send(bytes)
      counts.live += 1
    }
    if (index % checkEvery === 0) {
      await expectNextClient(responder)
      await live.expectNextClient()
      const used = await usedBytes()
      // The first rounds fill caches and pools.
      if (index === checkEvery || (index === 0 && packets <= checkEvery)) usedAtFirst = used
      if (usedAtFirst > 0 && used > usedAtFirst + growthBytesMax)
        throw new Error(`memory grew from ${usedAtFirst} to ${used} bytes`)
      const rate = Math.round(index / ((performance.now() - startedMs) / 1000))
      console.log(
        `${String(index).padStart(9)}  ${rate}/s  ${Math.round(used / 1e6)} MB  ${JSON.stringify(counts)}`,
      )
    }
  }
  await expectNextClient(responder)
  await live.expectNextClient()
  const seconds = Math.round((performance.now() - startedMs) / 1000)
  console.log(`${packets} packets in ${seconds} s: ${JSON.stringify(counts)}; the next client is answered`)
}

async function tryOne(
  bytes: Uint8Array,
  responder: Responder,
  mode: DhcpMode,
  port: 'dhcp' | 'pxe',
): Promise<'malformed' | 'silent' | 'replies'> {
  let packet: DhcpPacket
  try {
    packet = parsePacket(bytes)
  } catch (error) {
    if (errorCodeOf(error) !== 'packet-invalid') throw error
    return 'malformed'
  }
  const { reply } = await responder.decide(packet, mode, {
    port,
    cameBy: 'broadcast',
    server: captured.server,
  })
  if (reply === undefined) return 'silent'
  if (mode === 'proxy' && reply.yiaddr !== '0.0.0.0') throw new Error('a proxy offered an address')
  const { address } = destinationOf(packet, reply, dhcpPorts)
  if (port === 'dhcp' && address !== '255.255.255.255' && !address.startsWith(`${captured.network}.`))
    throw new Error(`a reply to ${address}, which is none of ours`)
  const encoded = encodePacket(reply, replyLimit(packet))
  if (parsePacket(encoded).xid !== packet.xid) throw new Error('a reply reads back as another exchange')
  return 'replies'
}

function responderOf(now: () => number, { network }: Place): Responder {
  const pool = { range: `${network}.0.50-${network}.3.250`, dns: [], ntp: [], leaseSeconds: 600 }
  const mac = Array.from(nextClient, (byte) => byte.toString(16).padStart(2, '0')).join(':')
  return new Responder({
    pools: createPools({ [`${network}.0.0/16`]: pool }, { [mac]: { address: `${network}.9.9` } }),
    boot: createDhcpBoot({ advertise: undefined, ports: () => ({ firmware: 8080, tftp: 69 }) }),
    store: { load: async () => [], put: async () => {} },
    inUse: undefined,
    limits: defaultDhcpLimits,
    log: silentLog,
    now,
  })
}

const question = (xid: number, { relay }: Place): DhcpPacket =>
  request(
    1,
    { 60: 'PXEClient:Arch:00007:UNDI:003000', 93: [0, 7] },
    { chaddr: nextClient, giaddr: relay, xid },
  )

async function expectNextClient(responder: Responder): Promise<void> {
  const arrival = { port: 'dhcp' as const, cameBy: 'unicast' as const, server: captured.server }
  const offer = await responder.decide(question(1, captured), 'server', arrival)
  if (offer.reply?.yiaddr !== '10.9.9.9')
    throw new Error(`the next client got no address: ${offer.because.join('; ')}`)
  const proxied = await responder.decide(question(2, captured), 'proxy', arrival)
  if (proxied.reply?.file !== 'ipxe-amd64.efi')
    throw new Error(`the next client got no boot file: ${proxied.because.join('; ')}`)
}

/** A whole server on loopback, asked as a relay asks, because only a relay is answered by an address. */
async function startLive() {
  const { maxPacketBytes } = defaultDhcpLimits
  const running = createDhcpServer({
    responder: responderOf(Date.now, loopback),
    engine: await chooseEngine({ log: silentLog, maxPacketBytes }),
    mode: 'server',
    addresses: [loopback.server],
    ports: livePorts,
    limits: { ...defaultDhcpLimits, maxPacketBurstPerClient: 1000 },
    log: silentLog,
  })
  await running.listen()
  let heard: (() => void) | undefined
  let xid = 0
  const port = await dgramEngine.bind({
    host: loopback.relay,
    port: livePorts.server,
    onDatagram: (bytes) => {
      if (parsePacket(bytes).xid === xid) heard?.()
    },
    onError: (error) => {
      throw error
    },
  })
  const to = { address: loopback.server, port: livePorts.server }
  return {
    send: (bytes: Uint8Array) => port.send(bytes, to),
    async expectNextClient() {
      for (let attempt = 0; attempt < 5; attempt += 1) {
        xid += 1
        const answered = Promise.withResolvers<boolean>()
        heard = () => answered.resolve(true)
        const timer = setTimeout(() => answered.resolve(false), 1000)
        port.send(encodePacket(question(xid, loopback), 1472), to)
        const isAnswered = await answered.promise
        clearTimeout(timer)
        if (isAnswered) return
      }
      throw new Error(`the live server does not answer the next client: ${JSON.stringify(running.stats())}`)
    },
    async [Symbol.asyncDispose]() {
      await port.close()
      await running[Symbol.asyncDispose]()
      console.log(`live server: ${JSON.stringify(running.stats())}`)
    },
  }
}
