import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { transition } from '../../src/machines/enrolment.ts'
import { createWorld, helloOf, helloProfile, kinds, sayHello, signed, type World } from './world.ts'

const [A, B] = ['52:54:00:00:00:0a', '52:54:00:00:00:0b'] as const
const real = {
  name: 'real',
  selector: { labels: { role: 'edge' } },
  image: { name: 'debian', version: '13.1' },
}
const aPlan = {
  target: 'hello/1/amd64',
  digest: `sha256:${'0'.repeat(64)}`,
  issuedAt: '2026-06-01T08:00:00Z',
  because: ['x'],
}
const eligibility = async (world: World, bootId: string) =>
  (await world.machines.eligibility(bootId)).eligibility

describe('enrolment', () => {
  test('in mode ask a machine with a profile waits for a person', async () => {
    await using world = await createWorld()
    await world.machines.profiles.put(helloProfile)
    const { boot, machine } = await sayHello(world, helloOf(A))
    expect(await eligibility(world, boot.id)).toMatchObject({
      status: 'wait',
      reason: expect.stringContaining('muster approve'),
    })
    await world.machines.approve(machine.id, 'anna')
    expect(await eligibility(world, boot.id)).toMatchObject({ status: 'boot', profile: { name: 'hello' } })
    expect(await world.machines.get(machine.id)).toMatchObject({ enrolment: 'approved', decidedBy: 'anna' })
  })

  test('in mode auto a machine gets the demonstration without a person', async () => {
    await using world = await createWorld({ mode: 'auto' })
    await world.machines.profiles.put(helloProfile)
    const { boot, machine } = await sayHello(world, helloOf(A))
    expect(machine).toMatchObject({ enrolment: 'approved', decidedBy: 'auto' })
    expect(await eligibility(world, boot.id)).toMatchObject({ status: 'boot' })
  })

  test('in mode auto anything more than the demonstration asks a person first, also afterwards', async () => {
    await using world = await createWorld({ mode: 'auto' })
    await world.machines.profiles.put(helloProfile)
    const { machine } = await sayHello(world, helloOf(A))
    await world.machines.profiles.put(real)
    await world.machines.label(machine.id, { role: 'edge' }, 'anna')
    const { boot } = await sayHello(world, helloOf(A))
    expect(await eligibility(world, boot.id)).toMatchObject({
      status: 'wait',
      reason: expect.stringContaining("'real'"),
    })
    await world.machines.approve(machine.id, 'anna')
    expect(await eligibility(world, boot.id)).toMatchObject({ status: 'boot', profile: { name: 'real' } })
  })

  test('a waiting machine is let in when the demonstration profile comes later', async () => {
    await using world = await createWorld({ mode: 'auto' })
    const { boot, machine } = await sayHello(world, helloOf(A))
    expect(machine.enrolment).toBe('discovered')
    expect(await eligibility(world, boot.id)).toMatchObject({ status: 'skip' })
    await world.machines.profiles.put(helloProfile)
    expect(await eligibility(world, boot.id)).toMatchObject({ status: 'boot' })
  })

  test('quarantined waits, retired goes on to its disk, forgotten is new again', async () => {
    await using world = await createWorld()
    await world.machines.profiles.put(helloProfile)
    const { boot, machine } = await sayHello(world, helloOf(A))
    await world.machines.quarantine(machine.id, 'anna')
    expect(await eligibility(world, boot.id)).toMatchObject({
      status: 'wait',
      reason: expect.stringContaining('quarantined'),
    })
    await world.machines.retire(machine.id, 'anna')
    expect(await eligibility(world, boot.id)).toMatchObject({ status: 'skip' })
    await expect(world.machines.quarantine(machine.id, 'anna')).rejects.toMatchObject({
      code: 'request-invalid',
    })
    await world.machines.forget(machine.id, 'anna')
    await expect(world.machines.boot(boot.id)).rejects.toMatchObject({ code: 'boot-not-found' })
    expect((await sayHello(world, helloOf(A))).machine.id).not.toBe(machine.id)
    expect(await kinds(world, {})).toContain('forgotten')
  })

  test('the state diagram has no other arrows', () => {
    expect(() => transition('retired', 'quarantine')).toThrow(
      expect.objectContaining({ code: 'request-invalid' }),
    )
    expect(transition('quarantined', 'approve')).toBe('approved')
  })

  test('a tie is said to who asks, not guessed', async () => {
    await using world = await createWorld()
    await world.machines.profiles.put(helloProfile)
    await world.machines.profiles.put({ ...helloProfile, name: 'other' })
    const { boot, machine } = await sayHello(world, helloOf(A))
    await expect(world.machines.eligibility(boot.id)).rejects.toMatchObject({ code: 'profile-tie' })
    expect((await world.machines.why(machine.id)).eligibility).toMatchObject({
      status: 'error',
      code: 'profile-tie',
    })
  })

  test('a profile cannot name a cluster that is not there', async () => {
    await using world = await createWorld()
    await expect(world.machines.profiles.put({ ...helloProfile, cluster: 'nowhere' })).rejects.toMatchObject({
      code: 'cluster-not-found',
    })
    await expect(world.machines.profiles.get('hello')).rejects.toMatchObject({ code: 'profile-not-found' })
    await expect(world.machines.profiles.remove('hello')).rejects.toMatchObject({ code: 'profile-not-found' })
  })

  test('a slip in a name is told which one was meant', async () => {
    await using world = await createWorld()
    await world.machines.profiles.put(helloProfile)
    await expect(world.machines.profiles.remove(`${helloProfile.name}o`)).rejects.toMatchObject({
      code: 'profile-not-found',
      message: expect.stringContaining(`did you mean '${helloProfile.name}'?`),
    })
    const { machine } = await sayHello(world, helloOf(A))
    await world.machines.rename(machine.id, 'rack-seven', 'test')
    for (const slip of ['rack-sevne', 'Rack-Seven'])
      await expect(world.machines.forget(slip, 'test')).rejects.toMatchObject({
        code: 'machine-not-found',
        message: expect.stringContaining("did you mean 'rack-seven'?"),
      })
  })
})

