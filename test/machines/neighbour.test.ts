/** Somebody beside a machine who says hello with its MAC address, signs with keys of his own, and never stops. */
import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { errorCodeOf } from '../../src/errors.ts'
import { sharesOfNetwork, sourceOf } from '../../src/machines/identifiers.ts'
import { machineLimits } from '../../src/machines/limits.ts'
import { createWorld, helloOf, kinds, sayHello, signed, type World } from './world.ts'

const mac = '52:54:00:12:34:56'
const stranger = generateKeyPairSync('ed25519')

const kexec = { step: 'kexec' as const, status: 'done' as const, uptimeMs: 9000 }

/** Hellos for the machine, each followed by a signed request, as fast as one address may. */
async function neighbour(world: World, hellos: number, said: object = {}, from = '192.0.2.66') {
  for (let count = 0; count < hellos; count++) {
    world.pass(60_000 / machineLimits.hellosPerMinutePerMachineMax)
    const hello = helloOf(mac, { key: stranger.publicKey, ...said })
    const { boot } = await sayHello(world, hello, from)
    await world.machines.authenticate(signed(boot.id, 1, {}, { key: stranger.privateKey }))
  }
}

describe("a neighbour who claims a machine's address", () => {
  test('does not push out the boot whose operating system is coming up, and it joins', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(mac))
    await world.machines.approve(mac, 'anna')
    const session = await world.machines.authenticate(signed(boot.id, 1))
    await world.machines.recordAgentEvents(session, { events: [kexec] })
    await neighbour(world, machineLimits.bootsPerMachineMax + 5)
    const token = world.machines.reportToken(boot.id)
    await world.machines.report({ boot: boot.id, status: 'joined', token, address: '192.0.2.10' })
    expect((await world.machines.boot(boot.id)).outcome).toBe('joined')
    expect(await world.machines.boots(boot.machineId, 500)).toHaveLength(machineLimits.bootsPerMachineMax)
  })

  test('does not push what a person decided out of its record', async () => {
    await using world = await createWorld({ limits: { eventsPerMachineMax: 20 } })
    const { machine } = await sayHello(world, helloOf(mac, { serial: 'serial-0001' }))
    await world.machines.approve(mac, 'anna')
    await neighbour(world, 30, { serial: 'serial-0002' })
    const recorded = await world.machines.events({ machineId: machine.id, limit: 1000 })
    const loose = recorded.filter(({ bootId }) => bootId === undefined)
    expect(loose.map(({ kind }) => kind)).toContain('approved')
    expect(loose).toHaveLength(20)
    expect(loose.at(-1)?.kind).toBe('identity-changed')
  })

  test('does not fill the record of a boot that is at work with his own', async () => {
    await using world = await createWorld({ limits: { eventsPerBootMax: 24 } })
    const { boot } = await sayHello(world, helloOf(mac))
    let sequence = 0
    const says = async (status: 'progress' | 'done') => {
      const session = await world.machines.authenticate(signed(boot.id, ++sequence))
      await world.machines.recordAgentEvents(session, { events: [{ step: 'blobs', status, uptimeMs: 1 }] })
    }
    for (let count = 0; count < 30; count++) {
      await says('progress')
      await neighbour(world, 1)
    }
    await says('done')
    const found = await world.machines.events({ bootId: boot.id, limit: 1000 })
    expect(found.at(-1)?.message).toBe('blobs done')
    expect(found.filter(({ kind }) => kind === 'rival').length).toBeGreaterThan(0)
  })

  test('does not make one machine of two that nobody knows yet', async () => {
    await using world = await createWorld()
    const [first, second] = ['52:54:00:00:00:01', '52:54:00:00:00:02']
    await sayHello(world, helloOf([first, second]), '192.0.2.66')
    const one = await sayHello(world, helloOf(first), '192.0.2.1')
    const other = await sayHello(world, helloOf(second), '192.0.2.2')
    expect(other.machine.id).not.toBe(one.machine.id)
    await sayHello(world, helloOf([first, second]), '192.0.2.66')
    expect((await world.machines.find(first)).macs).toEqual([first])
    expect((await world.machines.find(second)).id).toBe(other.machine.id)
    expect(await kinds(world, { machineId: other.machine.id })).toContain('discovered')
  })
})

