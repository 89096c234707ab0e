/** Somebody beside a machine who says hello with its MAC address, signs with keys of his own, and never stops. */
import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { machineLimits } from '../../src/machines/limits.ts'
import { createWorld, helloOf, kinds, sayHello, signed, type World } from './world.ts'

const mac = '52:54:00:12:34:56'
const stranger = generateKeyPairSync('ed25519')

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
    const session = await world.machines.authenticate(signed(boot.id, 1))
    const kexec = { step: 'kexec' as const, status: 'done' as const, uptimeMs: 9000 }
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