describe('finding, naming, labelling', () => {
  test('a machine is found by id, name, MAC address or the beginning of its name', async () => {
    await using world = await createWorld()
    const { machine } = await sayHello(world, helloOf(A))
    await world.machines.rename(machine.id, 'rack1-node7', 'anna')
    for (const text of [machine.id, 'rack1-node7', '52-54-00-00-00-0A', 'rack1'])
      expect((await world.machines.find(text)).id).toBe(machine.id)
  })

  test('what fits several machines is ambiguous, what fits none is not found', async () => {
    await using world = await createWorld()
    for (const mac of [A, B]) await sayHello(world, helloOf(mac))
    await expect(world.machines.find('m-')).rejects.toMatchObject({ code: 'machine-ambiguous' })
    for (const text of ['nothing', '%', '', "x' or 1=1"])
      await expect(world.machines.find(text)).rejects.toMatchObject({ code: 'machine-not-found' })
  })

  test('the event of a label says its value, and a name that stays makes none', async () => {
    await using world = await createWorld()
    const { machine } = await sayHello(world, helloOf(A))
    await world.machines.label(machine.id, { rack: '7', note: 'x'.repeat(100) }, 'anna')
    await world.machines.label(machine.id, { rack: null }, 'anna')
    await world.machines.rename(machine.id, machine.name, 'anna')
    const events = await world.machines.events({ machineId: machine.id })
    const told = events.filter(({ kind }) => kind === 'labelled' || kind === 'renamed')
    expect(told.map(({ message }) => message).sort()).toEqual([
      'labels changed by anna: rack removed',
      `labels changed by anna: rack=7, note=${'x'.repeat(64)}…`,
    ])
  })

  test('a node name is a DNS label and unique', async () => {
    await using world = await createWorld()
    const [a, b] = [await sayHello(world, helloOf(A)), await sayHello(world, helloOf(B))]
    await world.machines.rename(a.machine.id, 'node-1', 'anna')
    for (const name of ['node-1', 'Node', 'a.b', '-a', 'a'.repeat(64), a.machine.id])
      await expect(world.machines.rename(b.machine.id, name, 'anna')).rejects.toMatchObject({
        code: 'request-invalid',
      })
  })

  test('labels are set and removed, and cannot carry control characters', async () => {
    await using world = await createWorld()
    const { machine } = await sayHello(world, helloOf(A))
    await world.machines.label(machine.id, { rack: 'a1', role: 'edge' }, 'anna')
    expect((await world.machines.label(machine.id, { role: null }, 'anna')).labels).toEqual({ rack: 'a1' })
    await expect(world.machines.label(machine.id, { rack: 'a\nb' }, 'anna')).rejects.toMatchObject({
      code: 'request-invalid',
    })
  })
})

