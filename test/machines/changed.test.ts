import { generateKeyPairSync } from 'node:crypto'
import { sql } from 'kysely'
import { describe, expect, test } from 'vitest'
import { createWorld, helloOf, helloProfile, kinds, sayHello, type World } from './world.ts'

const [A, B, X] = ['52:54:00:00:00:0a', '52:54:00:00:00:0b', '52:54:00:66:66:66'] as const
const stranger = { key: generateKeyPairSync('ed25519').publicKey }
const elsewhere = '192.0.2.66'

const statusOf = async (world: World, bootId: string) =>
  (await world.machines.eligibility(bootId)).eligibility.status

describe('a machine that says other MAC addresses before anybody decided on it', () => {
  /** The record of A, which a stranger's two hellos made into one of X. */
  async function moved(world: World) {
    await world.machines.profiles.put(helloProfile)
    const { machine } = await sayHello(world, helloOf(A))
    world.pass(1000)
    await sayHello(world, helloOf([A, X], stranger), elsewhere)
    world.pass(1000)
    await sayHello(world, helloOf(X, stranger), elsewhere)
    return world.machines.get(machine.id)
  }

  test('is not approved in the belief that it is the one that was seen', async () => {
    await using world = await createWorld()
    const machine = await moved(world)
    expect(machine).toMatchObject({ macs: [X], macsChangedAt: '2026-06-01T08:00:02.000Z' })
    expect(await kinds(world, { machineId: machine.id })).toEqual(
      expect.arrayContaining(['discovered', 'macs-changed']),
    )
    const refused = { code: 'machine-changed', message: expect.stringContaining(X) }
    await expect(world.machines.approve(machine.name, 'anna')).rejects.toMatchObject(refused)
    await expect(world.machines.approve(machine.name, 'anna', { macs: [A] })).rejects.toMatchObject(refused)
    await expect(world.machines.approve(machine.name, 'anna', { macs: [A, X] })).rejects.toMatchObject(
      refused,
    )
    await world.machines.quarantine(machine.name, 'anna')
    await expect(world.machines.approve(machine.name, 'anna')).rejects.toMatchObject(refused)
    expect((await world.machines.get(machine.id)).enrolment).toBe('quarantined')
    expect(await kinds(world, { machineId: machine.id })).not.toContain('approved')
  })

  test('is approved with its addresses named, in any notation, and keeps them', async () => {
    await using world = await createWorld()
    const { id } = await moved(world)
    await world.machines.approve(id, 'anna', { macs: [X.toUpperCase().replaceAll(':', '-')] })
    const approved = await world.machines.get(id)
    expect(approved).toMatchObject({ enrolment: 'approved', macs: [X] })
    expect(approved).not.toHaveProperty('macsChangedAt')
    await world.machines.approve(id, 'anna')
  })

  test('is approved without naming them when they never changed, or refused when others are named', async () => {
    await using world = await createWorld()
    const { machine } = await sayHello(world, helloOf([A, B]))
    await sayHello(world, helloOf([B, A]))
    await expect(world.machines.approve(machine.id, 'anna', { macs: [A] })).rejects.toMatchObject({
      code: 'machine-changed',
    })
    expect(await world.machines.approve(machine.id, 'anna', { macs: [B, A] })).toMatchObject({
      enrolment: 'approved',
    })
  })

  test('is approved with the event that says so, or not at all', async () => {
    await using world = await createWorld()
    const { machine } = await sayHello(world, helloOf(A))
    // As a server that is killed between the two, or a disk that is full.
    await sql`create trigger broken before insert on events begin select raise(abort, 'disk'); end`.execute(
      world.database.db,
    )
    await expect(world.machines.approve(machine.id, 'anna')).rejects.toMatchObject({
      code: 'database-failed',
    })
    expect((await world.machines.get(machine.id)).enrolment).toBe('discovered')
    await sql`drop trigger broken`.execute(world.database.db)
    await world.machines.approve(machine.id, 'anna')
    expect(await kinds(world, { machineId: machine.id })).toContain('approved')
  })

  test('says so once per change, not per hello', async () => {
    await using world = await createWorld()
    const { machine } = await sayHello(world, helloOf(A))
    for (let round = 0; round < 3; round++) await sayHello(world, helloOf([A, B]))
    const changed = (await kinds(world, { machineId: machine.id })).filter((kind) => kind === 'macs-changed')
    expect(changed).toHaveLength(1)
  })

  test('says nothing of an address that another record holds, and is approved with those it has', async () => {
    await using world = await createWorld()
    const { machine } = await sayHello(world, helloOf(A))
    world.pass(1000)
    await sayHello(world, helloOf(X, stranger), elsewhere)
    for (let round = 0; round < 3; round++)
      expect((await sayHello(world, helloOf([A, X]))).machine.macs).toEqual([A])
    expect(await kinds(world, { machineId: machine.id })).not.toContain('macs-changed')
    expect((await world.machines.approve(machine.id, 'anna')).macs).toEqual([A])
  })
})

describe('addresses that mode auto let in', () => {
  test('do not lock out the machine that has both', async () => {
    await using world = await createWorld({ mode: 'auto' })
    await world.machines.profiles.put(helloProfile)
    await sayHello(world, helloOf(A, stranger), elsewhere)
    await sayHello(world, helloOf(B, stranger), elsewhere)
    const { boot } = await sayHello(world, helloOf([A, B]))
    expect(await statusOf(world, boot.id)).toBe('boot')
  })

  test('give way to the record that a person decided on', async () => {
    await using world = await createWorld({ mode: 'auto' })
    await world.machines.profiles.put(helloProfile)
    const { machine } = await sayHello(world, helloOf(A))
    await world.machines.approve(machine.id, 'anna')
    await sayHello(world, helloOf(B, stranger), elsewhere)
    const both = await sayHello(world, helloOf([A, B]))
    expect(both.machine.id).toBe(machine.id)
    expect(await statusOf(world, both.boot.id)).toBe('boot')
  })

  test('still conflict where a person decided on both', async () => {
    await using world = await createWorld({ mode: 'auto' })
    await world.machines.profiles.put(helloProfile)
    for (const mac of [A, B]) {
      const { machine } = await sayHello(world, helloOf(mac))
      await world.machines.approve(machine.id, 'anna')
    }
    const { boot } = await sayHello(world, helloOf([A, B]))
    expect(boot.held).toBe('identity-conflict')
  })
})