const macOf = (count: number) =>
  `52:54:00:99:${count
    .toString(16)
    .padStart(4, '0')
    .replace(/(..)(..)/, '$1:$2')}`

/** So many hellos of as many machines; what is refused is refused. */
async function flood(world: World, hellos: number, from: (count: number) => string, first = 0) {
  for (let count = first; count < first + hellos; count++)
    await sayHello(world, helloOf(macOf(count)), from(count)).catch(() => {})
}

// On a LAN with SLAAC the router announces one /64 to all; link-local addresses of a link share theirs by definition.
describe.each([
  ['IPv4', '192.0.2.66', '192.0.2.7'],
  ['IPv6', '2001:db8:1:2::bad', '2001:db8:1:2:5054:ff:fe00:1'],
  ['link-local IPv6', 'fe80::bad%eth0', 'fe80::5054:ff:fe00:1%eth0'],
])('a neighbour on the same LAN, by %s,', (_, attacker, honest) => {
  test('uses up no hellos but his own', async () => {
    await using world = await createWorld()
    await flood(world, 2 * machineLimits.hellosPerMinutePerAddressMax, () => attacker)
    await expect(sayHello(world, helloOf(mac), attacker)).rejects.toMatchObject({
      code: 'limit-reached',
      message: expect.stringContaining(`too many hellos from ${sourceOf(attacker).host}:`),
    })
    expect(await sayHello(world, helloOf(mac), honest)).toHaveProperty('machine')
  })

  test('pushes out no records but his own', async () => {
    await using world = await createWorld({ limits: { undecidedPerAddressMax: 8 } })
    const { machine } = await sayHello(world, helloOf(mac), honest)
    world.pass(1000)
    await flood(world, 20, () => attacker)
    expect((await world.machines.get(machine.id)).id).toBe(machine.id)
    expect((await world.machines.list({ limit: 100 })).length).toBe(1 + 8)
  })
})

describe('one host with any number of addresses of its /64', () => {
  const from = (count: number) => `2001:db8:1:2::${(count + 1).toString(16)}`

  test('gets no more hellos than the /64 has', async () => {
    await using world = await createWorld({ limits: { hellosPerMinutePerAddressMax: 5 } })
    await flood(world, 5 * sharesOfNetwork, from)
    await expect(sayHello(world, helloOf(mac), from(999))).rejects.toMatchObject({
      code: 'limit-reached',
      message: expect.stringContaining('too many hellos from the network 2001:db8:1:2::/64:'),
    })
    for (const other of ['2001:db8:1:3::1', '192.0.2.7'])
      expect(await sayHello(world, helloOf(mac), other)).toHaveProperty('machine')
  })

  test('keeps no more records than the /64 may, and pushes out nobody outside of it', async () => {
    await using world = await createWorld({ limits: { undecidedPerAddressMax: 2 } })
    const { machine } = await sayHello(world, helloOf(mac), '2001:db8:1:3::1')
    world.pass(1000)
    await flood(world, 40, from)
    expect((await world.machines.list({ limit: 100 })).length).toBe(1 + 2 * sharesOfNetwork)
    expect((await world.machines.get(machine.id)).id).toBe(machine.id)
  })
})

