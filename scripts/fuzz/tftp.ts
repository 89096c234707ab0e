/**
 * `npm run fuzz -- tftp [--packets N] [--seed N]`: random and mutated packets against the codec, against the transfer's
 * state machine, and against a live server on loopback with each engine. Nothing but our errors may come of it, no descriptor and no
 * transfer may stay, and after each round the next client gets its file. Exits 1 at the first thing that is not so.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MusterError } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import { encodePacket, type Packet, parsePacket } from '../../src/tftp/packet.ts'
import { type EngineChoice, startTftpServer } from '../../src/tftp/start.ts'
import { Transfer } from '../../src/tftp/transfer.ts'
import { seededRandom } from '../../test/support/seeded-random.ts'
import { RawClient } from '../../test/tftp/raw-client.ts'

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
type Draw = () => number

export async function run({ packets, seed }: { packets: number; seed: number }): Promise<void> {
  const draw = seededRandom(seed)
  const shares = [
    ['codec', 0.4, fuzzCodec],
    ['transfer', 0.4, fuzzTransfer],
    ['server/dgram', 0.05, (count: number) => fuzzServer('dgram', count, draw)],
    ['server/batched', 0.15, (count: number) => fuzzServer('batched', count, draw)],
  ] as const
  for (const [name, share, fuzz] of shares) {
    const count = Math.round(packets * share)
    const started = performance.now()
    const said = await fuzz(count, draw)
    const seconds = (performance.now() - started) / 1000
    console.log(`${name.padEnd(16)}${String(count).padStart(10)} packets in ${seconds.toFixed(1)} s: ${said}`)
  }
}

const whole = (draw: Draw, below: number): number => Math.floor(draw() * below)
const pick = <T>(draw: Draw, list: readonly T[]): T => list[whole(draw, list.length)] as T

const names = [
  'small',
  'large',
  'pxelinux.cfg/default',
  '../../etc/passwd',
  '',
  'a'.repeat(300),
  '%s%n',
  'ü\u0000',
]
const optionNames = ['blksize', 'tsize', 'windowsize', 'timeout', 'BLKSIZE', 'multicast', '']
const optionValues = ['0', '1', '8', '512', '1468', '65464', '65536', '-1', '4294967296', '1e3', '', '٣']

/** A packet that somebody could have meant. */
function plausible(draw: Draw): Packet {
  const options = new Map(
    Array.from({ length: whole(draw, 4) }, () => [pick(draw, optionNames), pick(draw, optionValues)]),
  )
  switch (whole(draw, 6)) {
    case 0:
      return {
        op: 'read',
        filename: pick(draw, names),
        mode: pick(draw, ['octet', 'netascii', 'mail']),
        options,
      }
    case 1:
      return { op: 'write', filename: pick(draw, names), mode: 'octet', options }
    case 2:
      return { op: 'data', block: whole(draw, 65_536), data: new Uint8Array(whole(draw, 600)) }
    case 3:
      return { op: 'ack', block: pick(draw, [0, 1, 2, 15, 16, 17, whole(draw, 65_536)]) }
    case 4:
      return { op: 'error', code: whole(draw, 10), message: 'stop' }
    default:
      return { op: 'oack', options }
  }
}

/** Random bytes, or a plausible packet with bytes changed, cut off, doubled. */
function hostile(draw: Draw): Uint8Array {
  if (draw() < 0.2) return Uint8Array.from({ length: whole(draw, 80) }, () => whole(draw, 256))
  let bytes: Uint8Array
  try {
    bytes = encodePacket(plausible(draw))
  } catch {
    return Uint8Array.of(0, whole(draw, 7))
  }
  const changes = whole(draw, 4)
  for (let change = 0; change < changes && bytes.length > 0; change += 1) {
    const at = whole(draw, bytes.length)
    const kind = draw()
    if (kind < 0.6) bytes[at] = whole(draw, 256)
    else if (kind < 0.8) bytes = bytes.slice(0, at)
    else bytes = Uint8Array.from([...bytes.slice(0, at), ...bytes.slice(at / 2)])
  }
  return bytes
}

function fuzzCodec(count: number, draw: Draw): string {
  let parsed = 0
  for (let packet = 0; packet < count; packet += 1) {
    const bytes = hostile(draw)
    try {
      const found = parsePacket(bytes)
      parsed += 1
      // What was understood can be said again, and means the same.
      if (found.op === 'ack' && parsePacket(encodePacket(found)).op !== 'ack')
        throw new Error('not an ACK any more')
    } catch (error) {
      if (!(error instanceof MusterError) || error.code !== 'packet-invalid') fail('codec', bytes, error)
    }
  }
  return `${parsed} understood, the others refused`
}

