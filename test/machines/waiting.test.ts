import { describe, expect, test } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { createWorld, helloOf, kinds, sayHello, type World } from './world.ts'

/** A log whose warnings are kept. */
function keptLog() {
  const lines: string[] = []
  return { lines, log: { ...silentLog, warn: (_: object, line = '') => void lines.push(line) } }
}

/** As the planner does, when a machine that nobody approved asks for its plan. */
async function asks(world: World, boot: string): Promise<void> {
  const { eligibility } = await world.machines.eligibility(boot)
  if (eligibility.status === 'wait') await world.machines.recordWait(boot, { reason: eligibility.reason })
}

const profile = { name: 'all', image: { name: 'edge', channel: 'stable' } }

describe('a machine that waits for a person', () => {
  test('is named in the log with the command that lets it boot, once for each boot, however often it asks', async () => {
    const { lines, log } = keptLog()
    await using world = await createWorld({ log })
    await world.machines.profiles.put(profile)
    const request = helloOf('52:54:00:00:00:01')
    const { machine, boot } = await sayHello(world, request)
    const { name } = machine
    for (let again = 0; again < 5; again++) {
      await asks(world, boot.id)
      // Its reply was lost, and it says the same hello again.
      expect((await sayHello(world, request)).boot.id).toBe(boot.id)
    }
    expect(lines).toEqual([`${name} waits for a person: 'muster approve ${name}' lets it boot`])
    expect((await kinds(world, { machineId: machine.id })).filter((kind) => kind === 'waiting')).toHaveLength(
      1,
    )

    // Switched off and on again: somebody may stand beside it now.
    world.pass(60_000)
    const second = await sayHello(world, helloOf('52:54:00:00:00:01'))
    await asks(world, second.boot.id)
    expect(lines).toHaveLength(2)
    expect((await kinds(world, { machineId: machine.id })).filter((kind) => kind === 'waiting')).toHaveLength(
      1,
    )
  })

  test('that starts over and over fills no log', async () => {
    const { lines, log } = keptLog()
    await using world = await createWorld({ log })
    await world.machines.profiles.put(profile)
    for (let start = 0; start < 15; start++)
      await asks(world, (await sayHello(world, helloOf('52:54:00:00:00:01'))).boot.id)
    expect(lines).toHaveLength(2)
  })

  test('is said once where it asks twice at the same time', async () => {
    const { lines, log } = keptLog()
    await using world = await createWorld({ log })
    await world.machines.profiles.put(profile)
    const { boot } = await sayHello(world, helloOf('52:54:00:00:00:01'))
    await Promise.all([asks(world, boot.id), asks(world, boot.id), asks(world, boot.id)])
    expect(lines).toHaveLength(1)
  })

  test('does not disappear behind strangers without the log saying that there are more', async () => {
    const { lines, log } = keptLog()
    await using world = await createWorld({ log, limits: { waitLinesPerMinuteMax: 10 } })
    await world.machines.profiles.put(profile)
    const strangers = 600
    for (let index = 0; index < strangers; index++) {
      const mac = `02:00:00:00:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`
      const { boot } = await sayHello(world, helloOf(mac), `10.0.${index >> 8}.${index & 255}`)
      await asks(world, boot.id)
      world.pass(100)
    }
    // One minute of them: ten at once, ten that flow back, and that there are more, at its beginning and its end.
    const more = lines.filter((line) => line.includes("'muster machines' lists them"))
    expect(more.length).toBeGreaterThan(0)
    expect(more.length).toBeLessThanOrEqual(2)
    expect(lines.length - more.length).toBeGreaterThanOrEqual(10)
    expect(lines.length - more.length).toBeLessThanOrEqual(20)
  })
})

describe('a list of machines', () => {
  test('says of each what it waits for, and with which it is in conflict', async () => {
    await using world = await createWorld()
    const { machines } = world
    const uuid = '6d757374-6572-4b6f-8000-5254006d7502'
    const nobody = await sayHello(world, helloOf('52:54:00:00:00:01'))
    expect((await machines.standings([nobody.machine])).get(nobody.machine.id)).toMatchObject({
      eligibility: { status: 'skip' },
    })
    await machines.profiles.put(profile)
    const A = await sayHello(world, helloOf('52:54:00:00:00:0a', { uuid }))
    const B = await sayHello(world, helloOf('52:54:00:00:00:0b'))
    for (const { machine } of [A, B]) await machines.approve(machine.id, 'anna')
    // A board that has the MAC addresses of both.
    const both = await sayHello(world, helloOf(['52:54:00:00:00:0a', '52:54:00:00:00:0b']))
    expect(both.boot.held).toBe('identity-conflict')
    const other = both.machine.id === A.machine.id ? B.machine : A.machine
    const all = await machines.list()
    const standings = await machines.standings(all)
    expect(standings.get(both.machine.id)).toMatchObject({
      eligibility: { status: 'wait', for: 'settlement' },
      conflictWith: other.name,
    })
    expect(standings.get(nobody.machine.id)).toMatchObject({
      eligibility: { status: 'wait', for: 'approval' },
    })
    expect(standings.get(other.id)).toMatchObject({ eligibility: { status: 'boot' } })
    expect(await machines.namesOf([other.id, 'm-gone'])).toEqual(new Map([[other.id, other.name]]))
  })
})
