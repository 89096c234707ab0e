import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createWorld, helloOf, helloProfile, kinds, sayHello, signed } from './world.ts'

const [A, B, C] = ['52:54:00:00:00:0a', '52:54:00:00:00:0b', '52:54:00:00:00:0c'] as const
const uuidA = 'aaaaaaaa-1111-2222-3333-444444444444'
const uuidB = 'bbbbbbbb-1111-2222-3333-444444444444'

describe('who a hello speaks of', () => {
  test('a new machine is discovered once and found again by its MAC address', async () => {
    await using world = await createWorld()
    const first = await sayHello(world, helloOf(A))
    const again = await sayHello(world, helloOf(A))
    expect(again.machine.id).toBe(first.machine.id)
    expect(again.boot.id).not.toBe(first.boot.id)
    expect(first.machine).toMatchObject({ enrolment: 'discovered', trust: 'none', name: first.machine.id })
  })

  test('the same hello again (its reply was lost) is the same boot', async () => {
    await using world = await createWorld()
    const request = helloOf(A)
    const first = await sayHello(world, request)
    expect((await sayHello(world, request)).boot.id).toBe(first.boot.id)
    const [one, two] = await Promise.all(
      [1, 2].map(() => sayHello(world, helloOf(B, { nonce: 'b'.repeat(64) }))),
    )
    expect(one?.boot.id).toBe(two?.boot.id)
  })

  test('undecided machines learn addresses; approved ones do not', async () => {
    await using world = await createWorld()
    const { machine } = await sayHello(world, helloOf(A))
    expect((await sayHello(world, helloOf([A, B]))).machine.macs).toEqual([A, B])
    await world.machines.approve(machine.id, 'anna', { macs: [A, B] })
    expect((await sayHello(world, helloOf([A, C]))).machine.macs).toEqual([A, B])
    expect(await kinds(world, { machineId: machine.id })).toContain('mac-unknown')
  })

  test("a hello with A's UUID and B's MAC never merges; that boot waits and both learn of it", async () => {
    await using world = await createWorld()
    await world.machines.profiles.put(helloProfile)
    const a = await sayHello(world, helloOf(A, { uuid: uuidA }))
    const b = await sayHello(world, helloOf(B, { uuid: uuidB }))
    await world.machines.approve(a.machine.id, 'anna')
    await world.machines.approve(b.machine.id, 'anna')
    const mixed = await sayHello(world, helloOf(B, { uuid: uuidA }))
    expect(mixed.machine.id).toBe(b.machine.id)
    expect(mixed.boot.held).toBe('identity-conflict')
    expect((await world.machines.eligibility(mixed.boot.id)).eligibility.status).toBe('wait')
    expect(await kinds(world, { machineId: a.machine.id })).toContain('identity-conflict')
    expect(await kinds(world, { bootId: mixed.boot.id })).toContain('identity-conflict')
    // The record is as it was, and its honest boots go on.
    expect(await world.machines.get(b.machine.id)).toMatchObject({ uuid: uuidB, macs: [B] })
    const honest = await sayHello(world, helloOf(B, { uuid: uuidB }))
    expect((await world.machines.eligibility(honest.boot.id)).eligibility.status).toBe('boot')
  })

  test('a hello with the addresses of two approved machines waits', async () => {
    await using world = await createWorld()
    for (const mac of [A, B])
      await world.machines.approve((await sayHello(world, helloOf(mac))).machine.id, 'anna')
    const { boot } = await sayHello(world, helloOf([A, B]))
    expect(boot.held).toBe('identity-conflict')
    expect(await world.machines.list()).toHaveLength(2)
  })

  test('a boot that waits for a conflict goes on once a person has forgotten the record that is out of date', async () => {
    await using world = await createWorld()
    await world.machines.profiles.put(helloProfile)
    const [a, b] = [await sayHello(world, helloOf(A)), await sayHello(world, helloOf(B))]
    for (const { machine } of [a, b]) await world.machines.approve(machine.id, 'anna')
    const both = await sayHello(world, helloOf([A, B]))
    const status = async () => (await world.machines.eligibility(both.boot.id)).eligibility.status
    expect(await status()).toBe('wait')
    await world.machines.retire((both.machine.id === a.machine.id ? b : a).machine.id, 'anna')
    expect(await status()).toBe('wait')
    await world.machines.forget((both.machine.id === a.machine.id ? b : a).machine.id, 'anna')
    expect(await status()).toBe('boot')
    expect((await world.machines.boot(both.boot.id)).held).toBeUndefined()
    expect(await kinds(world, { bootId: both.boot.id })).toContain('identity-settled')
  })

  test('machines whose vendor gave them all one UUID boot side by side', async () => {
    await using world = await createWorld()
    for (const mac of [A, B]) {
      const { machine } = await sayHello(world, helloOf(mac, { uuid: uuidA }))
      await world.machines.approve(machine.id, 'anna')
    }
    for (const mac of [A, B])
      expect((await sayHello(world, helloOf(mac, { uuid: uuidA }))).boot.held).toBeUndefined()
  })

  test('a junk UUID raises no doubt', async () => {
    await using world = await createWorld()
    const junk = { uuid: '03000200-0400-0500-0006-000700080009', serial: 'To be filled by O.E.M.' }
    for (const mac of [A, B]) {
      const { machine } = await sayHello(world, helloOf(mac, junk))
      expect(machine.uuid).toBeUndefined()
      await world.machines.approve(machine.id, 'anna')
      expect((await sayHello(world, helloOf(mac, junk))).boot.held).toBeUndefined()
    }
  })

  test('a hello without an address, or with another kind of key, is refused', async () => {
    await using world = await createWorld()
    await expect(sayHello(world, helloOf('00:00:00:00:00:00'))).rejects.toMatchObject({
      code: 'request-invalid',
    })
    const key = generateKeyPairSync('x25519').publicKey
    await expect(sayHello(world, helloOf(A, { key }))).rejects.toMatchObject({ code: 'request-invalid' })
    expect(await world.machines.list()).toEqual([])
  })
})

