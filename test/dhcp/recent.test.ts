import { describe, expect, test } from 'vitest'
import { PacketRate } from '../../src/dhcp/rate.ts'
import { Recent } from '../../src/dhcp/recent.ts'

describe('what is remembered of clients', () => {
  test('ten thousand invented hardware addresses take no more room than was given', () => {
    const recent = new Recent<number>(100)
    for (let index = 0; index < 10_000; index += 1) {
      recent.set(`invented ${index}`, index)
      if (recent.size > 100) expect.fail(`${recent.size} are kept`)
    }
    expect(recent.size).toBeGreaterThanOrEqual(50)
  })

  test('who asks again within half of the room is kept, however many others come in all', () => {
    const recent = new Recent<string>(100)
    recent.set('rack', 'firmware')
    for (let index = 0; index < 10_000; index += 1) {
      recent.set(`invented ${index}`, '')
      if (index % 49 === 0) expect(recent.get('rack')).toBe('firmware')
    }
  })

  test('who is not heard of while the room fills is forgotten', () => {
    const recent = new Recent<string>(100)
    recent.set('rack', 'firmware')
    for (let index = 0; index < 100; index += 1) recent.set(`invented ${index}`, '')
    expect(recent.get('rack')).toBeUndefined()
  })

  test('a new value takes the place of the one before, in the older half too', () => {
    const recent = new Recent<number>(4)
    recent.set('rack', 1)
    for (const name of ['a', 'b']) recent.set(name, 0)
    recent.set('rack', 2)
    expect(recent.get('rack')).toBe(2)
    for (const name of ['c', 'd']) recent.set(name, 0)
    expect(recent.get('rack')).toBe(2)
  })
})

describe('packets a second', () => {
  test('each client has its own burst, and earns again by waiting', () => {
    const rate = new PacketRate({ perSecond: 5, burst: 20, maxClients: 10 })
    const taken = (name: string, atMs: number) =>
      Array.from({ length: 30 }, () => rate.take(name, atMs)).filter(Boolean).length
    expect(taken('one', 0)).toBe(20)
    expect(taken('other', 0)).toBe(20)
    expect(taken('one', 1000)).toBe(5)
    expect(taken('one', 60_000)).toBe(20)
  })

  test('a clock that is set back earns nothing, and takes nothing away', () => {
    const rate = new PacketRate({ perSecond: 5, burst: 20, maxClients: 10 })
    expect(rate.take('one', 60_000)).toBe(true)
    const after = Array.from({ length: 30 }, () => rate.take('one', 0)).filter(Boolean).length
    expect(after).toBe(19)
  })
})
