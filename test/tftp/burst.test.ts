import { describe, expect, test } from 'vitest'
import { Burst } from '../../src/tftp/burst.ts'
import { ClientWindows } from '../../src/tftp/client-windows.ts'
import { Transfer } from '../../src/tftp/transfer.ts'
import { begin, simulate, timing } from './simulator.ts'

describe('a burst', () => {
  test('is the whole window until the ends of windows are lost one after the other, and halves then', () => {
    const burst = new Burst(16)
    burst.tail()
    expect(burst.blocks).toBe(16)
    burst.tail()
    expect(burst.blocks).toBe(8)
    burst.tail()
    expect(burst.blocks).toBe(4)
    for (let times = 0; times < 9; times += 1) burst.tail()
    expect(burst.blocks).toBe(1)
  })

  test('recovers by one block for every four windows without a loss', () => {
    const burst = new Burst(8)
    burst.tail()
    burst.tail()
    for (let windows = 0; windows < 8; windows += 1) burst.clean()
    expect(burst.blocks).toBe(6)
    for (let windows = 0; windows < 100; windows += 1) burst.clean()
    expect(burst.blocks).toBe(8)
  })

  test('a gap now and then is chance; one in each window is not', () => {
    const burst = new Burst(16)
    for (let windows = 0; windows < 20; windows += 1) {
      burst.gap()
      burst.gap()
      burst.clean()
      burst.clean()
    }
    expect(burst.blocks).toBe(16)
    for (let windows = 0; windows < 4; windows += 1) burst.gap()
    expect(burst.blocks).toBe(12)
  })
})

describe('a window in bursts', () => {
  test('is still the whole window for the client, one round trip between its parts', () => {
    const { transfer } = begin(100, { windowBlocks: 4 })
    transfer.acknowledged(4, 2)
    transfer.wake(22)
    const again = transfer.acknowledged(8, 24)
    const lost = transfer.wake(again.wakeAtMs)
    const at = again.wakeAtMs
    expect(lost).toMatchObject({ send: 'blocks', first: 9, last: 10, wakeAtMs: at + 2 })
    expect(transfer.wake(at + 1).send).toBe('nothing')
    expect(transfer.wake(at + 2)).toMatchObject({ send: 'blocks', first: 11, last: 12 })
    expect(transfer.acknowledged(12, at + 4)).toMatchObject({ send: 'blocks', first: 13, last: 14 })
  })

  test('an ACK between two bursts is obeyed at once', () => {
    const { transfer } = begin(100, { windowBlocks: 4 })
    transfer.acknowledged(4, 2)
    transfer.wake(22)
    const { wakeAtMs } = transfer.acknowledged(8, 24)
    transfer.wake(wakeAtMs)
    expect(transfer.acknowledged(10, wakeAtMs + 1)).toMatchObject({ send: 'blocks', first: 11, last: 12 })
  })

  test('with windowsize 1 there is nothing to shrink', () => {
    const { transfer } = begin(100)
    transfer.wake(1000)
    expect(transfer.burstBlocks).toBe(1)
  })

  test('a client that is gone says nothing of its window', () => {
    const transfer = new Transfer({ ...timing, windowBlocks: 16 })
    transfer.start(0)
    let step = transfer.loaded(100, 100, 0)
    while (step.ended === undefined) step = transfer.wake(step.wakeAtMs)
    expect(transfer.burstBlocks).toBe(16)
  })

  test('a client with four receive buffers gets all of a window of 16, and soon without losing half of each', () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const world = { blocks: 3200, windowBlocks: 16, loss: 0, double: 0, reorder: 0, seed }
      const result = simulate({ ...world, ring: { packets: 4, perPacketMs: 0.1 } })
      expect(result).toMatchObject({ received: 3200, outcome: 'completed' })
      expect(result.burstBlocks).toBeLessThanOrEqual(6)
      // Without bursts each window costs four timers: 17 s for these 200, and 26 000 packets.
      expect(result.packets).toBeLessThan(1.5 * 3200)
      expect(result.elapsedMs).toBeLessThan(2000)
    }
  })

  test.each([
    [0.005, 16],
    [0.02, 8],
  ])('losses by chance, %d of all packets, leave a burst of %d blocks', (loss, blocks) => {
    const bursts = Array.from({ length: 20 }, (_, index) => {
      const world = { blocks: 3200, windowBlocks: 16, loss, double: 0, reorder: 0, seed: index + 1 }
      return simulate(world).burstBlocks
    })
    expect(bursts.toSorted((one, other) => one - other)[10]).toBeGreaterThanOrEqual(blocks)
  })
})

describe('the window of a client’s next transfer', () => {
  test('is no larger than what it could take, and doubles with each that goes well', () => {
    const windows = new ClientWindows({ maxClients: 10 })
    expect(windows.grant('192.0.2.1', 16)).toBe(16)
    windows.ended('192.0.2.1', 16, 16, 3)
    expect(windows.grant('192.0.2.1', 16)).toBe(3)
    windows.ended('192.0.2.1', 16, 3, 3)
    expect(windows.grant('192.0.2.1', 16)).toBe(6)
    windows.ended('192.0.2.1', 16, 6, 6)
    windows.ended('192.0.2.1', 16, 12, 12)
    expect(windows.grant('192.0.2.1', 16)).toBe(16)
    expect(windows.grant('192.0.2.2', 16)).toBe(16)
  })

  test('who asked for a small one may ask for a large one next time', () => {
    const windows = new ClientWindows({ maxClients: 10 })
    windows.ended('192.0.2.1', 16, 1, 1)
    windows.ended('192.0.2.1', 16, 4, 4)
    expect(windows.grant('192.0.2.1', 16)).toBe(16)
  })

  test('is remembered for so many clients, the latest', () => {
    const windows = new ClientWindows({ maxClients: 2 })
    for (const address of ['192.0.2.1', '192.0.2.2', '192.0.2.3']) windows.ended(address, 16, 16, 4)
    expect(['192.0.2.1', '192.0.2.2', '192.0.2.3'].map((one) => windows.grant(one, 16))).toEqual([16, 4, 4])
  })
})
