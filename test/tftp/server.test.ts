import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import { loadLibc } from '../../src/datagram/libc.ts'
import { Outbox } from '../../src/datagram/outbox.ts'
import { encodeAddress } from '../../src/datagram/socket-address.ts'
import { errorCodeOf, MusterError } from '../../src/errors.ts'
import { type Log, silentLog } from '../../src/log.ts'
import type { TftpFile, TftpRequest } from '../../src/tftp/file.ts'
import type { TftpLimits } from '../../src/tftp/limits.ts'
import { encodePacket, type Packet } from '../../src/tftp/packet.ts'
import type { Refusal, TransferReport } from '../../src/tftp/reports.ts'
import type { TftpServer } from '../../src/tftp/server.ts'
import { type EngineChoice, startTftpServer, type TftpServerOptions } from '../../src/tftp/start.ts'
import { RawClient } from './raw-client.ts'

type Site = AsyncDisposable & {
  server: TftpServer
  port: number
  asked: TftpRequest[]
  reports: TransferReport[]
  refusals: Refusal[]
  openFiles(): number
}

const files: Record<string, Buffer> = {
  empty: Buffer.alloc(0),
  small: Buffer.from('hello\n'),
  'exact-block': randomBytes(1024),
  large: randomBytes(300_000),
  huge: randomBytes(2_000_000),
}

const engines: EngineChoice[] = ['dgram', 'batched']
let engine: EngineChoice = 'dgram'

const start = (options: Omit<TftpServerOptions, 'log' | 'engine'>) =>
  startTftpServer({ ...options, engine, log: silentLog })

/** A server on loopback that offers `files`, and `broken`, `slow`, `secret`, `lying` by their names. */
async function site(limits: Partial<TftpLimits> = {}, host = '127.0.0.1'): Promise<Site> {
  const asked: TftpRequest[] = []
  const reports: TransferReport[] = []
  let open = 0
  const refusals: Refusal[] = []
  const server = await start({
    limits,
    onTransfer: (report) => reports.push(report),
    onRefused: (refusal) => refusals.push(refusal),
    open: async (request): Promise<TftpFile> => {
      asked.push(request)
      const { filename } = request
      if (filename === 'slow') await sleep(200)
      if (filename === 'secret') throw new MusterError('access-denied', 'not for you')
      if (filename === 'broken') throw new RangeError('nobody foresaw this')
      const content =
        files[filename] ?? (filename === 'slow' || filename === 'lying' ? files['large'] : undefined)
      if (content === undefined) throw new MusterError('file-not-found', `there is no ${filename}`)
      open += 1
      return {
        size: content.length,
        read: async (offset, length) =>
          filename === 'lying' && offset > 100_000
            ? new Uint8Array()
            : // Short reads are allowed, so this file system makes them.
              content.subarray(offset, offset + Math.min(length, 40_000)),
        close: async () => {
          open -= 1
        },
      }
    },
  })
  const { port } = await server.listen({ host, port: 0 })
  return {
    server,
    port,
    asked,
    reports,
    refusals,
    openFiles: () => open,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let step = 0; step < 200 && !condition(); step += 1) await sleep(10)
  expect(condition()).toBe(true)
}

