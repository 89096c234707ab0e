import { describe, expect, test } from 'vitest'
import { configSchema } from '../../src/config/schema.ts'
import { type BootStep, findStall, type HeardStep, stallSentence } from '../../src/machines/stalled.ts'
import { step as agentStep } from '../../src/protocol/events.ts'
import { expectedMsOf } from '../../src/setup/stalls.ts'
import { createWorld, helloOf, kinds, sayHello, signed } from './world.ts'

const expectedMs = expectedMsOf(configSchema.parse({}))
const facts = { hardware: 'virtual', ports: { firmware: 8080, agent: 8443, tftp: 69 } } as const
const mac = '52:54:00:12:34:56'

describe('the most likely cause', () => {
  const causeAfter = (heard: HeardStep[], more: object = {}) =>
    findStall(heard, expectedMs, { ...facts, ...more }, (heard.at(-1)?.atMs ?? 0) + 3_600_000)?.cause
  test.each<[string, HeardStep[], object, RegExp]>([
    ['an address and no TFTP request', [{ step: 'dhcp', atMs: 0 }], {}, /UDP port 69 is blocked/],
    [
      'an address, and TFTP where no ROM asks',
      [{ step: 'dhcp', atMs: 0 }],
      { ports: { firmware: 8080, agent: 8443, tftp: 6969 } },
      /listens on 6969/,
    ],
    [
      'a loader and no script',
      [{ step: 'loader', atMs: 0 }],
      {},
      /TCP port 8080 may be blocked.*Secure Boot/,
    ],
    [
      'the same loader again and again',
      [0, 1, 2].map((atMs) => ({ step: 'loader', atMs }) as const),
      {},
      /its loader instead of its script/,
    ],
    ['a script by TFTP and no kernel', [{ step: 'script', atMs: 0, over: 'tftp' }], {}, /TCP port 8080/],
    [
      'a script by HTTP and no kernel',
      [{ step: 'script', atMs: 0, over: 'http' }],
      {},
      /muster files unknown/,
    ],
    ['a kernel and no hello', [{ step: 'kernel', atMs: 0 }], {}, /TCP port 8443.*image\.hardware is virtual/],
    ['kexec and no report', [{ step: 'kexec', atMs: 0 }], {}, /did not report in/],
  ])('after %s', (_, heard, more, cause) => {
    expect(causeAfter(heard, more)).toMatch(cause)
  })
  test('of a real machine is not that it is none', () => {
    expect(causeAfter([{ step: 'kernel', atMs: 0 }], { hardware: 'server' })).not.toContain('virtual')
  })
  test('is there for every step, and only after its time', () => {
    const steps: BootStep[] = ['dhcp', 'loader', 'script', 'kernel', ...agentStep.options]
    for (const step of steps) {
      const at = (ms: number) => findStall([{ step, atMs: 1000 }], expectedMs, facts, 1000 + ms)
      expect(at(expectedMs[step]), step).toBeUndefined()
      if (step === 'report') expect(at(10 ** 9)).toBeUndefined()
      else
        expect(at(expectedMs[step] + 1), step).toMatchObject({ step, cause: expect.stringMatching(/.{30}/) })
    }
  })
  test('is that of what was heard last, in whatever order it comes', () => {
    const heard: HeardStep[] = [
      { step: 'kernel', atMs: 2000 },
      { step: 'dhcp', atMs: 0 },
    ]
    const stall = findStall(heard, expectedMs, facts, 1_000_000)
    expect(stall).toMatchObject({ step: 'kernel', silentSeconds: 998 })
    expect(stall && stallSentence(stall)).toMatch(
      /^nothing was heard for 998 s after 'kernel': the agent's kernel/,
    )
  })
  test('nothing heard is nothing to say', () => {
    expect(findStall([], expectedMs, facts, 1_000_000)).toBeUndefined()
  })
})

describe('a boot that stands still', () => {
  const sweep = (world: Awaited<ReturnType<typeof createWorld>>) =>
    world.machines.sweepStalled({ expectedMs, facts })

  test('is said once for each step, with the cause', async () => {
    await using world = await createWorld()
    const { boot, machine } = await sayHello(world, helloOf(mac))
    world.pass(expectedMs.hello)
    expect(await sweep(world)).toBe(0)
    world.pass(1)
    expect(await sweep(world)).toBe(1)
    world.pass(600_000)
    expect(await sweep(world)).toBe(0)
    const events = await world.machines.events({ machineId: machine.id })
    expect(events.filter(({ kind }) => kind === 'stalled')).toMatchObject([
      {
        bootId: boot.id,
        assurance: 'server',
        message: expect.stringMatching(
          /^nothing was heard for 60 s after 'hello': it said hello and asked for no plan/,
        ),
        data: { step: 'hello', silentSeconds: 60 },
      },
    ])
    const session = await world.machines.authenticate(signed(boot.id, 1))
    await world.machines.recordAgentEvents(session, {
      events: [{ step: 'blobs', status: 'started', uptimeMs: 1 }],
    })
    world.pass(expectedMs.blobs + 1)
    expect(await sweep(world)).toBe(1)
    expect((await kinds(world, { bootId: boot.id })).filter((kind) => kind === 'stalled')).toHaveLength(2)
  })
  test('is not one that waits for a person and keeps asking', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(mac))
    const session = await world.machines.authenticate(signed(boot.id, 1))
    await world.machines.recordAgentEvents(session, {
      events: [{ step: 'approval', status: 'started', uptimeMs: 1 }],
    })
    for (let sequence = 2; sequence < 40; sequence++) {
      world.pass(5000)
      await world.machines.authenticate(signed(boot.id, sequence))
      expect(await sweep(world)).toBe(0)
    }
  })
  test('is not one that is over', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(mac))
    await world.machines.recordSkip(boot, 'nothing to boot')
    world.pass(10_000_000)
    expect(await sweep(world)).toBe(0)
  })
})
