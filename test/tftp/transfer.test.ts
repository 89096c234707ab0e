import { describe, expect, test } from 'vitest'
import { type Step, Transfer } from '../../src/tftp/transfer.ts'
import { begin, simulate, timing } from './simulator.ts'

const sent = (step: Step): [number, number] | string =>
  step.send === 'blocks' ? [step.first, step.last] : step.send

describe('a TFTP transfer', () => {
  test('sends block after block, and ends with the ACK of the last', () => {
    const { transfer, first } = begin(2)
    expect(sent(first)).toEqual([1, 1])
    expect(sent(transfer.acknowledged(1, 1))).toEqual([2, 2])
    expect(transfer.acknowledged(2, 2).ended).toBe('completed')
    expect(sent(transfer.acknowledged(2, 3))).toBe('nothing')
  })

  test('waits with DATA until the OACK is acknowledged', () => {
    const { transfer, first } = begin(9, { negotiates: true, windowBlocks: 4 })
    expect(sent(first)).toBe('oack')
    expect(sent(transfer.acknowledged(3, 1))).toBe('nothing')
    expect(sent(transfer.acknowledged(0, 1))).toEqual([1, 4])
    expect(sent(transfer.acknowledged(4, 2))).toEqual([5, 8])
    expect(sent(transfer.acknowledged(8, 3))).toEqual([9, 9])
    expect(transfer.acknowledged(9, 4).ended).toBe('completed')
  })

  test('a doubled ACK sends nothing: no sorcerer’s apprentice', () => {
    const { transfer } = begin(9)
    transfer.acknowledged(1, 1)
    expect(sent(transfer.acknowledged(1, 2))).toBe('nothing')
    expect(sent(transfer.acknowledged(0, 2))).toBe('nothing')
    expect(sent(transfer.acknowledged(2, 3))).toEqual([3, 3])
  })

  test('a doubled ACK 0 does not send the first block twice', () => {
    const { transfer } = begin(9, { negotiates: true })
    expect(sent(transfer.acknowledged(0, 1))).toEqual([1, 1])
    expect(sent(transfer.acknowledged(0, 2))).toBe('nothing')
  })

  test('EDK2 repeats its ACK for each block after a lost one, and gets the window once', () => {
    const { transfer } = begin(100, { windowBlocks: 4 })
    transfer.acknowledged(4, 10)
    transfer.acknowledged(8, 20)
    expect(sent(transfer.acknowledged(9, 30))).toEqual([10, 13])
    expect(sent(transfer.acknowledged(9, 30))).toBe('nothing')
    expect(sent(transfer.acknowledged(13, 40))).toEqual([14, 17])
  })

  test('the loss of a window’s first block is repaired by the repeated ACK before it', () => {
    const { transfer } = begin(100, { windowBlocks: 4 })
    transfer.acknowledged(4, 10)
    expect(sent(transfer.acknowledged(4, 20))).toEqual([5, 8])
    expect(sent(transfer.acknowledged(4, 21))).toBe('nothing')
  })

  test('an ACK for each block of a window does not send each window over and over', () => {
    const { transfer } = begin(1000, { windowBlocks: 4 })
    transfer.acknowledged(4, 10)
    let packets = 0
    for (let block = 5; block <= 40; block += 1) {
      const step = transfer.acknowledged(block, 10 + Math.ceil((block - 4) / 4) * 10)
      if (step.send === 'blocks') packets += step.last - step.first + 1
    }
    expect(packets).toBeLessThanOrEqual(80)
  })

  test('an ACK of what was never sent is ignored', () => {
    const { transfer } = begin(9, { windowBlocks: 4 })
    expect(sent(transfer.acknowledged(5, 1))).toBe('nothing')
    expect(sent(transfer.acknowledged(60_000, 1))).toBe('nothing')
    expect(sent(transfer.acknowledged(4, 1))).toEqual([5, 8])
  })

  test('block numbers go on through 0, as often as the file is long', () => {
    const { transfer } = begin(200_000)
    for (let block = 1; block < 200_000; block += 1)
      expect(sent(transfer.acknowledged(block & 0xffff, block))).toEqual([block + 1, block + 1])
    expect(transfer.acknowledged(200_000 & 0xffff, 200_001).ended).toBe('completed')
  })

  test('a window that spans the wrap is repaired inside it', () => {
    const { transfer } = begin(70_000, { windowBlocks: 16 })
    for (let block = 16; block <= 65_520; block += 16) transfer.acknowledged(block & 0xffff, block)
    transfer.acknowledged(65_536 & 0xffff, 65_536)
    expect(sent(transfer.acknowledged(65_540 & 0xffff, 65_600))).toEqual([65_541, 65_556])
  })

  test.each([
    ['an OACK', true],
    ['the first block', false],
  ])(
    'repeats %s three times for a client that never answers, then only listens, then gives up',
    (_, negotiates) => {
      const { transfer, first } = begin(9, { negotiates })
      const sentAtMs: number[] = []
      let step = first
      for (let nowMs = 0; step.ended === undefined; ) {
        if (step.send !== 'nothing') sentAtMs.push(nowMs)
        nowMs = step.wakeAtMs
        step = transfer.wake(nowMs)
        if (step.ended !== undefined) expect([nowMs, step.ended]).toEqual([20_000, 'timed-out'])
      }
      expect(sentAtMs).toEqual([0, 1000, 3000, 7000])
    },
  )

  test('a client that answers late, or asks again, after the repetitions is served', () => {
    const quiet = () => {
      const { transfer, first } = begin(9)
      let step = first
      while (step.wakeAtMs < 20_000) step = transfer.wake(step.wakeAtMs)
      return transfer
    }
    expect(sent(quiet().acknowledged(1, 19_000))).toEqual([2, 2])
    expect(sent(quiet().requestedAgain(19_000))).toEqual([1, 1])
  })

  test('after a measured round trip of 2 ms, a lost block is sent again within 20 ms', () => {
    const { transfer } = begin(9)
    const step = transfer.acknowledged(1, 2)
    expect(step.wakeAtMs).toBe(22)
    expect(sent(transfer.wake(21))).toBe('nothing')
    const again = transfer.wake(22)
    expect(sent(again)).toEqual([2, 2])
    expect(again.wakeAtMs).toBe(22 + 40)
  })

  test('a slow client is given the time it takes', () => {
    const { transfer } = begin(99)
    let now = 0
    for (let block = 1; block <= 20; block += 1) {
      now += 300
      const step = transfer.acknowledged(block, now)
      expect(step.wakeAtMs - now).toBeGreaterThanOrEqual(300)
    }
    expect(transfer.retransmittedBlocks).toBe(0)
  })

  test('the round trip is not measured by a block that was sent twice', () => {
    const { transfer } = begin(9)
    transfer.wake(1000)
    const step = transfer.acknowledged(1, 1001)
    expect(step.wakeAtMs).toBe(2001)
  })

  test('an error right after the OACK is a client that asked for the size', () => {
    const { transfer } = begin(9, { negotiates: true })
    expect(transfer.clientError().ended).toBe('probed')
  })

  test('an error later is an abort', () => {
    const { transfer } = begin(9, { negotiates: true })
    transfer.acknowledged(0, 1)
    expect(transfer.clientError().ended).toBe('aborted')
  })

  test('a client that leaves without its last ACK had everything', () => {
    const { transfer } = begin(2)
    let step = transfer.acknowledged(1, 1)
    while (step.ended === undefined) step = transfer.wake(step.wakeAtMs)
    expect(step.ended).toBe('unconfirmed')
  })

  test('a client that leaves in the middle has timed out', () => {
    const { transfer } = begin(3)
    let step = transfer.acknowledged(1, 1)
    while (step.ended === undefined) step = transfer.wake(step.wakeAtMs)
    expect(step.ended).toBe('timed-out')
  })

  test('ACKs that repeat for ever do not keep a transfer alive', () => {
    const { transfer, first } = begin(9)
    let step = first
    for (let now = 0; step.ended === undefined; now += 100) {
      expect(now).toBeLessThan(30_000)
      transfer.acknowledged(0, now)
      step = transfer.wake(now)
    }
    expect(step.ended).toBe('timed-out')
  })

  test('the same request again gets the same answer until something was acknowledged', () => {
    const { transfer } = begin(9, { negotiates: true })
    expect(sent(transfer.requestedAgain(5))).toBe('oack')
    transfer.acknowledged(0, 6)
    expect(sent(transfer.requestedAgain(7))).toBe('nothing')
    const plain = begin(9).transfer
    expect(sent(plain.requestedAgain(5))).toEqual([1, 1])
  })

  test('blocks that the disk has not delivered follow when it has, without a timer in between', () => {
    const transfer = new Transfer({ ...timing, windowBlocks: 4 })
    expect(sent(transfer.start(0))).toBe('nothing')
    expect(sent(transfer.loaded(2, undefined, 10))).toEqual([1, 2])
    expect(sent(transfer.loaded(6, undefined, 11))).toEqual([3, 4])
    const waiting = transfer.acknowledged(4, 12)
    expect(sent(waiting)).toEqual([5, 6])
    transfer.acknowledged(6, 13)
    expect(sent(transfer.wake(1000))).toBe('nothing')
    expect(sent(transfer.loaded(7, 7, 1001))).toEqual([7, 7])
    expect(transfer.acknowledged(7, 1002).ended).toBe('completed')
  })
})