describe.each(engines)('a TFTP server with the engine %s', (name) => {
  beforeEach(() => {
    engine = name
  })

  test.each(Object.keys(files))('sends %s as it is', async (name) => {
    await using here = await site()
    await using client = await RawClient.open()
    expect(await client.fetch(name, here.port)).toEqual(files[name])
    const options = { blksize: '1400', windowsize: '1', tsize: '0' }
    expect(await client.fetch(name, here.port, options)).toEqual(files[name])
    await until(() => here.server.stats().active === 0)
    expect(here.openFiles()).toBe(0)
    expect(here.server.stats().outcomes.completed).toBe(2)
  })

  test('answers options with what is granted, the size among them', async () => {
    await using here = await site({ mtuBytes: 1500 })
    await using client = await RawClient.open()
    client.read('large', here.port, {
      BLKSIZE: '8192',
      tsize: '0',
      windowsize: '64',
      timeout: '5',
      rubbish: '1',
    })
    const answer = await client.next()
    expect(answer?.packet).toEqual({
      op: 'oack',
      options: new Map([
        ['blksize', '1468'],
        ['tsize', '300000'],
        ['windowsize', '16'],
        ['timeout', '5'],
      ]),
    })
    expect(answer?.port).not.toBe(here.port)
  })

  test('speaks IPv6, where a block is 20 bytes smaller', async () => {
    await using here = await site({}, '::1')
    await using client = await RawClient.open('::1')
    client.read('large', here.port, { blksize: '8192' })
    expect((await client.next())?.packet).toEqual({ op: 'oack', options: new Map([['blksize', '1448']]) })
    await using other = await RawClient.open('::1')
    expect(await other.fetch('large', here.port)).toEqual(files['large'])
    expect(here.asked[1]?.client.address).toBe('::1')
  })

  test('hands names on in one form, with the client and the mode', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    expect(await client.fetch('/\\small', here.port, {}, 'NetASCII')).toEqual(Buffer.from('hello\r\n'))
    expect(here.asked).toMatchObject([
      { filename: 'small', client: { address: '127.0.0.1' }, mode: 'netascii' },
    ])
  })

  test.each([
    ['missing', 'error 1: file not found'],
    ['secret', 'error 2: access denied'],
    ['../secret', 'error 2: access denied'],
    ['x'.repeat(300), 'error 2: access denied'],
    ['broken', 'error 0: server error'],
  ])('answers a request for %s with %s', async (name, message) => {
    await using here = await site()
    await using client = await RawClient.open()
    await expect(client.fetch(name, here.port)).rejects.toThrow(message)
    expect(here.server.stats()).toMatchObject({ refused: 1, active: 0 })
    await until(() => here.refusals.length === 1)
    const code = name === 'missing' ? 'file-not-found' : name === 'broken' ? 'internal' : 'access-denied'
    expect(here.refusals).toMatchObject([{ client: { address: '127.0.0.1' }, filename: name, code }])
  })

  test('refuses to be written to, and modes that nobody uses', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    client.send({ op: 'write', filename: 'small', mode: 'octet', options: new Map() }, here.port)
    expect((await client.next())?.packet).toMatchObject({ op: 'error', code: 4 })
    await expect(client.fetch('small', here.port, {}, 'mail')).rejects.toThrow('error 4')
    expect(here.asked).toEqual([])
  })

  test('answers the same request twice without a second transfer', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    client.read('large', here.port, { tsize: '0' })
    const first = await client.next()
    client.read('large', here.port, { tsize: '0' })
    const second = await client.next()
    expect(second).toEqual(first)
    expect(here.asked).toHaveLength(1)
    expect(here.server.stats()).toMatchObject({ duplicates: 1, active: 1 })
  })

  test('a request that is repeated while the file is being opened opens it once', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    client.read('slow', here.port)
    client.read('slow', here.port)
    expect(await client.fetch('slow', here.port)).toEqual(files['large'])
    expect(here.asked).toHaveLength(1)
  })

  test('a client that asks for another file from the same port has given up the first', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    client.read('large', here.port)
    await client.next()
    expect(await client.fetch('small', here.port)).toEqual(files['small'])
    await until(() => here.openFiles() === 0)
    expect(here.reports.map((report) => report.outcome)).toEqual(['cancelled', 'completed'])
  })

  test('a stranger at a transfer’s port is told so, and the transfer goes on', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    await using stranger = await RawClient.open()
    client.read('large', here.port, { blksize: '1024' })
    const oack = await client.next()
    const port = oack?.port ?? 0
    stranger.send({ op: 'error', code: 0, message: 'stop' }, port)
    stranger.send({ op: 'ack', block: 0 }, port)
    const answers = [await stranger.next(), await stranger.next(100)]
    expect(answers).toMatchObject([{ packet: { op: 'error', code: 5 } }, undefined])
    client.send({ op: 'ack', block: 0 }, port)
    expect((await client.next())?.packet).toMatchObject({ op: 'data', block: 1 })
    expect(here.server.stats().unknownPeers).toBe(2)
  })

  test('an error after the OACK is a client that asked for the size', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    client.read('large', here.port, { tsize: '0' })
    const oack = await client.next()
    client.send({ op: 'error', code: 8, message: 'User aborted the transfer' }, oack?.port ?? 0)
    await until(() => here.server.stats().outcomes.probed === 1)
    expect(here.openFiles()).toBe(0)
  })

  test('sends a lost block again, sooner than any client would ask', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    client.read('large', here.port, { blksize: '1024' })
    const oack = await client.next()
    client.send({ op: 'ack', block: 0 }, oack?.port ?? 0)
    const started = performance.now()
    expect((await client.next())?.packet).toMatchObject({ op: 'data', block: 1 })
    expect((await client.next())?.packet).toMatchObject({ op: 'data', block: 1 })
    expect(performance.now() - started).toBeLessThan(500)
  })

  test('a file that turns out shorter than announced does not look complete', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    await expect(client.fetch('lying', here.port)).rejects.toThrow('error 0: server error')
    await until(() => here.server.stats().outcomes.failed === 1)
    expect(here.openFiles()).toBe(0)
  })

  test('one address has so many transfers at a time, and others are served all the same', async () => {
    await using here = await site({ maxTransfersPerClient: 2, firstRetransmitMs: 5000 })
    const busy = await Promise.all([1, 2].map(() => RawClient.open()))
    for (const client of busy) {
      client.read('huge', here.port, { blksize: '512' })
      const oack = await client.next()
      client.send({ op: 'ack', block: 0 }, oack?.port ?? 0)
      const data = await client.next()
      client.send({ op: 'ack', block: 1 }, data?.port ?? 0)
      await client.next()
    }
    await using third = await RawClient.open()
    const keepAlive = busy.map((client) => acknowledgeAll(client))
    await expect(third.fetch('small', here.port)).rejects.toThrow('error 0: too many transfers')
    await using neighbour = await RawClient.open('127.0.0.2', '127.0.0.1')
    expect(await neighbour.fetch('small', here.port)).toEqual(files['small'])
    await Promise.all(keepAlive)
    await Promise.all(busy.map((client) => client[Symbol.asyncDispose]()))
  })

  test('who never answered gives way to who asks now', async () => {
    await using here = await site({ maxTransfers: 2 })
    await using ghost = await RawClient.open()
    await using ghost2 = await RawClient.open()
    ghost.read('large', here.port, { tsize: '0' })
    await ghost.next()
    ghost2.read('large', here.port, { tsize: '0' })
    await ghost2.next()
    await using client = await RawClient.open()
    expect(await client.fetch('large', here.port)).toEqual(files['large'])
    expect(here.reports[0]).toMatchObject({ outcome: 'cancelled', request: { filename: 'large' } })
  })

  test('a client that started over from the same port is served again', async () => {
    await using here = await site({ firstRetransmitMs: 50 })
    await using client = await RawClient.open()
    client.read('large', here.port, { blksize: '1024' })
    const oack = await client.next()
    client.send({ op: 'ack', block: 0 }, oack?.port ?? 0)
    await client.next()
    await sleep(100)
    expect(await client.fetch('large', here.port, { blksize: '1024' })).toEqual(files['large'])
    await until(() => here.reports.length === 2)
    expect(here.reports.map((report) => report.outcome)).toEqual(['cancelled', 'completed'])
  })

  test('above its rate an address is not answered', async () => {
    await using here = await site({ maxRequestBurstPerClient: 3, maxRequestsPerSecondPerClient: 0.001 })
    await using client = await RawClient.open()
    for (let request = 0; request < 3; request += 1) {
      client.read(`missing-${request}`, here.port)
      expect(await client.next()).toBeDefined()
    }
    for (let request = 3; request < 5; request += 1) client.read(`missing-${request}`, here.port)
    expect(await client.next(100)).toBeUndefined()
    expect(here.server.stats()).toMatchObject({ requests: 5, refused: 3, rateLimited: 2 })
  })

  test('rubbish at the port is counted, and the next client is served', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    const rubbish = [[], [0], [0, 1], [0, 1, 65], [0, 3, 0, 1], [0, 4, 0, 1], [0, 9, 9, 9], [255, 255]]
    for (const bytes of rubbish) client.send(Uint8Array.from(bytes), here.port)
    client.send(Buffer.concat([Buffer.from([0, 1]), Buffer.alloc(60_000, 65)]), here.port)
    for (let packet = 0; packet < 200; packet += 1)
      client.send(Buffer.concat([Buffer.from([0, 1]), randomBytes(packet)]), here.port)
    await until(() => here.server.stats().malformed >= rubbish.length + 1)
    await using other = await RawClient.open()
    expect(await other.fetch('small', here.port)).toEqual(files['small'])
  })

  test('a flood of rubbish, or of refusals, is counted whole, and the log has some lines and how many more there were', async () => {
    const lines: { message: string; left?: number }[] = []
    const keep = (fields: { left?: number }, message = '') => void lines.push({ ...fields, message })
    const log: Log = { ...silentLog, debug: keep, info: keep }
    const server = await startTftpServer({
      ...{ log, engine },
      limits: { maxLogLinesPerSecond: 1, maxLogLineBurst: 5, maxRequestBurstPerClient: 1000 },
      open: () => Promise.reject(new MusterError('access-denied', 'not for you')),
    })
    const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
    await using client = await RawClient.open()
    for (let packet = 1; packet <= 40; packet += 1) {
      client.send(Uint8Array.of(0, 9), port)
      client.read(`secret-${packet}`, port)
      // Who asks for the next one from the same port has given this one up.
      await until(() => server.stats().refused === packet)
    }
    await until(() => server.stats().malformed === 40)
    await until(() => lines.some(({ left }) => left !== undefined))
    await server[Symbol.asyncDispose]()
    for (const sentence of ['TFTP request dropped', 'TFTP request refused']) {
      const written = lines.filter(({ message }) => message === sentence)
      expect(written.length).toBeGreaterThanOrEqual(5)
      expect(written.length).toBeLessThan(20)
      const told = lines.filter(({ message }) => message.endsWith(`more lines were left out: ${sentence}`))
      expect(told.reduce((sum, { left = 0 }) => sum + left, written.length)).toBe(40)
    }
  })

  test.skipIf(process.getuid?.() !== 0)(
    'datagrams from port 0, where no answer can go, do not end it at either port',
    async () => {
      await using here = await site()
      await using client = await RawClient.open()
      client.read('large', here.port, { blksize: '1024' })
      const oack = await client.next()
      const ack: Packet = { op: 'ack', block: 0 }
      for (const op of ['read', 'write'] as const)
        await sendFrom(0, here.port, { op, filename: 'small', mode: 'octet', options: new Map() })
      await sendFrom(0, oack?.port ?? 0, ack)
      await until(() => here.server.stats().malformed === 2 && here.server.stats().unknownPeers === 1)
      client.send(ack, oack?.port ?? 0)
      expect((await client.next())?.packet).toMatchObject({ op: 'data', block: 1 })
      expect(here.asked).toHaveLength(1)
    },
  )

  test('stopping it tells its clients, and leaves no port and no file open', async () => {
    const here = await site()
    await using client = await RawClient.open()
    client.read('large', here.port)
    await client.next()
    await here.server[Symbol.asyncDispose]()
    expect((await client.next())?.packet).toMatchObject({ op: 'error', code: 0 })
    expect(here.openFiles()).toBe(0)
    await using again = await start({ open: () => Promise.reject(new Error()) })
    expect(await again.listen({ host: '127.0.0.1', port: here.port })).toEqual({
      host: '127.0.0.1',
      port: here.port,
    })
  })

  test('a port in use is said, with the way out', async () => {
    await using here = await site()
    await using second = await start({ open: () => Promise.reject(new Error()) })
    const failure = await second.listen({ host: '127.0.0.1', port: here.port }).then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(errorCodeOf(failure)).toBe('listen-failed')
    expect(String(failure)).toContain(`127.0.0.1:${here.port} cannot be opened: another program uses it`)
  })
})

