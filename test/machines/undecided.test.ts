/** What somebody can make a server keep whose machines no person decided on, and what an honest machine that waits has of it. */
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { machineLimits } from '../../src/machines/limits.ts'
import { createUndecidedBudget } from '../../src/machines/undecided.ts'
import type { AgentEvent } from '../../src/protocol/events.ts'
import { createWorld, helloOf, helloProfile, sayHello, signed, type World } from './world.ts'

const mac = '52:54:00:12:34:56'
const macOf = (number: number) => `52:54:00:99:00:${number.toString(16).padStart(2, '0')}`

// Three bytes of UTF-8 and one unit of UTF-16.
const wide = '世'
const bulky: AgentEvent = {
  step: 'network',
  status: 'started',
  uptimeMs: 1,
  message: wide.repeat(2000),
  data: { x: 'x'.repeat(3900) },
}

async function says(world: World, boot: string, sequence: number, events: AgentEvent[], console?: string) {
  const session = await world.machines.authenticate(signed(boot, sequence, {}, { what: 'events' }))
  await world.machines.recordAgentEvents(session, { events, ...(console === undefined ? {} : { console }) })
}

/** Of a machine that nobody knows, as much as one request carries, as often as is taken. */
async function fill(world: World, number: number, address = '192.0.2.66', requests = 4) {
  const { boot } = await sayHello(world, helloOf(macOf(number)), address)
  for (let sequence = 1; sequence <= requests; sequence++)
    await says(world, boot.id, sequence, Array(16).fill(bulky))
  return boot
}

async function keptBytes(world: World): Promise<number> {
  const events = await world.database.db.selectFrom('events').select(['message', 'data']).execute()
  return events.reduce(
    (sum, { message, data }) => sum + Buffer.byteLength(message) + Buffer.byteLength(data),
    0,
  )
}

describe('an event', () => {
  test('is cut by its bytes in UTF-8, never in the middle of a character', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(mac))
    await says(world, boot.id, 1, [{ ...bulky, data: { x: wide.repeat(2000) } }])
    const event = (await world.machines.events({ bootId: boot.id })).at(-1)
    const bytes = Buffer.byteLength(event?.message ?? '')
    expect(bytes).toBeLessThanOrEqual(machineLimits.eventMessageBytes)
    expect(bytes).toBeGreaterThan(machineLimits.eventMessageBytes - 3)
    expect(event?.message).toMatch(new RegExp(`^network started: ${wide}+$`, 'u'))
    expect(event?.data).toEqual({ dropped: 'too large' })
  })
})

describe('a machine that waits for a person', () => {
  test('has few boots and few events, and no console', async () => {
    await using world = await createWorld()
    for (let boots = 0; boots < 8; boots++) {
      world.pass(60_000)
      await fill(world, 1, '192.0.2.66', 8)
    }
    const boots = await world.machines.boots((await world.machines.find(macOf(1))).id)
    expect(boots).toHaveLength(machineLimits.undecidedBootsMax)
    for (const { id } of boots) {
      const kept = await world.machines.events({ bootId: id, limit: 1000 })
      expect(kept).toHaveLength(machineLimits.undecidedEventsPerBootMax)
    }
    const { boot } = await sayHello(world, helloOf(macOf(2)))
    await says(world, boot.id, 1, [bulky], 'console '.repeat(1000))
    expect(await world.machines.boot(boot.id)).not.toHaveProperty('console')
  })

  test('says why it fails, however much it said before', async () => {
    await using world = await createWorld()
    const boot = await fill(world, 1, '192.0.2.10', 8)
    const message = 'no answer from a DHCP server'
    await says(world, boot.id, 9, [
      { step: 'network', status: 'failed', uptimeMs: 9000, code: 'network-unavailable', message },
    ])
    expect(await world.machines.boot(boot.id)).toMatchObject({ outcome: 'failed', step: 'network' })
    const last = (await world.machines.events({ bootId: boot.id })).at(-1)
    expect(last).toMatchObject({ kind: 'outcome', message: `failed: ${message}` })
  })

  test('has as much as any other from the moment it is approved, in the very boot that waited', async () => {
    await using world = await createWorld()
    const boot = await fill(world, 1, '192.0.2.10', 8)
    await world.machines.approve(macOf(1), 'anna')
    await says(world, boot.id, 9, [{ step: 'blobs', status: 'started', uptimeMs: 1 }], 'console')
    expect((await world.machines.events({ bootId: boot.id })).at(-1)?.message).toBe('blobs started')
    expect((await world.machines.boot(boot.id)).console).toBe('console')
  })
})

