/** Both ways for datagrams to move have to do the same; and what happens where there is only one. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { loadLibc } from '../../src/datagram/libc.ts'
import type { BindOptions, Engine, Peer, Port } from '../../src/dhcp/engine.ts'
import { createBatchedEngine } from '../../src/dhcp/engines/batched.ts'
import { dgramEngine } from '../../src/dhcp/engines/dgram.ts'
import { chooseEngine } from '../../src/dhcp/start.ts'
import { errorCodeOf, MusterError } from '../../src/errors.ts'
import { type Log, silentLog } from '../../src/log.ts'

const maxPacketBytes = 1500
const batchedEngine = createBatchedEngine(await loadLibc(), maxPacketBytes)

type Heard = { bytes: Uint8Array; from: Peer }

async function bound(engine: Engine, options: Partial<BindOptions> = {}) {
  const heard: Heard[] = []
  const port: Port = await engine.bind({
    ...{ host: '127.0.0.1', port: 0 },
    onDatagram: (bytes, from) => heard.push({ bytes, from }),
    onError: (error) => {
      throw error
    },
    ...options,
  })
  return { port, heard, [Symbol.asyncDispose]: () => port.close() }
}

async function until(isSo: () => boolean): Promise<void> {
  for (let step = 0; step < 200 && !isSo(); step += 1) await sleep(10)
  expect(isSo()).toBe(true)
}

const numbered = (index: number, length = 300) => {
  const bytes = new Uint8Array(length)
  new DataView(bytes.buffer).setUint32(0, index)
  return bytes
}
const numberOf = ({ bytes }: Heard) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)

describe.each([
  ['node:dgram', dgramEngine],
  ['batched system calls', batchedEngine],
])('datagrams through %s', (_, engine) => {
  test('a rack that is switched on is answered to the last machine, each with its own bytes', async () => {
    const count = 500
    let answering: Port | undefined
    await using server = await bound(engine, {
      onDatagram: (bytes, from) => {
        // As the server does: it keeps what it heard, and answers when it knows what.
        void sleep(5).then(() => answering?.send(bytes, from))
      },
    })
    answering = server.port
    await using rack = await bound(dgramEngine)
    for (let index = 0; index < count; index += 1) {
      rack.port.send(numbered(index), server.port.local)
      if (index % 100 === 99) await sleep(20)
    }
    await until(() => rack.heard.length === count)
    expect(rack.heard.map(numberOf).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: count }, (_, i) => i),
    )
    expect(new Set(rack.heard.map(({ from }) => from.port))).toEqual(new Set([server.port.local.port]))
  })

  test('who sent a datagram is told, for each of many that come at once', async () => {
    await using server = await bound(engine)
    await using one = await bound(dgramEngine, { host: '127.0.0.2' })
    await using other = await bound(dgramEngine, { host: '127.0.0.3' })
    for (let index = 0; index < 20; index += 1)
      (index % 2 === 0 ? one : other).port.send(numbered(index), server.port.local)
    await until(() => server.heard.length === 20)
    for (const heard of server.heard)
      expect(heard.from).toMatchObject(numberOf(heard) % 2 === 0 ? one.port.local : other.port.local)
  })

  test('one that is too long arrives too long, and not cut to something that fits', async () => {
    await using server = await bound(engine)
    await using client = await bound(dgramEngine)
    // The first may come another way than those behind it.
    for (const length of [4000, 4000, 300]) client.port.send(numbered(length, length), server.port.local)
    await until(() => server.heard.length === 3)
    const lengths = server.heard.map(({ bytes }) => bytes.length).toSorted((a, b) => a - b)
    expect(lengths[0]).toBe(300)
    expect(lengths.slice(1).every((length) => length > maxPacketBytes)).toBe(true)
  })

  test('a broadcast from the address of a segment arrives at who listens for broadcasts', async () => {
    await using everybody = await bound(dgramEngine, { host: '255.255.255.255', port: 16_090 })
    await using server = await bound(engine)
    server.port.send(numbered(7), { address: '255.255.255.255', port: 16_090 })
    await until(() => everybody.heard.length === 1)
    expect(everybody.heard[0]?.from).toMatchObject(server.port.local)
  })

  test('a broadcast is heard by a port that is bound to it', async () => {
    await using everybody = await bound(engine, { host: '255.255.255.255', port: 16_091 })
    await using client = await bound(dgramEngine)
    client.port.send(numbered(7), { address: '255.255.255.255', port: 16_091 })
    await until(() => everybody.heard.length === 1)
    expect(numberOf(everybody.heard[0] as Heard)).toBe(7)
  })

  test('its port is nobody else’s, not even of a program that would share it', async () => {
    await using server = await bound(engine)
    const { address, port } = server.port.local
    const other = createSocket({ type: 'udp4', reuseAddr: true })
    other.bind({ address, port, exclusive: true })
    const [error] = (await once(other, 'error')) as [NodeJS.ErrnoException]
    expect(error.code).toBe('EADDRINUSE')
    other.close()
  })

  test('a port that another program has is named, with the way out', async () => {
    await using server = await bound(engine)
    const { address: host, port } = server.port.local
    const failure = await bound(engine, { host, port }).catch((error: unknown) => error)
    expect(errorCodeOf(failure)).toBe('listen-failed')
    expect(String(failure)).toContain(`UDP ${host}:${port} cannot be opened`)
    expect(String(failure)).toContain('another DHCP server runs on this machine')
  })

  test('an address of another machine is named as that', async () => {
    const failure = await bound(engine, { host: '192.0.2.1' }).catch((error: unknown) => error)
    expect(errorCodeOf(failure)).toBe('listen-failed')
    expect(String(failure)).toContain('this machine has no such address')
  })

  test('a closed port sends what it was told before, and nothing after; the port is free again', async () => {
    await using client = await bound(dgramEngine)
    const server = await bound(engine)
    const { address: host, port } = server.port.local
    server.port.send(numbered(1), client.port.local)
    const closed = server.port.close()
    server.port.send(numbered(2), client.port.local)
    await closed
    await server.port.close()
    await until(() => client.heard.length === 1)
    await sleep(20)
    expect(client.heard.map(numberOf)).toEqual([1])
    await using again = await bound(engine, { host, port })
    expect(again.port.local).toEqual({ address: host, port })
  })
})

describe('which way is taken', () => {
  const unavailableHere = () => Promise.reject(new MusterError('engine-unavailable', 'not here'))

  test('batched system calls where they can be had', async () => {
    expect(await chooseEngine({ log: silentLog, maxPacketBytes })).not.toBe(dgramEngine)
    expect(await chooseEngine({ log: silentLog, maxPacketBytes, engine: 'dgram' })).toBe(dgramEngine)
  })

  test('node:dgram with one line where they cannot', async () => {
    const lines: unknown[] = []
    const log: Log = { ...silentLog, info: (fields, message) => lines.push({ ...fields, message }) }
    expect(await chooseEngine({ log, maxPacketBytes }, unavailableHere)).toBe(dgramEngine)
    expect(lines).toEqual([{ message: 'DHCP goes through node:dgram', reason: 'not here' }])
  })

  test('who insists on them is told that they cannot be had', async () => {
    const failure = await chooseEngine(
      { log: silentLog, maxPacketBytes, engine: 'batched' },
      unavailableHere,
    ).catch((error: unknown) => error)
    expect(errorCodeOf(failure)).toBe('engine-unavailable')
  })
})