/** To a port of 127.0.0.1, from one that no socket can have: the UDP header is ours (RFC 768, a checksum of 0 is none). */
async function sendFrom(source: number, port: number, packet: Packet): Promise<void> {
  const libc = await loadLibc()
  const [inet, raw, udp] = [2, 3, 17]
  const fd = libc.socket(inet, raw, udp)
  const payload = encodePacket(packet)
  const datagram = Buffer.alloc(8 + payload.length)
  datagram.writeUInt16BE(source, 0)
  datagram.writeUInt16BE(port, 2)
  datagram.writeUInt16BE(datagram.length, 4)
  datagram.set(payload, 8)
  const outbox = new Outbox(libc, fd, { writableWithinMs: 100 })
  outbox.reply(datagram, { raw: encodeAddress('127.0.0.1', 0), source: new Uint8Array(0) })
  outbox.flush()
  libc.close(fd)
  expect(outbox.dropped).toBe(0)
}

/** Answers what arrives for half a second, so that the server sees a client at work. */
async function acknowledgeAll(client: RawClient): Promise<void> {
  const end = performance.now() + 500
  while (performance.now() < end) {
    const received = await client.next(100)
    if (received?.packet.op === 'data') {
      await sleep(5)
      client.send({ op: 'ack', block: received.packet.block }, received.port)
    }
  }
}
