import { expect, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { unlessForgotten } from '../../src/machines/claimed.ts'
import { createWorld, helloOf, sayHello } from './world.ts'

const uuid = '4c4c4544-0042-3510-8054-b4c04f4d3132'

async function withMachine(mac: string, said: Parameters<typeof helloOf>[1]) {
  const world = await createWorld()
  const { machine } = await sayHello(world, helloOf(mac, said))
  return { world, machine }
}

test('firmware is known by its MAC address, else by a UUID or serial number that no other machine has', async () => {
  const { world, machine } = await withMachine('52:54:00:00:00:01', { uuid, serial: 'PF3X91AB' })
  await using _ = world
  const { findClaimed } = world.machines
  for (const claimed of [{ mac: '52:54:00:00:00:01' }, { uuid }, { serial: 'pf3x91ab' }])
    expect((await findClaimed(claimed))?.id, JSON.stringify(claimed)).toBe(machine.id)
  expect(await findClaimed({ mac: '52:54:00:00:00:02' })).toBeUndefined()
  expect(await findClaimed({})).toBeUndefined()
  await sayHello(world, helloOf('52:54:00:00:00:03', { uuid, serial: 'PF3X91AB' }))
  expect(await findClaimed({ uuid })).toBeUndefined()
  expect(await findClaimed({ serial: 'pf3x91ab' })).toBeUndefined()
})

test('a Raspberry Pi asks with the last 32 bits of the serial number that Linux says', async () => {
  const { world, machine } = await withMachine('dc:a6:32:01:36:c2', { serial: '100000009ffefdef' })
  await using _ = world
  expect((await world.machines.findClaimed({ serial: '9ffefdef' }))?.id).toBe(machine.id)
  expect(await world.machines.findClaimed({ serial: '%fefdef' })).toBeUndefined()
})

test('a Pi 3 whose serial number no record has is known by the MAC address that comes of it', async () => {
  const { world, machine } = await withMachine('b8:27:eb:6c:4c:16', {})
  await using _ = world
  expect((await world.machines.findClaimed({ serial: 'b66c4c16' }))?.id).toBe(machine.id)
})

test('a database that fails does not make a known machine a new one', async () => {
  const gone = new MusterError('machine-not-found', 'No machine.')
  expect(await unlessForgotten(Promise.reject(gone))).toBeUndefined()
  const failed = new MusterError('database-failed', 'disk I/O error')
  await expect(unlessForgotten(Promise.reject(failed))).rejects.toMatchObject({ code: 'database-failed' })
})