describe('a second hello', () => {
  test('never ends the first boot, and both are told of the rival', async () => {
    await using world = await createWorld()
    const first = await sayHello(world, helloOf(A))
    const second = await sayHello(world, helloOf(A), '192.0.2.66')
    await world.machines.authenticate(signed(first.boot.id, 1))
    expect((await world.machines.boot(first.boot.id)).outcome).toBeUndefined()
    for (const { boot } of [first, second]) expect(await kinds(world, { bootId: boot.id })).toContain('rival')
  })

  test('after a long silence is no rival', async () => {
    await using world = await createWorld()
    await sayHello(world, helloOf(A))
    world.pass(3_600_000)
    const { boot } = await sayHello(world, helloOf(A))
    expect(await kinds(world, { bootId: boot.id })).not.toContain('rival')
  })

  test('many of them push out silent boots, not the one at work', async () => {
    await using world = await createWorld({ limits: { bootsPerMachineMax: 5 } })
    const real = await sayHello(world, helloOf(A))
    await world.machines.approve(A, 'anna')
    await world.machines.authenticate(signed(real.boot.id, 1))
    for (let number = 0; number < 12; number++) {
      world.pass(1000)
      await sayHello(world, helloOf(A), `192.0.2.${100 + number}`)
    }
    const boots = await world.machines.boots(real.machine.id)
    expect(boots).toHaveLength(5)
    expect(boots.map((boot) => boot.id)).toContain(real.boot.id)
  })

  test('from a neighbour cannot use up what the machine itself may say', async () => {
    await using world = await createWorld({ limits: { hellosPerMinutePerMachineMax: 3 } })
    await sayHello(world, helloOf(A))
    const neighbour = () => sayHello(world, helloOf(A), '192.0.2.66')
    for (let number = 0; number < 3; number++) await neighbour()
    await expect(neighbour()).rejects.toMatchObject({ code: 'limit-reached', details: { retrySeconds: 60 } })
    await sayHello(world, helloOf(A))
  })
})

describe('limits', () => {
  test('the longest unseen undecided machine is forgotten, an approved one never', async () => {
    await using world = await createWorld({ limits: { undecidedMax: 3 } })
    const kept = await sayHello(world, helloOf(A))
    await world.machines.approve(kept.machine.id, 'anna')
    const seen: string[] = []
    for (let number = 0; number < 6; number++) {
      world.pass(1000)
      seen.push((await sayHello(world, helloOf(`52:54:00:00:01:0${number}`), `192.0.2.${number}`)).machine.id)
    }
    const ids = (await world.machines.list()).map((machine) => machine.id)
    expect(ids.sort()).toEqual([kept.machine.id, ...seen.slice(3)].sort())
  })

  test('a flood from one address forgets only its own', async () => {
    await using world = await createWorld({ limits: { undecidedMax: 100, undecidedPerAddressMax: 4 } })
    const real = await sayHello(world, helloOf(A), '192.0.2.10')
    for (let number = 10; number < 40; number++) {
      world.pass(1000)
      await sayHello(world, helloOf(`52:54:00:00:02:${number}`), '192.0.2.66')
    }
    const ids = (await world.machines.list()).map((machine) => machine.id)
    expect(ids).toHaveLength(5)
    expect(ids).toContain(real.machine.id)
  })

  test('a waiting machine that keeps asking is not the one that is forgotten', async () => {
    await using world = await createWorld({ limits: { undecidedMax: 3 } })
    const real = await sayHello(world, helloOf(A))
    for (let number = 0; number < 6; number++) {
      world.pass(1000)
      await sayHello(world, helloOf(`52:54:00:00:01:0${number}`), `192.0.2.${number}`)
      await world.machines.authenticate(signed(real.boot.id, number + 1))
    }
    expect((await world.machines.get(real.machine.id)).id).toBe(real.machine.id)
  })

  test('an address that says hello too often is told to wait, and may speak again later', async () => {
    await using world = await createWorld({ limits: { hellosPerMinutePerAddressMax: 2 } })
    await sayHello(world, helloOf(A))
    await sayHello(world, helloOf(B))
    await expect(sayHello(world, helloOf(C))).rejects.toMatchObject({ code: 'limit-reached' })
    await sayHello(world, helloOf(C), '192.0.2.11')
    world.pass(60_000)
    await sayHello(world, helloOf(A))
  })
})