describe('over a bad network', () => {
  const seeds = Array.from({ length: 40 }, (_, index) => index + 1)
  for (const windowBlocks of [1, 4, 16])
    test(`windowsize ${windowBlocks}: every block arrives, whatever is lost, doubled and reordered`, () => {
      for (const seed of seeds) {
        const world = { blocks: 300, windowBlocks, loss: 0.1, double: 0.05, reorder: 0.05, seed }
        const { received, outcome } = simulate(world)
        expect({ seed, received }).toEqual({ seed, received: 300 })
        expect(['completed', 'unconfirmed']).toContain(outcome)
      }
    })

  test.each([
    ['one packet in fifty is doubled', { double: 0.02, reorder: 0 }, 1.2],
    ['one packet in a hundred arrives late', { double: 0, reorder: 0.01 }, 1.3],
    ['every packet is doubled', { double: 1, reorder: 0 }, 3],
  ])('when %s, the traffic does not double itself from then on', (_, disturbance, most) => {
    for (const windowBlocks of [1, 2, 4, 16])
      for (const seed of seeds.slice(0, 10)) {
        const { packets } = simulate({ blocks: 3200, windowBlocks, loss: 0, seed, ...disturbance })
        const factor = packets / (3200 + 3200 / windowBlocks + 2)
        expect({ seed, windowBlocks, factor: factor <= most ? 'fine' : factor }).toEqual({
          seed,
          windowBlocks,
          factor: 'fine',
        })
      }
  })

  test('a clean network costs not one packet too many', () => {
    const { packets, outcome } = simulate({
      blocks: 320,
      windowBlocks: 16,
      loss: 0,
      double: 0,
      reorder: 0,
      seed: 1,
    })
    expect({ packets, outcome }).toEqual({ packets: 320 + 20 + 2, outcome: 'completed' })
  })

  test('with 2 % loss a megabyte takes about a second: no fixed timer is waited for', () => {
    for (const windowBlocks of [1, 16]) {
      const times = seeds.map(
        (seed) => simulate({ blocks: 700, windowBlocks, loss: 0.02, double: 0, reorder: 0, seed }).elapsedMs,
      )
      // The median: where the OACK itself is lost, nothing was measured yet, and the first second is waited for.
      times.sort((one, other) => one - other)
      expect(times[times.length / 2]).toBeLessThan(windowBlocks === 1 ? 1600 : 400)
    }
  })
})