describe('a session', () => {
  test('belongs to the key that said hello; a number is used once; a retry repeats it', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(A))
    const request = signed(boot.id, 1)
    expect((await world.machines.authenticate(request)).retry).toBe(false)
    expect((await world.machines.authenticate(request)).retry).toBe(true)
    const invalid = { code: 'session-invalid' }
    await expect(world.machines.authenticate(signed(boot.id, 1, { other: 1 }))).rejects.toMatchObject(invalid)
    await world.machines.authenticate(signed(boot.id, 5))
    await expect(world.machines.authenticate(signed(boot.id, 4))).rejects.toMatchObject(invalid)
    const key = generateKeyPairSync('ed25519').privateKey
    await expect(world.machines.authenticate(signed(boot.id, 6, {}, { key }))).rejects.toMatchObject(invalid)
    const tampered = { ...signed(boot.id, 6), body: Buffer.from('{"x":1}') }
    await expect(world.machines.authenticate(tampered)).rejects.toMatchObject(invalid)
    await expect(world.machines.authenticate({ ...signed(boot.id, 6), headers: {} })).rejects.toMatchObject(
      invalid,
    )
    await expect(world.machines.authenticate(signed('b-aaaaaaaaaaaaaaaa', 1))).rejects.toMatchObject({
      code: 'boot-not-found',
    })
  })

  test('cannot be used for another boot', async () => {
    await using world = await createWorld()
    const [a, b] = [
      await sayHello(world, helloOf(A)),
      await sayHello(world, helloOf(B, { key: generateKeyPairSync('ed25519').publicKey })),
    ]
    const stolen = signed(a.boot.id, 1)
    const headers = { ...stolen.headers, 'muster-boot': b.boot.id }
    await expect(world.machines.authenticate({ ...stolen, headers })).rejects.toMatchObject({
      code: 'session-invalid',
    })
  })

  test('at the same moment one of two requests with one number is the retry', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(A))
    const request = signed(boot.id, 1)
    const verdicts = await Promise.all([1, 2].map(() => world.machines.authenticate(request)))
    expect(verdicts.map((verdict) => verdict.retry).sort()).toEqual([false, true])
  })

  test('tells its steps; a failure has a code, an outcome and the console', async () => {
    await using world = await createWorld()
    const seen: string[] = []
    const stop = world.machines.subscribe((event) => seen.push(event.message))
    const { boot } = await sayHello(world, helloOf(A))
    await world.machines.approve(A, 'anna')
    const session = await world.machines.authenticate(signed(boot.id, 1, {}, { what: 'events' }))
    await world.machines.recordAgentEvents(session, {
      events: [
        { step: 'blobs', status: 'progress', uptimeMs: 5000, bytes: 10, totalBytes: 20 },
        {
          step: 'blobs',
          status: 'failed',
          uptimeMs: 6000,
          code: 'blob-digest',
          message: 'kernel\u001b[2J is not it',
        },
      ],
      console: `${'é'.repeat(40_000)}end`,
    })
    stop()
    const after = await world.machines.boot(boot.id)
    expect(after).toMatchObject({ step: 'blobs', outcome: 'refused' })
    expect(Buffer.byteLength(after.console ?? '')).toBeLessThanOrEqual(65_536)
    expect(after.console?.endsWith('éend')).toBe(true)
    expect(seen.some((message) => message.startsWith('blobs progress'))).toBe(true)
    const kept = (await world.machines.events({ bootId: boot.id })).map((event) => event.message)
    expect(kept.join('\n')).not.toMatch(/progress|\u001b/)
    expect(kept).toContain('refused: kernel\ufffd[2J is not it')
  })

  test('keeps a bounded number of events, and the outcome even so', async () => {
    await using world = await createWorld({ limits: { eventsPerBootMax: 10 } })
    const { boot } = await sayHello(world, helloOf(A))
    for (let sequence = 1; sequence <= 20; sequence++) {
      const session = await world.machines.authenticate(signed(boot.id, sequence, {}, { what: 'events' }))
      const status = sequence === 20 ? ('failed' as const) : ('retrying' as const)
      await world.machines.recordAgentEvents(session, {
        events: [{ step: 'metadata', status, uptimeMs: 1, code: 'server-unreachable' }],
      })
    }
    expect((await world.machines.events({ bootId: boot.id })).length).toBeLessThanOrEqual(11)
    expect((await world.machines.boot(boot.id)).outcome).toBe('failed')
  })

  test('that asks for its plan without end fills nothing', async () => {
    await using world = await createWorld({ limits: { eventsPerBootMax: 10 } })
    const { boot } = await sayHello(world, helloOf(A))
    for (let time = 0; time < 20; time++) await world.machines.recordPlan(boot, aPlan)
    expect(await world.machines.events({ bootId: boot.id })).toHaveLength(10)
    expect(await world.machines.boot(boot.id)).toMatchObject({ step: 'plan', plan: aPlan })
  })

  test('cannot say that the booted system reported', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(A))
    const session = await world.machines.authenticate(signed(boot.id, 1))
    await world.machines.recordAgentEvents(session, {
      events: [{ step: 'report', status: 'done', uptimeMs: 1 }],
    })
    expect(await world.machines.boot(boot.id)).toMatchObject({ step: 'hello' })
    expect((await world.machines.boot(boot.id)).outcome).toBeUndefined()
  })

  test('that fell silent is abandoned', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(A))
    expect(await world.machines.sweep()).toBe(0)
    world.pass(3_600_000)
    expect(await world.machines.sweep()).toBe(1)
    expect((await world.machines.boot(boot.id)).outcome).toBe('abandoned')
  })
})