describe('all machines together that no person decided on', () => {
  const undecidedBytesMax = 2_000_000

  test('keep no more bytes than their budget, and a file of that size', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-undecided-'))
    const path = join(folder, 'muster.db')
    try {
      await using world = await createWorld({ path, limits: { undecidedBytesMax } })
      let most = 0
      for (let number = 0; number < 16; number++) {
        world.pass(1000)
        await fill(world, number)
        most = Math.max(most, await keptBytes(world))
      }
      // 16 times 64 events of some 6 kB, three times the budget, were said.
      expect(most).toBeGreaterThan(undecidedBytesMax / 2)
      expect(most).toBeLessThanOrEqual(undecidedBytesMax)
      expect((await stat(path)).size).toBeLessThan(2 * undecidedBytesMax)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('make room from who takes most, the oldest first; one that waits beside it keeps all it said', async () => {
    await using world = await createWorld({ limits: { undecidedBytesMax } })
    const waiting = await sayHello(world, helloOf(mac), '192.0.2.10')
    await says(world, waiting.boot.id, 1, [{ step: 'network', status: 'done', uptimeMs: 1 }])
    const before = await world.machines.events({ machineId: waiting.machine.id })
    const floods: string[] = []
    for (let number = 0; number < 16; number++) {
      world.pass(1000)
      floods.push((await fill(world, number)).id)
    }
    expect(await world.machines.events({ machineId: waiting.machine.id })).toEqual(before)
    await says(world, waiting.boot.id, 2, [{ step: 'plan', status: 'started', uptimeMs: 2 }])
    await expect(world.machines.boot(floods[0] as string)).rejects.toMatchObject({ code: 'boot-not-found' })
    expect(await world.machines.boot(floods.at(-1) as string)).toMatchObject({ step: 'network' })
  })

  test('push out nothing of a machine that a person decided on, whatever it keeps', async () => {
    await using world = await createWorld({ limits: { undecidedBytesMax } })
    const decided = await fill(world, 99)
    await world.machines.approve(macOf(99), 'anna')
    const before = await world.machines.events({ bootId: decided.id, limit: 1000 })
    for (let number = 0; number < 12; number++) await fill(world, number)
    expect(await world.machines.events({ bootId: decided.id, limit: 1000 })).toEqual(before)
  })

  test('are held to it by the sweep also where a server starts with more', async () => {
    await using world = await createWorld()
    for (let number = 0; number < 4; number++) await fill(world, number)
    const lines: object[] = []
    const budget = createUndecidedBudget({
      database: world.database,
      limits: { undecidedBytesMax: 500_000 },
      now: () => new Date(0),
      log: { warn: (facts: object) => void lines.push(facts) },
    })
    expect(await budget.makeRoom()).toBeGreaterThan(0)
    expect(await keptBytes(world)).toBeLessThanOrEqual(500_000)
    expect(lines).toMatchObject([{ source: '192.0.2.66', setting: 'enrolment.undecidedBytesMax' }])
    expect(await budget.makeRoom()).toBe(0)
  })

  test('lose nothing that was kept where no room can be made: only the log says so', async () => {
    await using world = await createWorld()
    const lines: string[] = []
    const budget = createUndecidedBudget({
      database: world.database,
      limits: { undecidedBytesMax: 1600 },
      now: () => new Date(0),
      log: { warn: (_: object, line: string) => void lines.push(line) },
    })
    await budget.wrote(99)
    await world.database[Symbol.asyncDispose]()
    await budget.wrote(1)
    expect(lines).toEqual(['no room could be made in the database'])
  })

  test('keep, in mode auto, the boot that is at work until nothing else of its address is left', async () => {
    await using world = await createWorld({ mode: 'auto', limits: { undecidedBytesMax } })
    await world.machines.profiles.put(helloProfile)
    const { boot } = await sayHello(world, helloOf(mac), '192.0.2.66')
    const digest = `sha256:${'0'.repeat(64)}`
    const plan = { target: 'hello/1/amd64', digest, issuedAt: '2026-06-01T08:00:00Z', because: ['x'] }
    await world.machines.recordPlan(boot, plan)
    for (let number = 0; number < 10; number++) {
      world.pass(1000)
      await fill(world, number, '192.0.2.66', 8)
    }
    expect((await world.machines.boot(boot.id)).plan).toEqual(plan)
  })
})