/** Events in any order at any time: nothing may be sent that is not loaded, not in the window, or after the end. */
function fuzzTransfer(count: number, draw: Draw): string {
  let events = 0
  let transfers = 0
  while (events < count) {
    transfers += 1
    const windowBlocks = pick(draw, [1, 2, 4, 16, 64])
    const last = 1 + whole(draw, pick(draw, [3, 100, 200_000]))
    const transfer = new Transfer({
      ...{ negotiates: draw() < 0.5, windowBlocks, firstRetransmitMs: 1000 },
      ...{ minRetransmitMs: 20, maxRetransmitMs: 5000, giveUpAfterMs: 20_000 },
    })
    let nowMs = 0
    let loaded = 0
    let step = transfer.start(nowMs)
    for (let event = 0; event < 200 && step.ended === undefined; event += 1) {
      events += 1
      nowMs += draw() < 0.1 ? draw() * 8000 : draw() * 3
      const kind = draw()
      const base = transfer.base
      if (kind < 0.6) step = transfer.acknowledged((base + whole(draw, 2 * windowBlocks) - 2) & 0xffff, nowMs)
      else if (kind < 0.7) step = transfer.acknowledged(whole(draw, 65_536), nowMs)
      else if (kind < 0.85) step = transfer.wake(nowMs)
      else if (kind < 0.86) step = transfer.requestedAgain(nowMs)
      else if (kind < 0.861) step = transfer.clientError()
      else {
        loaded = Math.min(last, loaded + whole(draw, 2 * windowBlocks))
        step = transfer.loaded(loaded, loaded === last ? last : undefined, nowMs)
      }
      const isSound =
        step.send !== 'blocks' ||
        (step.first >= transfer.base &&
          step.last <= loaded &&
          step.last < transfer.base + windowBlocks &&
          step.first <= step.last)
      if (!isSound || !(step.wakeAtMs > 0)) fail('transfer', Uint8Array.of(), new Error(JSON.stringify(step)))
    }
  }
  return `${transfers} transfers`
}

const descriptors = (): number => readdirSync('/proc/self/fd').length
const packetsPerRound = 20_000

async function fuzzServer(engine: EngineChoice, count: number, draw: Draw): Promise<string> {
  const content = Buffer.from(Uint8Array.from({ length: 100_000 }, () => whole(draw, 256)))
  let open = 0
  const before = descriptors()
  const server = await startTftpServer({
    ...{ log: silentLog, engine, limits: { giveUpAfterMs: 1000, maxTransfersPerClient: 64 } },
    open: async ({ filename }) => {
      if (filename === 'missing') throw new MusterError('file-not-found', 'there is none')
      open += 1
      return {
        size: content.length,
        read: async (offset, length) => content.subarray(offset, offset + length),
        close: async () => {
          open -= 1
        },
      }
    },
  })
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  const megabytes: number[] = []
  for (let sent = 0; sent < count; sent += packetsPerRound) {
    await flood(port, Math.min(packetsPerRound, count - sent), draw, sent / packetsPerRound)
    // From another address than the flood, which has used up its rate of requests.
    await using client = await RawClient.open('127.0.0.2', '127.0.0.1')
    const got = await client.fetch('large', port, { blksize: '1468' })
    if (!got.equals(content)) fail(engine, Uint8Array.of(), new Error('the next client got something else'))
    megabytes.push(process.memoryUsage.rss() / 1e6)
  }
  for (let step = 0; step < 100 && server.stats().active > 0; step += 1) await sleep(50)
  const stats = server.stats()
  await server[Symbol.asyncDispose]()
  await sleep(50)
  if (stats.active > 0 || open > 0 || descriptors() > before)
    fail(
      engine,
      Uint8Array.of(),
      new Error(`left: ${stats.active} transfers, ${open} files, ${descriptors() - before} descriptors`),
    )
  const growth = (megabytes.at(-1) ?? 0) - (megabytes[Math.floor(megabytes.length / 2)] ?? 0)
  if (growth > 100)
    fail(engine, Uint8Array.of(), new Error(`memory grew by ${growth.toFixed(0)} MB in the second half`))
  return `${stats.requests} requests, ${stats.malformed} malformed, ${stats.unknownPeers} from strangers, ${stats.outcomes.completed + stats.outcomes.unconfirmed} files sent; ${megabytes.length} next clients answered, memory ${growth.toFixed(1)} MB more than half-way`
}

/** Hostile packets at the request port and at the ports that answered, from some sockets of one address. */
async function flood(port: number, count: number, draw: Draw, round: number): Promise<void> {
  // Each round from an address of its own, so that not all requests meet an empty bucket.
  const host = `127.${1 + (Math.floor(round / 250) % 250)}.0.${1 + (round % 250)}`
  const sockets = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const socket = createSocket('udp4')
      socket.bind(0, host)
      await once(socket, 'listening')
      return socket
    }),
  )
  const ports = [port]
  for (const socket of sockets)
    socket.on('message', (_, from) => {
      if (ports.length < 64 && !ports.includes(from.port)) ports.push(from.port)
    })
  for (let packet = 0; packet < count; packet += 1) {
    const to = draw() < 0.6 ? port : pick(draw, ports)
    pick(draw, sockets).send(hostile(draw), to, '127.0.0.1')
    // The kernel would only throw away what nobody has time to take.
    if (packet % 50 === 49) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(sockets.map((socket) => new Promise<void>((resolve) => socket.close(resolve))))
}

function fail(where: string, bytes: Uint8Array, error: unknown): never {
  throw new Error(`fuzz tftp: ${where}: ${Buffer.from(bytes).toString('hex')}`, { cause: error })
}