describe('the report', () => {
  const report = (world: World, boot: string, more: { status?: 'joined' | 'failed'; token?: string } = {}) =>
    world.machines.report({
      boot,
      status: 'joined',
      token: world.machines.reportToken(boot),
      address: '192.0.2.10',
      ...more,
    })

  test('with its token ends the boot as joined, and may be said again for ten minutes', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(A))
    expect(await report(world, boot.id)).toMatchObject({ outcome: 'joined' })
    world.pass(599_000)
    await report(world, boot.id)
    expect(
      (await world.machines.events({ bootId: boot.id })).filter((event) => event.kind === 'outcome'),
    ).toHaveLength(1)
    world.pass(2_000)
    await world.machines.recordPlan(boot, aPlan)
    await expect(report(world, boot.id)).rejects.toMatchObject({ code: 'report-refused' })
    expect(await world.machines.boot(boot.id)).toMatchObject({ outcome: 'joined', step: 'report' })
  })

  test("with another boot's token is refused with an event and changes nothing", async () => {
    await using world = await createWorld()
    const [a, b] = [await sayHello(world, helloOf(A)), await sayHello(world, helloOf(B))]
    for (const token of [world.machines.reportToken(b.boot.id), '', 'x', 'é'.repeat(43)])
      await expect(report(world, a.boot.id, { token })).rejects.toMatchObject({ code: 'report-refused' })
    expect(await kinds(world, { bootId: a.boot.id })).toContain('report-refused')
    expect((await world.machines.boot(a.boot.id)).outcome).toBeUndefined()
    await expect(report(world, 'b-zzzzzzzzzzzzzzzz')).rejects.toMatchObject({ code: 'report-refused' })
  })

  test('overrules a failure that the agent said before, never the other way round', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(A))
    const failed = {
      events: [{ step: 'kexec' as const, status: 'failed' as const, uptimeMs: 1, code: 'kexec-failed' }],
    }
    await world.machines.recordAgentEvents(await world.machines.authenticate(signed(boot.id, 1)), failed)
    await report(world, boot.id)
    await world.machines.recordAgentEvents(await world.machines.authenticate(signed(boot.id, 2)), failed)
    expect(await world.machines.boot(boot.id)).toMatchObject({ outcome: 'joined', step: 'report' })
  })

  test('a day after the hello comes too late', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(A))
    world.pass(25 * 3_600_000)
    await expect(report(world, boot.id)).rejects.toMatchObject({ code: 'report-refused' })
  })

  test('of a machine that waited for days before it was approved is as good as any', async () => {
    await using world = await createWorld()
    const { boot } = await sayHello(world, helloOf(A))
    world.pass(3 * 24 * 3_600_000)
    await world.machines.recordPlan(boot, { ...aPlan, issuedAt: '2026-06-04T08:00:00Z' })
    world.pass(120_000)
    expect(await report(world, boot.id)).toMatchObject({ outcome: 'joined' })
  })

  test('leaves its token in no file of the database', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-report-'))
    try {
      await using world = await createWorld({ path: join(folder, 'muster.sqlite') })
      const { boot } = await sayHello(world, helloOf(A))
      await report(world, boot.id)
      const token = world.machines.reportToken(boot.id)
      await expect(report(world, boot.id, { token: `${token}x` })).rejects.toThrow(
        expect.not.objectContaining({ message: expect.stringContaining(token) }),
      )
      for (const name of await readdir(folder)) {
        const bytes = await readFile(join(folder, name))
        expect(bytes.includes(token) || bytes.includes(Buffer.from(token, 'base64url'))).toBe(false)
      }
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

describe('why', () => {
  test('says which profile won, which lost and why, and how far the agent can be trusted', async () => {
    await using world = await createWorld()
    await world.machines.profiles.put(helloProfile)
    await world.machines.profiles.put(real)
    const { machine, boot } = await sayHello(world, helloOf(A))
    await world.machines.approve(machine.id, 'anna')
    await world.machines.recordPlan(boot, aPlan)
    const why = await world.machines.why(machine.name)
    expect(why.eligibility).toMatchObject({
      status: 'boot',
      because: ["profile 'hello' matches: its selector is empty, which is every machine"],
    })
    expect(why.profiles).toEqual([
      {
        name: 'hello',
        matches: true,
        measure: 0,
        sentences: ['its selector is empty, which is every machine'],
      },
      { name: 'real', matches: false, measure: 1, sentences: ['label role should be edge, but has none'] },
    ])
    expect(why.lastBoot).toMatchObject({
      agentOrigin: 'network',
      trust: expect.stringContaining('nothing is promised'),
    })
    expect((await world.machines.boot(boot.id)).plan).toEqual(aPlan)
  })
})
