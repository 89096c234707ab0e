/** What only the batched engine has: its timers, its files, and its way out where it cannot be. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readdir, readFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadLibc } from '../../src/datagram/libc.ts'
import { errorCodeOf, MusterError } from '../../src/errors.ts'
import { type Log, silentLog } from '../../src/log.ts'
import { MappedFiles } from '../../src/tftp/engines/batched/mapped-files.ts'
import { ProvenClients } from '../../src/tftp/engines/batched/proven-clients.ts'
import { Timers } from '../../src/tftp/engines/batched/timers.ts'
import type { TftpLimits } from '../../src/tftp/limits.ts'
import type { TransferReport } from '../../src/tftp/reports.ts'
import { startTftpServer } from '../../src/tftp/start.ts'
import { RawClient, type Received } from './raw-client.ts'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-tftp-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** A server that sends the files of `folder` from their descriptors. */
async function site(host = '127.0.0.1', limits: Partial<TftpLimits> = {}) {
  const reports: TransferReport[] = []
  const server = await startTftpServer({
    log: silentLog,
    engine: 'batched',
    limits,
    onTransfer: (report) => reports.push(report),
    open: async ({ filename }) => {
      const handle = await open(join(folder, filename))
      return {
        size: (await handle.stat()).size,
        descriptor: handle.fd,
        read: () => Promise.reject(new Error('it was to be mapped')),
        close: () => handle.close(),
      }
    },
  })
  const where = await server.listen({ host, port: 0 })
  return { server, reports, port: where.port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

/** Reads as many blocks as it takes: from then on the client's address has shown that it sees what is sent to it. */
async function prove(client: RawClient, port: number): Promise<void> {
  await writeFile(join(folder, 'proof'), randomBytes(64 * 1024))
  await client.fetch('proof', port, { blksize: '1024' })
}

/** Where so many transfers come from, each ended at once and asked for from a port of its own. */
async function transferPorts({ address, to }: RawClient, port: number, count: number): Promise<Set<number>> {
  const ports = new Set<number>()
  await writeFile(join(folder, 'proof'), randomBytes(64 * 1024))
  for (let transfer = 0; transfer < count; transfer += 1) {
    await using client = await RawClient.open(address, to)
    client.read('proof', port, { tsize: '0' })
    const oack = await client.next()
    ports.add(oack?.port ?? 0)
    client.send({ op: 'error', code: 8, message: 'only looked' }, oack?.port ?? 0)
    // Closing the socket at once would take it back.
    expect(await client.next(10)).toBeUndefined()
  }
  return ports
}

async function allOf(client: RawClient): Promise<Received[]> {
  const answers: Received[] = []
  for (let next = await client.next(200); next !== undefined; next = await client.next(200))
    answers.push(next)
  return answers
}

describe('clients that have shown that they see what is sent to them', () => {
  const acknowledge = (clients: ProvenClients, address: string, times: number, nowMs: number) => {
    const onAck = clients.onAck(address, () => nowMs)
    for (let ack = 0; ack < times; ack += 1) onAck()
  }

  test('have acknowledged sixteen times in one transfer, and are so for a minute', () => {
    const clients = new ProvenClients()
    acknowledge(clients, '192.0.2.1', 15, 1000)
    acknowledge(clients, '192.0.2.1', 15, 1000)
    expect(clients.has('192.0.2.1', 1000)).toBe(false)
    acknowledge(clients, '192.0.2.1', 16, 1000)
    expect(clients.has('192.0.2.1', 60_999)).toBe(true)
    expect(clients.has('192.0.2.1', 61_000)).toBe(false)
    expect(clients.has('192.0.2.2', 1000)).toBe(false)
  })

  test('are forgotten when somebody guesses in their name, and the oldest when there are too many', () => {
    const clients = new ProvenClients()
    for (let client = 0; client <= 4096; client += 1) acknowledge(clients, `client ${client}`, 16, 0)
    expect(['client 0', 'client 1', 'client 4096'].map((client) => clients.has(client, 1))).toEqual([
      false,
      true,
      true,
    ])
    clients.forget('client 1')
    expect(clients.has('client 1', 1)).toBe(false)
  })
})

describe('deadlines', () => {
  test('run in the order of their times, and those that were cancelled not at all', () => {
    const timers = new Timers()
    const ran: number[] = []
    const times = [5, 3, 9, 1, 7, 3, 8, 2]
    const added = times.map((atMs, index) => timers.add(atMs, () => ran.push(index)))
    added[3]?.cancel()
    expect(timers.nextAtMs).toBe(2)
    expect(timers.run(7)).toBe(true)
    expect(ran.map((index) => times[index])).toEqual([2, 3, 3, 5, 7])
    expect(timers.nextAtMs).toBe(8)
    timers.run(100)
    expect(timers.nextAtMs).toBe(Number.POSITIVE_INFINITY)
    expect(timers.run(1000)).toBe(false)
  })

  test('one that is added for the same time by another runs the next time', () => {
    const timers = new Timers()
    let runs = 0
    const again = (): void => {
      runs += 1
      timers.add(0, again)
    }
    timers.add(0, again)
    timers.run(0)
    expect(runs).toBe(1)
  })
})

describe('mapped files', () => {
  test('one that many load is there once, and gone after the last', async () => {
    const path = join(folder, 'shared')
    await writeFile(path, randomBytes(10_000))
    await using first = await open(path)
    await using second = await open(path)
    const files = new MappedFiles(await loadLibc())
    const one = files.open(first.fd, 10_000)
    const other = files.open(second.fd, 10_000)
    expect(one?.address).toBe(other?.address)
    one?.release()
    expect(files.size).toBe(1)
    other?.release()
    expect(files.size).toBe(0)
  })

  test('one that was written in place, with its old time set again, is another one', async () => {
    const path = join(folder, 'in-place')
    const at = new Date('2026-01-01T00:00:00Z')
    const write = async (bytes: number) => {
      await using handle = await open(path, 'a+')
      await handle.truncate(0)
      await handle.write(randomBytes(bytes))
      await utimes(path, at, at)
    }
    const libc = await loadLibc()
    const mapped = new Map<number, number>()
    const unmapped: [number, number][] = []
    const files = new MappedFiles({
      ...libc,
      mmap: (...all) => {
        const address = libc.mmap(...all)
        mapped.set(address, all[1])
        return address
      },
      munmap: (address, length) => {
        unmapped.push([address, length])
        return libc.munmap(address, length)
      },
    })
    await write(4096)
    await using handle = await open(path)
    const held = [files.open(handle.fd, 4096)]
    // Longer, and as long with other bytes.
    for (const bytes of [40_000, 40_000]) {
      await sleep(20)
      await write(bytes)
      held.push(files.open(handle.fd, bytes))
    }
    expect(held.map((file) => file?.size)).toEqual([4096, 40_000, 40_000])
    expect(new Set(held.map((file) => file?.address)).size).toBe(3)
    expect(held.map((file) => file?.unchanged(handle.fd))).toEqual([false, true, true])
    for (const file of held) file?.release()
    expect(unmapped).toEqual([...mapped])
    expect(files.size).toBe(0)
  })

  test('one that is replaced by a rename is what it was to those that have it', async () => {
    const path = join(folder, 'renamed')
    await writeFile(path, randomBytes(5000))
    await using handle = await open(path)
    const files = new MappedFiles(await loadLibc())
    const before = files.open(handle.fd, 5000)
    await sleep(20)
    await writeFile(`${path}.new`, randomBytes(5000))
    await rename(`${path}.new`, path)
    expect(before?.unchanged(handle.fd)).toBe(true)
    await using next = await open(path)
    const after = files.open(next.fd, 5000)
    expect(after?.address).not.toBe(before?.address)
    before?.release()
    after?.release()
    expect(files.size).toBe(0)
  })

  test('one of another size than was said, or no file, is not mapped', async () => {
    const path = join(folder, 'other-size')
    await writeFile(path, 'hello')
    await using handle = await open(path)
    await using directory = await open(folder)
    const files = new MappedFiles(await loadLibc())
    expect(files.open(handle.fd, 6)).toBeUndefined()
    expect(files.open(directory.fd, (await directory.stat()).size)).toBeUndefined()
    expect(files.open(1_000_000, 5)).toBeUndefined()
  })
})

describe('the batched engine', () => {
  test('sends a file out of its pages, at every block size and window', async () => {
    await using here = await site()
    for (const bytes of [0, 1, 1024, 1468 * 16, 300_001]) {
      const content = randomBytes(bytes)
      await writeFile(join(folder, 'file'), content)
      for (const blksize of ['8', '512', '1468']) {
        if (bytes / Number(blksize) > 5000) continue
        await using client = await RawClient.open()
        expect(await client.fetch('file', here.port, { blksize })).toEqual(content)
      }
    }
  })

  test('a block that fills its datagram goes out, and is all that goes out', async () => {
    const content = randomBytes(200_000)
    await writeFile(join(folder, 'file'), content)
    await using here = await site('127.0.0.1', { mtuBytes: 65_535 })
    await using client = await RawClient.open()
    for (const blksize of ['65464', '64997', '64996', '32498'])
      expect(await client.fetch('file', here.port, { blksize }), blksize).toEqual(content)
  })

  test('a file that becomes shorter on the way ends the transfer with an error', async () => {
    await writeFile(join(folder, 'shrinks'), randomBytes(500_000))
    await using here = await site()
    await using client = await RawClient.open()
    client.read('shrinks', here.port, { blksize: '1024' })
    const oack = await client.next()
    client.send({ op: 'ack', block: 0 }, oack?.port ?? 0)
    await client.next()
    await truncate(join(folder, 'shrinks'), 100)
    // Pages behind the end of the file are gone: the kernel cannot read them for us.
    for (let block = 1; block < 490; block += 1) {
      client.send({ op: 'ack', block }, oack?.port ?? 0)
      const answer = await client.next()
      if (answer?.packet.op !== 'error') continue
      expect(answer.packet).toMatchObject({ code: 0 })
      break
    }
    for (let step = 0; step < 100 && here.reports.length === 0; step += 1) await sleep(10)
    expect(here.reports).toMatchObject([{ outcome: 'failed' }])
  })

  test('a file that grows in place, with its old time, is sent whole while a slow client has the old one', async () => {
    const path = join(folder, 'grows')
    const at = new Date('2026-01-01T00:00:00Z')
    await writeFile(path, randomBytes(4096))
    await utimes(path, at, at)
    await using here = await site()
    await using slow = await RawClient.open()
    slow.read('grows', here.port, { blksize: '1024' })
    await slow.next()
    const content = randomBytes(40_000)
    await writeFile(path, content)
    await utimes(path, at, at)
    await using client = await RawClient.open()
    expect(await client.fetch('grows', here.port, { blksize: '1024' })).toEqual(content)
  })

  test('a file that was written anew on the way does not look complete', async () => {
    await writeFile(join(folder, 'anew'), randomBytes(2000))
    await using here = await site()
    await using client = await RawClient.open()
    client.read('anew', here.port, { blksize: '1024' })
    const oack = await client.next()
    client.send({ op: 'ack', block: 0 }, oack?.port ?? 0)
    await client.next()
    await sleep(20)
    await writeFile(join(folder, 'anew'), randomBytes(2000))
    client.send({ op: 'ack', block: 1 }, oack?.port ?? 0)
    let answer = await client.next()
    // The first block may have come once more in the meantime.
    while (answer?.packet.op === 'data' && answer.packet.block === 1) answer = await client.next()
    expect(answer?.packet).toMatchObject({ op: 'error', code: 0 })
  })

  test('who is asked at one of many addresses answers from it', async () => {
    await writeFile(join(folder, 'file'), randomBytes(5000))
    await using here = await site('0.0.0.0')
    const content = await readFile(join(folder, 'file'))
    await using client = await RawClient.open('127.0.0.1', '127.0.0.9')
    expect(await client.fetch('file', here.port, { blksize: '1024' })).toEqual(content)
    expect(client.heardFrom).toEqual(new Set(['127.0.0.9']))
  })

  test('a client that asks again from the same port is answered from another one', async () => {
    await writeFile(join(folder, 'file'), randomBytes(100))
    await using here = await site()
    await using client = await RawClient.open()
    await prove(client, here.port)
    const ports: number[] = []
    for (let times = 0; times < 2; times += 1) {
      client.read('file', here.port)
      const data = await client.next()
      ports.push(data?.port ?? 0)
      client.send({ op: 'ack', block: 1 }, data?.port ?? 0)
      // Once more: it is no stranger, and gets no ERROR 5 that its next request would take for an answer.
      client.send({ op: 'ack', block: 1 }, data?.port ?? 0)
      expect(await client.next(50)).toBeUndefined()
    }
    expect(new Set(ports).size).toBe(2)
  })

  test('who has not shown that it sees what is sent has each transfer on a port of its own, and that is closed with it', async () => {
    await using here = await site()
    await using client = await RawClient.open()
    const before = (await readdir('/proc/self/fd')).length
    expect((await transferPorts(client, here.port, 12)).size).toBe(12)
    await expect.poll(async () => (await readdir('/proc/self/fd')).length).toBe(before)
  })

  test('who has shown it shares a few ports with others', async () => {
    await using here = await site()
    const ports = new Set<number>()
    for (const address of ['127.0.0.1', '127.0.0.2']) {
      await using client = await RawClient.open(address, '127.0.0.1')
      await prove(client, here.port)
      for (const port of await transferPorts(client, here.port, 40)) ports.add(port)
    }
    expect(ports.size).toBe(4)
  })

  test('who writes a victim’s address into requests and ACKs, and sees no answer, has nothing sent but OACKs', async () => {
    await using here = await site()
    await using attacker = await RawClient.open('127.0.0.3', '127.0.0.1')
    await prove(attacker, here.port)
    const ports = await transferPorts(attacker, here.port, 40)
    // What the attacker sends leaves from the victim's own socket; nobody looks at what it gets.
    await using victim = await RawClient.open('127.0.0.2', '127.0.0.1')
    victim.read('proof', here.port, { blksize: '1024', windowsize: '16' })
    await sleep(50)
    for (const block of [0, 16, 32]) for (const port of ports) victim.send({ op: 'ack', block }, port)
    const answers = await allOf(victim)
    expect(answers.map(({ packet }) => packet.op)).not.toContain('data')
    expect(answers.length).toBeGreaterThan(0)
  })

  test('who tries all the shared ports in the name of a client ends its transfer, and the next one is on a port of its own', async () => {
    await using here = await site()
    await using victim = await RawClient.open('127.0.0.2', '127.0.0.1')
    await prove(victim, here.port)
    const ports = await transferPorts(victim, here.port, 40)
    await sleep(50)
    victim.read('proof', here.port, { blksize: '1024', windowsize: '4' })
    const oack = await victim.next()
    // For the first three nothing at all goes out, should the right port be the last.
    const others = [...ports].filter((port) => port !== oack?.port)
    for (const port of others) victim.send({ op: 'ack', block: 0 }, port)
    await expect.poll(() => here.reports.at(-1)?.outcome).toBe('failed')
    victim.send({ op: 'ack', block: 0 }, oack?.port ?? 0)
    const answers = await allOf(victim)
    expect(answers.map(({ packet }) => packet.op)).not.toContain('data')
    for (const port of await transferPorts(victim, here.port, 4)) expect([...ports]).not.toContain(port)
  })

  test('without clients it takes no processor time', async () => {
    await using here = await site()
    expect(here.port).toBeGreaterThan(0)
    const ticks = async () => {
      const stat = await readFile('/proc/self/stat', 'utf8')
      return stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .slice(11, 13)
        .reduce((sum, field) => sum + Number(field), 0)
    }
    await sleep(200)
    const before = await ticks()
    await sleep(1000)
    // Of a hundred; one that polls would take nearly all of them. The test runner itself takes a few.
    expect((await ticks()) - before).toBeLessThan(30)
  })

  test('a process that ends does not wait for its thread', () => {
    const program = `
      import { startTftpServer } from ${JSON.stringify(join(import.meta.dirname, '../../src/tftp/start.ts'))}
      const log = { debug() {}, info() {}, warn() {}, error() {} }
      const server = await startTftpServer({ log, engine: 'batched', open: () => Promise.reject(new Error()) })
      await server.listen({ host: '127.0.0.1', port: 0 })
      process.exit(7)`
    const started = performance.now()
    expect(() =>
      execFileSync(process.execPath, ['--input-type=module', '--eval', program], { timeout: 8000 }),
    ).toThrow(expect.objectContaining({ status: 7 }))
    expect(performance.now() - started).toBeLessThan(8000)
  })
})

describe('where the batched engine cannot be had', () => {
  /** Another machine, for as long as the call takes. */
  async function onAnotherMachine<T>(act: () => Promise<T>): Promise<T> {
    const { platform } = process
    Object.defineProperty(process, 'platform', { value: 'openbsd' })
    try {
      return await act()
    } finally {
      Object.defineProperty(process, 'platform', { value: platform })
    }
  }

  const unavailableHere = () => new MusterError('engine-unavailable', 'not here')

  test('what is missing is said', async () => {
    const failure = await onAnotherMachine(() => loadLibc().catch((error: unknown) => error))
    expect(errorCodeOf(failure)).toBe('engine-unavailable')
    expect(String(failure)).toContain('needs Linux on x64 or arm64, this is openbsd')
  })

  test('the server falls back to node:dgram with one line, and serves', async () => {
    const lines: unknown[] = []
    const log: Log = { ...silentLog, info: (fields, message) => lines.push({ ...fields, message }) }
    const options = {
      log,
      open: async () => ({ size: 2, read: async () => Buffer.from('hi'), close: async () => {} }),
    }
    await using server = await startTftpServer(options, () => Promise.reject(unavailableHere()))
    expect(lines).toMatchObject([{ message: 'TFTP goes through node:dgram', reason: 'not here' }])
    const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
    await using client = await RawClient.open()
    expect(await client.fetch('x', port)).toEqual(Buffer.from('hi'))
  })

  test('who insists on it is told that it cannot be', async () => {
    const options = { log: silentLog, engine: 'batched' as const, open: () => Promise.reject(new Error()) }
    const failure = await startTftpServer(options, () => Promise.reject(unavailableHere())).catch(
      (error: unknown) => error,
    )
    expect(errorCodeOf(failure)).toBe('engine-unavailable')
  })
})