describe('a neighbour with as many addresses as boots are kept', () => {
  const max = machineLimits.bootsPerMachineMax
  const plan = {
    target: 'hello/1/amd64',
    digest: `sha256:${'0'.repeat(64)}`,
    issuedAt: '2026-06-01T08:00:00Z',
    because: ['x'],
  }

  /** A machine that a person approved, whose boot got its plan. */
  async function atWork(world: World, address = '192.0.2.10') {
    const { boot } = await sayHello(world, helloOf(mac), address)
    await world.machines.approve(mac, 'anna')
    const session = await world.machines.authenticate(signed(boot.id, 1))
    await world.machines.recordPlan(boot, plan)
    return { boot, session }
  }

  /** One boot from each of so many addresses, signed, and with the plan that anybody gets who claims the address. */
  async function crowd(world: World, boots: number, from: (count: number) => string, isGivenPlan: boolean) {
    const codes: (string | undefined)[] = []
    for (let count = 0; count < boots; count++) {
      world.pass(1000)
      const hello = helloOf(mac, { key: stranger.publicKey })
      try {
        const { boot } = await sayHello(world, hello, from(count))
        await world.machines.authenticate(signed(boot.id, 1, {}, { key: stranger.privateKey }))
        if (isGivenPlan) await world.machines.recordPlan(boot, plan)
        codes.push(undefined)
      } catch (error) {
        codes.push(errorCodeOf(error))
      }
    }
    return codes
  }
  const ipv4 = (count: number) => `198.51.100.${count + 1}`

  test('does not push out a boot that was given a plan, though it has been silent for longer than all his', async () => {
    await using world = await createWorld()
    const { boot } = await atWork(world)
    expect(new Set(await crowd(world, max + 20, ipv4, false))).toEqual(new Set([undefined]))
    expect(await world.machines.boot(boot.id)).toMatchObject({ plan })
    expect(await world.machines.boots(boot.machineId, 500)).toHaveLength(max)
  })

  test('is refused himself where each of his boots is at work too, and the machine goes on and reports', async () => {
    await using world = await createWorld()
    const { boot, session } = await atWork(world)
    await world.machines.recordAgentEvents(session, { events: [kexec] })
    const codes = await crowd(world, max + 3, ipv4, true)
    expect(codes.slice(0, max - 1)).toEqual(Array(max - 1).fill(undefined))
    expect(codes.slice(max - 1)).toEqual(Array(4).fill('limit-reached'))
    // Longer than a silent boot is waited for: its operating system may still be coming up.
    world.pass(machineLimits.abandonedAfterMs + 1000)
    await world.machines.sweep()
    await crowd(world, max + 3, ipv4, true)
    const token = world.machines.reportToken(boot.id)
    await world.machines.report({ boot: boot.id, status: 'joined', token, address: '192.0.2.10' })
    expect((await world.machines.boot(boot.id)).outcome).toBe('joined')
  })

  test('does not keep the machine itself from starting again at its own address', async () => {
    await using world = await createWorld()
    const first = (await atWork(world)).boot
    await crowd(world, max - 1, ipv4, true)
    const again = await sayHello(world, helloOf(mac), '192.0.2.10')
    expect(again.boot.id).not.toBe(first.id)
    await expect(world.machines.boot(first.id)).rejects.toMatchObject({ code: 'boot-not-found' })
    expect(await world.machines.boots(first.machineId, 500)).toHaveLength(max)
  })

  test('keeps nobody out when the time to report is over', async () => {
    await using world = await createWorld()
    await atWork(world)
    await crowd(world, max - 1, ipv4, true)
    await expect(sayHello(world, helloOf(mac), '192.0.2.11')).rejects.toMatchObject({
      code: 'limit-reached',
      details: { setting: 'machines.bootsMax', retrySeconds: 60 },
    })
    world.pass(machineLimits.reportWithinMs + 1)
    expect(await sayHello(world, helloOf(mac), '192.0.2.11')).toHaveProperty('boot')
  })

  test('has of his /64 only a share, or one host would lock a machine out', async () => {
    await using world = await createWorld()
    const { boot } = await atWork(world, '2001:db8:1:3::1')
    const codes = await crowd(world, 2 * max, (count) => `2001:db8:1:2::${(count + 1).toString(16)}`, true)
    expect(codes).not.toContain('limit-reached')
    expect(await sayHello(world, helloOf(mac), '192.0.2.11')).toHaveProperty('boot')
    expect(await world.machines.boot(boot.id)).toMatchObject({ plan })
  })
})
